"""What the extractor gives is what one text at a time gives, in whatever company."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

import neoscope as ns
from neoscope.errors import ArgumentError, ExportError, SiteError, TokenizationError
from neoscope.export.extractor import Extractor, is_out_of_memory
from neoscope.export.pooler import Pooler
from neoscope.export.spec import FeatureSpec
from neoscope.sites import all_sites
from tests.neoscope.export.oracle import (
    OUTSIDE,
    TEXTS,
    TINY,
    check,
    close,
    ids_of,
    run,
    same,
    tiny,
    tokens_of,
)

MODEL = tiny()
POOLS = ("mean", "weighted_mean", "last", "first", "max")
DERIVED = ("hidden", "loss", "surprisal", "entropy")
OF_PATTERNS = ("attn_to_first", "attn_to_previous", "attn_entropy")
EVERYTHING = FeatureSpec(("resid_post", "z", "pre", *DERIVED), layers=[0, -1], pool=POOLS)
N_TOKENS = sum(len(ids_of(text, EVERYTHING)) for text in TEXTS)


def pass_on(x: Tensor, hook: Any) -> Tensor:
    return x


@pytest.fixture
def padded() -> Any:
    """A model with a hook that does nothing, for which batches are padded."""
    model = tiny()
    model.blocks[0].hook_resid_pre.add_hook(pass_on)
    return model


def test_every_site_that_can_be_pooled_equals_the_oracle() -> None:
    model = tiny()
    model.set_use_attn_result(True)
    model.set_use_hook_mlp_in(True)
    sites = all_sites(model.config, model._switches_on())
    names = [ref.name for ref in sites if "key" not in ref.kind.axes]
    check(model, FeatureSpec(names, pool="weighted_mean"), TEXTS[:4], batch_tokens=40)


@pytest.mark.parametrize("switch", ["use_split_qkv_input", "use_attn_in"])
def test_split_inputs_equal_the_oracle_and_leave_no_single_layernorm(switch: str) -> None:
    model = tiny()
    getattr(model, f"set_{switch}")(True)
    names = {"use_attn_in": ["attn_in"]}.get(switch, ["q_input", "k_input", "v_input"])
    check(model, FeatureSpec([*names, "resid_post"], layers=1), TEXTS[:3])
    for name in ("ln1.scale", "ln1.normalized"):
        with pytest.raises(SiteError, match=f"several values while {switch} is on"):
            Extractor(model, FeatureSpec(name))
    check(model, FeatureSpec(["ln2.scale"]), TEXTS[:2])


def test_every_pool_equals_the_oracle() -> None:
    check(MODEL, EVERYTHING, TEXTS, batch_tokens=30)


def test_the_same_of_an_untied_model_with_a_wide_window() -> None:
    model = tiny(3, tie_word_embeddings=False, window_size=200, act_fn="relu", n_heads=4)
    check(model, EVERYTHING, TEXTS[:4], batch_tokens=30)


def test_summaries_of_attention_equal_the_oracle() -> None:
    spec = FeatureSpec((*OF_PATTERNS, "resid_mid"), pool=POOLS)
    check(MODEL, spec, TEXTS, batch_tokens=60)


def test_a_text_begun_by_bos_equals_the_oracle() -> None:
    spec = FeatureSpec(("resid_post", "surprisal", "loss"), pool=POOLS, prepend_bos=True)
    found = check(MODEL, spec, TEXTS[:4])
    assert found.filled["loss_mean"].all()  # bos alone predicts a first token


@given(
    batch_tokens=st.integers(1, 200),
    order=st.permutations(range(len(TEXTS))),
    n=st.integers(1, len(TEXTS)),
)
@settings(max_examples=12)
def test_company_changes_nothing(batch_tokens: int, order: list[int], n: int) -> None:
    rows = order[:n]
    some = run(MODEL, EVERYTHING, [TEXTS[i] for i in rows], batch_tokens=batch_tokens)
    same(whole(), some, rows)


_WHOLE: list[Any] = []


def whole() -> Any:
    """Every text alone."""
    if not _WHOLE:
        _WHOLE.append(run(MODEL, EVERYTHING, TEXTS, batch_tokens=1))
    return _WHOLE[0]


@pytest.mark.parametrize("batch_tokens", [1, 50, 10_000])
def test_the_padded_path_gives_the_same(padded: Any, batch_tokens: int) -> None:
    same(whole(), run(padded, EVERYTHING, TEXTS, batch_tokens=batch_tokens))


def test_padded_and_packed_paths_are_both_taken(
    padded: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    shapes: list[tuple[int, ...]] = []
    forward = ns.HookedGPTNeo.forward

    def spy(self: Any, ids: Tensor, *args: Any, **options: Any) -> Any:
        shapes.append(tuple(ids.shape))
        return forward(self, ids, *args, **options)

    monkeypatch.setattr(ns.HookedGPTNeo, "forward", spy)
    spec = FeatureSpec(layers=0)
    longest = max(len(ids_of(text, spec)) for text in TEXTS)
    run(MODEL, spec, TEXTS, batch_tokens=10_000)
    run(padded, spec, TEXTS, batch_tokens=10_000)
    run(MODEL, FeatureSpec("attn_entropy"), TEXTS, batch_tokens=10_000)
    assert shapes == [(1, N_TOKENS), (len(TEXTS), longest), (len(TEXTS), longest)]


def test_edits_in_force_are_what_is_extracted() -> None:
    spec = FeatureSpec("resid_post", layers=-1)
    plain = run(MODEL, spec, TEXTS)
    with MODEL.edits(ns.edits.ablate("z", layer=0, head=1)):
        edited = run(MODEL, spec, TEXTS, batch_tokens=30)
        _, cache = MODEL.run_with_cache(torch.tensor([ids_of(TEXTS[0], spec)]))
    close(edited.features["resid_post_2_mean"][0], cache["resid_post", 2][0].mean(0))
    assert np.abs(edited.features["resid_post_2_mean"] - plain.features["resid_post_2_mean"]).max()
    same(plain, run(MODEL, spec, TEXTS))


@pytest.mark.parametrize(
    "positions", [0, -1, [0, -1], [2, 1], slice(1, None), slice(-3, None), slice(None, None, 2)]
)
def test_positions_equal_the_oracle(positions: Any) -> None:
    texts = [text for text in TEXTS if len(ids_of(text, EVERYTHING)) > 2]
    spec = FeatureSpec(("resid_post", "surprisal"), layers=1, pool=POOLS, positions=positions)
    check(MODEL, spec, texts, batch_tokens=30)


def test_a_position_named_twice_counts_once() -> None:
    spec = FeatureSpec(layers=0, positions=[0, -1])
    found = run(MODEL, spec, ["a"]).features["resid_post_0_mean"]
    close(found, run(MODEL, FeatureSpec(layers=0), ["a"]).features["resid_post_0_mean"])


def test_a_text_without_the_position_is_a_problem_of_its_own() -> None:
    found = run(MODEL, FeatureSpec(layers=0, positions=5), [TEXTS[0], "a"])
    assert found.encoded.problems == {1: "position 5 does not exist: the text has 1 token"}
    found = run(MODEL, FeatureSpec(layers=0, positions=slice(1, 3)), [TEXTS[0], "a"])
    assert "selects no token: the text has 1 token" in found.encoded.problems[1]


def test_a_single_token_has_no_loss_and_no_surprisal() -> None:
    spec = FeatureSpec(("loss", "surprisal", "attn_to_previous", "entropy"), layers=0, pool=POOLS)
    found = run(MODEL, spec, ["a"])
    for name, filled in found.filled.items():
        assert filled[0] == name.startswith("entropy")
        assert np.isnan(found.features[name][0]).all() == (not filled[0])


def test_weighted_mean_is_sgpts() -> None:
    found = run(MODEL, FeatureSpec("embed", pool="weighted_mean"), ["ab"])
    a, b = MODEL.embed.W_E[torch.tensor(ids_of("ab", FeatureSpec()))].detach()
    close(found.features["embed_weighted_mean"][0], (1 * a + 2 * b) / 3)


# ---- pool="none" -----------------------------------------------------------------------------


def test_a_row_a_token_equals_the_oracle() -> None:
    sites = ("resid_mid", "hidden", "loss", "surprisal", "entropy", "attn_to_previous")
    spec = FeatureSpec(sites, layers=1, pool="none")
    found = run(MODEL, spec, TEXTS, batch_tokens=60)
    check_tokens(found, spec)


def test_a_row_a_token_in_windows_equals_the_oracle() -> None:
    sites = ("resid_mid", "loss", "surprisal", "attn_entropy")
    spec = FeatureSpec(sites, layers=1, pool="none", truncation="stride", max_length=7, overlap=3)
    check_tokens(run(MODEL, spec, TEXTS, batch_tokens=20), spec)


def check_tokens(found: Any, spec: FeatureSpec) -> None:
    for feature in spec.features(TINY):
        rows, filled = found.features[feature.name], found.filled[feature.name]
        at = 0
        for text in TEXTS:
            values, n = tokens_of(MODEL, feature, spec, text)
            assert filled[at : at + n].nonzero()[0].tolist() == sorted(values)
            for t in range(n):
                if t in values:
                    close(rows[at + t], values[t])
                else:
                    assert np.isnan(rows[at + t]).all()
            at += n
        assert len(rows) == at


def test_patterns_are_rows_over_the_tokens_of_their_own_text() -> None:
    spec = FeatureSpec(("pattern", "attn_scores"), layers=[0, 1], pool="none")
    found = run(MODEL, spec, TEXTS[:4], batch_tokens=80)
    for site in ("pattern", "attn_scores"):
        for layer in (0, 1):
            values, sizes = found.features[f"{site}_{layer}"], found.sizes[f"{site}_{layer}"]
            at = token = 0
            for text in TEXTS[:4]:
                _, cache = MODEL.run_with_cache(torch.tensor([ids_of(text, spec)]))
                for row in cache[site, layer][0].transpose(0, 1):
                    assert sizes[token] == row.numel()
                    part = values[at : at + row.numel()].reshape(row.shape)
                    finite = torch.isfinite(row)
                    np.testing.assert_array_equal(np.isfinite(part), finite)
                    close(part[finite], row[finite])
                    at, token = at + row.numel(), token + 1
            assert at == len(values)


# ---- problems --------------------------------------------------------------------------------


def test_bad_texts_change_nothing_for_their_neighbours() -> None:
    mixed = [None, TEXTS[0], "", f"x {OUTSIDE}", TEXTS[2], None, TEXTS[3]]
    spec = FeatureSpec(EVERYTHING.sites, layers=[0, -1], pool=POOLS, max_length=20)
    extractor = Extractor(MODEL, spec, batch_tokens=40)
    encoded = extractor.encode(mixed, problems={5: "the text is int, not a string: 5"})
    assert sorted(encoded.problems) == [0, 2, 3, 5]
    assert encoded.problems[0] == "the text is null"
    assert encoded.problems[2] == "the text is empty: it gives no tokens"
    assert encoded.problems[3] == "token id 270 is outside the model's vocabulary of 270"
    assert encoded.problems[5] == "the text is int, not a string: 5"
    found = extractor.run(encoded)
    same(found, run(MODEL, spec, [TEXTS[0], TEXTS[2], TEXTS[3]]), [1, 4, 6])
    for name, values in found.features.items():
        assert not found.filled[name][[0, 2, 3, 5]].any()
        assert np.isnan(values[[0, 2, 3, 5]]).all()


def test_short_texts_beside_bad_ones_are_still_means() -> None:
    # As many tokens as rows, as if every row took one token.
    spec = FeatureSpec(layers=0, pool=["mean", "weighted_mean"])
    same(run(MODEL, spec, ["ab", None, ""]), run(MODEL, spec, ["ab"]), [0])


@pytest.mark.parametrize("pool", [*POOLS, "none"])
@pytest.mark.parametrize("sites", [("resid_post", *DERIVED), OF_PATTERNS])
def test_nothing_but_bad_texts_gives_nothing(pool: str, sites: tuple[str, ...]) -> None:
    found = run(MODEL, FeatureSpec(sites, pool=pool), ["", OUTSIDE])
    assert len(found.encoded.problems) == 2
    for name, values in found.features.items():
        assert len(values) == (0 if pool == "none" else 2)
        assert not found.filled[name].any()
        assert np.isnan(values).all()
    assert not run(MODEL, FeatureSpec(sites, pool=pool), []).encoded.n_texts


@pytest.mark.parametrize("text", ["a", "é😀", "\0", "the film "])
def test_a_million_characters_are_cut_quickly(text: str) -> None:
    text = text * (1_000_000 // len(text))
    found = run(MODEL, FeatureSpec(layers=0, pool=["mean", "last"]), [text, "a"])
    assert not found.encoded.problems
    assert int(found.encoded.lengths[0]) == TINY.n_ctx
    assert found.encoded.cut[0] > 200_000
    same(found, run(MODEL, FeatureSpec(layers=0, pool=["mean", "last"]), ["a"]), [1])


def test_text_of_nothing_but_nul_is_text() -> None:
    check(MODEL, FeatureSpec(layers=0, pool=POOLS), ["\0", "\0\0\0", "a"])


# ---- memory ----------------------------------------------------------------------------------


def no_memory_above(
    monkeypatch: pytest.MonkeyPatch, most: int, error: type[BaseException], said: str
) -> list[int]:
    """Let forwards of more than ``most`` tokens fail; returns the sizes of all forwards."""
    sizes: list[int] = []
    forward = ns.HookedGPTNeo.forward

    def limited(self: Any, ids: Tensor, *args: Any, **options: Any) -> Any:
        sizes.append(ids.numel())
        if ids.numel() > most:
            raise error(said)
        return forward(self, ids, *args, **options)

    monkeypatch.setattr(ns.HookedGPTNeo, "forward", limited)
    return sizes


OUT_OF_MEMORY = [
    (torch.OutOfMemoryError, "CUDA out of memory. Tried to allocate 2.00 GiB"),
    (
        RuntimeError,
        "[enforce fail at alloc_cpu.cpp:117] DefaultCPUAllocator: can't allocate memory",
    ),
    (RuntimeError, "DefaultCPUAllocator: not enough memory: you tried to allocate 1 bytes"),
    (MemoryError, ""),
]


@pytest.mark.parametrize(("error", "said"), OUT_OF_MEMORY)
def test_out_of_memory_halves_the_budget_and_goes_on(
    monkeypatch: pytest.MonkeyPatch, error: type[BaseException], said: str
) -> None:
    reference = whole()
    sizes = no_memory_above(monkeypatch, 60, error, said)
    extractor = Extractor(MODEL, EVERYTHING, batch_tokens=10_000)
    done: list[tuple[int, int]] = []
    found = extractor.run(extractor.encode(TEXTS), lambda rows, tokens: done.append((rows, tokens)))
    same(reference, found)
    assert extractor.batch_tokens <= 60
    assert sum(n > 60 for n in sizes) <= 2  # half of what did not fit, not of a vast budget
    assert [n for n in sizes if n > 60] == sizes[: sum(n > 60 for n in sizes)]
    assert sum(n for n in sizes if n <= 60) == N_TOKENS
    assert [sum(x) for x in zip(*done, strict=True)] == [len(TEXTS), N_TOKENS]


def test_padded_batches_shrink_too(monkeypatch: pytest.MonkeyPatch, padded: Any) -> None:
    reference = whole()
    sizes = no_memory_above(monkeypatch, 60, torch.OutOfMemoryError, "out of memory")
    same(reference, run(padded, EVERYTHING, TEXTS, batch_tokens=10_000))
    assert max(sizes) > 60 >= sizes[-1]


def test_windows_of_one_text_part_when_memory_is_short(monkeypatch: pytest.MonkeyPatch) -> None:
    spec = FeatureSpec(layers=1, pool=POOLS, truncation="stride", max_length=8)
    reference = run(MODEL, spec, TEXTS)
    no_memory_above(monkeypatch, 9, torch.OutOfMemoryError, "out of memory")
    same(reference, run(MODEL, spec, TEXTS, batch_tokens=10_000))


def test_a_single_text_that_does_not_fit_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    no_memory_above(monkeypatch, 20, torch.OutOfMemoryError, "out of memory")
    with pytest.raises(ExportError, match=r"out of memory on a single text of 3\d tokens"):
        run(MODEL, EVERYTHING, TEXTS)


@pytest.mark.parametrize("error", [RuntimeError, ValueError, KeyboardInterrupt])
def test_other_errors_are_not_swallowed(
    monkeypatch: pytest.MonkeyPatch, error: type[BaseException]
) -> None:
    sizes = no_memory_above(monkeypatch, 20, error, "something else")
    with pytest.raises(error, match="something else"):
        run(MODEL, EVERYTHING, TEXTS)
    assert len(sizes) == 1


def test_what_out_of_memory_is_called() -> None:
    assert all(is_out_of_memory(error(said)) for error, said in OUT_OF_MEMORY)
    assert is_out_of_memory(RuntimeError("MPS backend out of memory (MPS allocated: 1 GB)"))
    assert is_out_of_memory(RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling"))
    assert not is_out_of_memory(RuntimeError("CUDA error: an illegal memory access"))
    assert not is_out_of_memory(RuntimeError("mat1 and mat2 shapes cannot be multiplied"))


@pytest.mark.parametrize("batch_tokens", [0, -1, False])
def test_a_budget_that_means_nothing_is_refused(batch_tokens: Any) -> None:
    with pytest.raises(ArgumentError, match="batch_tokens="):
        Extractor(MODEL, EVERYTHING, batch_tokens=batch_tokens)


# ---- no more work than is asked for ----------------------------------------------------------


@pytest.mark.parametrize(
    ("spec", "blocks", "unembeds"),
    [
        (FeatureSpec("embed"), 0, False),
        (FeatureSpec("resid_pre", layers=0), 1, False),
        (FeatureSpec("z", layers=[0, 1]), 2, False),
        (FeatureSpec("attn_entropy", layers=1), 2, False),
        (FeatureSpec("resid_post"), 3, False),
        (FeatureSpec(("hidden", "resid_post"), layers=0), 3, False),
        (FeatureSpec("ln_final.normalized"), 3, False),
        (FeatureSpec(("entropy", "resid_post"), layers=0), 3, True),
    ],
    ids=lambda x: x.sites[0] if isinstance(x, FeatureSpec) else None,
)
def test_the_forward_goes_as_far_as_it_must(
    monkeypatch: pytest.MonkeyPatch, spec: FeatureSpec, blocks: int, unembeds: bool
) -> None:
    ran: list[str] = []

    def count(cls: type, name: str) -> None:
        forward = cls.forward  # type: ignore[attr-defined]

        def counted(self: Any, *args: Any, **options: Any) -> Any:
            ran.append(name)
            return forward(self, *args, **options)

        monkeypatch.setattr(cls, "forward", counted)

    model = tiny()
    count(type(model.blocks[0]), "block")
    count(type(model.unembed), "unembed")
    count(type(model.blocks[0].mlp), "mlp")
    found = run(model, spec, TEXTS, batch_tokens=10_000)
    assert found.features
    assert ran.count("block") == blocks
    assert ("unembed" in ran) == unembeds
    if spec.sites[0] in ("z", "attn_entropy", "resid_pre"):
        assert ran.count("mlp") == blocks - 1


def kept_bytes(spec: FeatureSpec, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Bytes that the pooler holds on to each time it has seen a site."""
    held: list[int] = []
    see = Pooler.see

    def spy(self: Pooler, name: str, x: Tensor, visibility: Any) -> Tensor:
        out = see(self, name, x, visibility)
        storages = {
            part.values.untyped_storage().data_ptr(): part.values.untyped_storage().nbytes()
            for _, part in self.parts
        }
        held.append(sum(storages.values()))
        return out

    with monkeypatch.context() as patch:
        patch.setattr(Pooler, "see", spy)
        run(tiny(n_layers=8), spec, [TEXTS[0]] * 20, batch_tokens=10_000)
    return held


@pytest.mark.parametrize("pool", POOLS)
def test_unpooled_states_are_not_kept(pool: str, monkeypatch: pytest.MonkeyPatch) -> None:
    held = kept_bytes(FeatureSpec("resid_post", pool=pool), monkeypatch)
    assert max(held) == 8 * 20 * TINY.d_model * 4


def test_no_tensor_of_a_layer_outlives_it(monkeypatch: pytest.MonkeyPatch) -> None:
    import gc

    def peak(layers: Any) -> int:
        alive: list[int] = []
        see = Pooler.see

        def spy(self: Pooler, name: str, x: Tensor, visibility: Any) -> Tensor:
            out = see(self, name, x, visibility)
            if "hook_resid_post" in name:
                tensors = [t for t in gc.get_objects() if type(t) is Tensor]
                alive.append(sum(t.numel() for t in tensors if t.numel() >= x.numel()))
            return out

        with monkeypatch.context() as patch:
            patch.setattr(Pooler, "see", spy)
            run(tiny(n_layers=6), FeatureSpec(layers=layers), TEXTS, batch_tokens=10_000)
        return max(alive)

    assert peak(None) == peak(-1)


# ---- numbers ---------------------------------------------------------------------------------


def test_float16_keeps_what_fits_and_refuses_what_does_not() -> None:
    spec = FeatureSpec("embed", pool=["mean", "max"], dtype="float16")
    found = run(MODEL, spec, TEXTS)
    exact = run(MODEL, FeatureSpec("embed", pool=["mean", "max"]), TEXTS)
    for name, values in found.features.items():
        assert values.dtype == np.float16
        close(values, exact.features[name], 1e-3)
    model = tiny()
    with torch.no_grad():
        model.embed.W_E[ids_of("a", spec)[0], 0] = -70000.0
    with pytest.raises(ExportError, match=r"embed_mean reaches 7e\+04, more than float16 can hold"):
        run(model, spec, ["the", "a"])


def test_float16_keeps_masked_scores() -> None:
    spec = FeatureSpec("attn_scores", layers=0, pool="none", dtype="float16")
    values = run(MODEL, spec, TEXTS[:2]).features["attn_scores_0"]
    assert np.isneginf(values).any()
    assert not np.isnan(values).any()


def test_normalized_rows_have_length_one_and_their_direction() -> None:
    plain = run(MODEL, FeatureSpec(("resid_post", "loss"), pool=POOLS), TEXTS)
    found = run(MODEL, FeatureSpec(("resid_post", "loss"), pool=POOLS, normalize=True), TEXTS)
    for name, values in found.features.items():
        rows, raw = values[found.filled[name]], plain.features[name][plain.filled[name]]
        if values.shape[1] == 1:  # a number has no direction
            close(rows, raw)
            continue
        close(np.linalg.norm(rows, axis=1), np.ones(len(rows)))
        close(rows, raw / np.linalg.norm(raw, axis=1, keepdims=True))


def test_a_zero_vector_stays_zero_when_normalized() -> None:
    model = tiny()
    with torch.no_grad():
        model.embed.W_E[ids_of("a", FeatureSpec())[0]] = 0
    found = run(model, FeatureSpec("embed", normalize=True), ["a"])
    assert (found.features["embed_mean"] == 0).all()


@pytest.mark.parametrize("pool", ["mean", "last", "none"])
def test_what_is_no_number_is_refused(pool: str) -> None:
    model = tiny()
    with torch.no_grad():
        model.embed.W_E[ids_of("a", FeatureSpec())[0], 0] = torch.inf
    with pytest.raises(ExportError, match=r"embed(_\w+)? holds values that are not finite"):
        run(model, FeatureSpec("embed", pool=pool), ["the", "a"])


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_is_roughly_the_same(dtype: torch.dtype) -> None:
    exact, found = whole(), run(tiny(dtype=dtype), EVERYTHING, TEXTS)
    for name, values in found.features.items():
        filled = found.filled[name]
        assert values.dtype == np.float32
        close(values[filled], exact.features[name][filled], 0.1)


# ---- what is said ----------------------------------------------------------------------------


def test_a_model_without_a_tokenizer_is_refused() -> None:
    with pytest.raises(TokenizationError, match="has no tokenizer"):
        Extractor(ns.HookedGPTNeo.from_config(TINY), FeatureSpec())


def test_progress_counts_every_text_and_token_once() -> None:
    extractor = Extractor(MODEL, EVERYTHING, batch_tokens=30)
    done: list[tuple[int, int]] = []
    encoded = extractor.encode(["", *TEXTS])
    extractor.run(encoded, lambda rows, tokens: done.append((rows, tokens)))
    assert [sum(x) for x in zip(*done, strict=True)] == [1 + len(TEXTS), N_TOKENS]
    assert all(tokens <= 30 or rows == 1 for rows, tokens in done)


def test_unseen_words_are_named_once_with_the_text_they_stand_in() -> None:
    model = ns.load("organism")
    extractor = Extractor(model, FeatureSpec(layers=0))
    with pytest.warns(ns.UnseenWordWarning, match=r"^text 1: 'zyzzyva' is outside"):
        extractor.encode(["The film was good", "The zyzzyva"])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        extractor.encode(["The zyzzyva"])


def test_the_organism_equals_the_oracle_in_every_company() -> None:
    model = ns.load("organism")
    texts = [sentence.text for sentence in ns.organism.sentences("ioi", 3)] + ["The film was good"]
    spec = FeatureSpec(("resid_post", "loss", "hidden"), pool=["mean", "last"])
    found = run(model, spec, texts, batch_tokens=40)
    for i, text in enumerate(texts):
        with torch.no_grad():
            loss, cache = model.run_with_cache(text, return_type="loss")
            hidden = model(text, return_type="hidden")
        close(found.features["loss_mean"][i], [float(loss)])
        close(found.features["resid_post_3_mean"][i], cache["resid_post", 3][0].mean(0))
        close(found.features["hidden_last"][i], hidden[0, -1])
