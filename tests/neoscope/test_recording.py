"""What is recorded: where, at which positions, how far a run goes, and that nothing moves it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

import neoscope as ns
from neoscope.edits import replace, transform
from neoscope.errors import SiteError
from neoscope.sites import SiteRef, all_sites

CONFIG = ns.NeoConfig(
    n_layers=3, d_model=24, n_heads=3, n_ctx=40, d_vocab=50, window_size=5, init_range=0.2
)
IDS = torch.arange(21).view(3, 7)
MASKS: dict[str, Any] = {
    "none": None,
    "left": [[0, 0, 0, 1, 1, 1, 1], [1, 1, 1, 1, 1, 1, 1], [0, 1, 1, 1, 1, 1, 1]],
    "right": [[1, 1, 1, 1, 0, 0, 0], [1, 1, 1, 1, 1, 1, 1], [1, 1, 1, 1, 1, 1, 0]],
}
SITES = [ref.name for ref in all_sites(CONFIG)]


@pytest.fixture(scope="module")
def model() -> ns.HookedGPTNeo:
    return ns.HookedGPTNeo.from_config(CONFIG)


# ---- positions --------------------------------------------------------------------------------


def positions() -> st.SearchStrategy[Any]:
    index = st.integers(-4, 3)
    several = st.lists(index, max_size=4)
    return (
        index
        | several
        | several.map(tuple)
        | st.sampled_from([slice(0, 3), slice(1, 4, 2), slice(3, None, -1), range(3)])
        | several.map(lambda listed: torch.tensor(listed, dtype=torch.long))
        | st.lists(st.lists(index, min_size=2, max_size=2), min_size=3, max_size=3).map(
            torch.tensor
        )
    )


@pytest.fixture(scope="module")
def whole(model: ns.HookedGPTNeo) -> dict[str, ns.ActivationCache]:
    return {side: model.run_with_cache(IDS, mask)[1] for side, mask in MASKS.items()}


@settings(max_examples=40, deadline=None)
@given(asked=positions(), side=st.sampled_from(sorted(MASKS)))
def test_positions_count_real_tokens(
    model: ns.HookedGPTNeo, whole: dict[str, ns.ActivationCache], asked: Any, side: str
) -> None:
    _, cache = model.run_with_cache(IDS, MASKS[side], positions=asked)
    mask = torch.ones_like(IDS) if MASKS[side] is None else torch.tensor(MASKS[side])
    for name, x in cache.items():
        for row in range(3):
            real = mask[row].nonzero().flatten().tolist()
            listed = asked.tolist() if isinstance(asked, Tensor) else asked
            if isinstance(asked, Tensor) and asked.ndim == 2:
                listed = listed[row]
            if isinstance(asked, slice):
                columns = real[asked]
            else:
                columns = [real[i] for i in ([listed] if isinstance(listed, int) else listed)]
            full = whole[side][name][row]
            expected = full[:, columns] if "query" in cache.axes(name) else full[columns]
            assert torch.equal(x[row], expected), name


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        (4, "4 is out of range in row 0, which has 4 tokens"),
        ([0, -5], "-5 is out of range in row 0"),
        (slice(0, 6), "selects between 4 and 6 tokens"),
        (torch.tensor([0.5]), "0.5 is not a whole number"),
        (torch.zeros(2, 1, dtype=torch.long), "has 2 rows, but the batch has 3"),
    ],
)
def test_positions_that_do_not_exist(model: ns.HookedGPTNeo, asked: Any, words: str) -> None:
    with pytest.raises(SiteError) as error:
        model.run_with_cache(IDS, MASKS["left"], positions=asked)
    assert words in str(error.value)


def test_pos_slice_counts_columns(
    model: ns.HookedGPTNeo, whole: dict[str, ns.ActivationCache]
) -> None:
    _, cache = model.run_with_cache(IDS, MASKS["left"], pos_slice=(1, 6, 2))
    for name, x in cache.items():
        full = whole["left"][name]
        assert torch.equal(x, full[:, :, 1:6:2] if "query" in cache.axes(name) else full[:, 1:6:2])
    _, cache = model.run_with_cache(IDS, sites=["q", "k", "v"], pos_slice=-1)
    assert cache.nbytes == 9 * 3 * 24 * 4  # not the storage that it was cut from
    with pytest.raises(SiteError, match="column 7 does not exist; the batch has 7"):
        model.run_with_cache(IDS, pos_slice=7)
    with pytest.raises(SiteError, match="either positions or pos_slice"):
        model.run_with_cache(IDS, pos_slice=1, positions=1)


# ---- where and what ---------------------------------------------------------------------------


def test_device_and_dtype(model: ns.HookedGPTNeo, whole: dict[str, ns.ActivationCache]) -> None:
    _, cache = model.run_with_cache(IDS, dtype=torch.bfloat16, device="cpu")
    assert {(x.dtype, x.device.type) for x in cache.values()} == {(torch.bfloat16, "cpu")}
    for name, x in cache.items():
        assert torch.equal(x, whole["none"][name].bfloat16())
    assert cache["resid_pre", 1] is cache["resid_post", 0]
    _, cache = model.run_with_cache(IDS, sites=["z", "embed"], layers=0, device="meta")
    assert {x.device.type for x in cache.values()} == {"meta"}


def test_only_q_does_not_hold_the_storage_of_k_and_v(model: ns.HookedGPTNeo) -> None:
    for site in ("q", "k", "v"):
        _, cache = model.run_with_cache(IDS, sites=site, layers=1)
        assert cache[site, 1].untyped_storage().nbytes() == 3 * 7 * 24 * 4


def test_position_embeddings_are_not_the_weights(model: ns.HookedGPTNeo) -> None:
    ids = torch.zeros(2, CONFIG.n_ctx, dtype=torch.long)
    _, cache = model.run_with_cache(ids, sites="pos_embed")
    weights = model.pos_embed.W_pos.untyped_storage().data_ptr()
    assert cache["pos_embed"].untyped_storage().data_ptr() != weights
    assert torch.equal(cache["pos_embed"][1], model.pos_embed.W_pos)
    assert cache.nbytes == CONFIG.n_ctx * 24 * 4


@pytest.mark.parametrize(
    "names", ["hook_embed", ["blocks.0.hook_resid_post"], lambda name: name.endswith("pattern")]
)
def test_names_filter(model: ns.HookedGPTNeo, names: Any) -> None:
    _, cache = model.run_with_cache(IDS, names_filter=names)
    wanted = names if callable(names) else [names] if isinstance(names, str) else names
    assert set(cache) == {n for n in SITES if (wanted(n) if callable(wanted) else n in wanted)}
    with pytest.raises(SiteError, match="either sites or names_filter"):
        model.run_with_cache(IDS, names_filter=names, sites="z")
    with pytest.raises(SiteError, match="no site was selected"):
        model.run_with_cache(IDS, names_filter=lambda name: False)


# ---- how far it runs --------------------------------------------------------------------------


@pytest.fixture
def ran(model: ns.HookedGPTNeo, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    seen: list[int] = []

    def count(layer: int, forward: Callable[..., Tensor]) -> Callable[..., Tensor]:
        def counted(*args: Any) -> Tensor:
            seen.append(layer)
            return forward(*args)

        return counted

    for layer, block in enumerate(model.blocks):
        monkeypatch.setattr(block, "forward", count(layer, block.forward))
    return seen


@pytest.mark.parametrize(
    ("sites", "layers", "expected"),
    [
        ("embed", None, []),
        ("z", [0], [0]),
        (["z", "embed"], [1], [0, 1]),
        ("resid_pre", -1, [0, 1, 2]),
        (["hook_embed", "blocks.0.hook_resid_post"], None, [0]),
        ("scale", None, [0, 1, 2]),
    ],
)
def test_without_a_result_it_stops_after_the_last_site(
    model: ns.HookedGPTNeo, ran: list[int], sites: Any, layers: Any, expected: list[int]
) -> None:
    out, cache = model.run_with_cache(IDS, sites=sites, layers=layers, return_type=None)
    assert out is None and ran == expected and cache
    full = model.run_with_cache(IDS, sites=sites, layers=layers)[1]
    assert all(torch.equal(x, full[name]) for name, x in cache.items())


def test_it_stops_before_what_follows_in_the_layer(
    model: ns.HookedGPTNeo, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(model.blocks[1].mlp, "forward", None)
    _, cache = model.run_with_cache(IDS, sites="resid_mid", layers=1, return_type=None)
    assert list(cache) == ["blocks.1.hook_resid_mid"]


def test_start_and_stop(model: ns.HookedGPTNeo, ran: list[int]) -> None:
    logits, full = model.run_with_cache(IDS)
    del ran[:]
    out, cache = model.run_with_cache(IDS, stop_at_layer=2)
    assert ran == [0, 1] and torch.equal(out, full["resid_post", 1])
    assert set(cache) == {n for n in full if n in ("hook_embed", "hook_pos_embed")} | {
        n for n in full if n.startswith(("blocks.0", "blocks.1"))
    }
    del ran[:]
    out, cache = model.run_with_cache(full["resid_pre", 1], start_at_layer=1)
    assert ran == [1, 2] and torch.equal(out, logits)
    assert "hook_embed" not in cache and cache.layers("z") == [1, 2]
    assert all(torch.equal(x, full[name]) for name, x in cache.items())
    del ran[:]
    stream, cache = model.run_with_cache(full["resid_pre", 1], start_at_layer=1, stop_at_layer=-1)
    assert ran == [1] and torch.equal(stream, full["resid_pre", 2])
    assert cache.layers("z") == [1] and len(cache.layers("resid_post")) == 1
    with pytest.raises(SiteError, match=r"'blocks\.0\.attn\.hook_z' would not be passed"):
        model.run_with_cache(full["resid_pre", 1], sites="z", start_at_layer=1)
    with pytest.raises(SiteError, match=r"'ln_final\.hook_scale' would not be passed.*layer=2"):
        model.run_with_cache(IDS, sites="scale", stop_at_layer=2)
    with pytest.raises(SiteError, match="out of range"):
        model.run_with_cache(IDS, stop_at_layer=4)
    with pytest.raises(SiteError, match="no site was selected"):
        model.run_with_cache(full["resid_pre", 0], start_at_layer=0, stop_at_layer=0)


# ---- nothing moves a cached tensor ------------------------------------------------------------


def zero_in_place(x: Tensor, hook: Any = None) -> Tensor:
    return x.zero_()


@pytest.mark.parametrize("grad", [False, True])
@pytest.mark.parametrize("site", [name for name in SITES if not name.startswith("blocks.2")])
def test_a_cached_tensor_never_changes(model: ns.HookedGPTNeo, site: str, grad: bool) -> None:
    """Whoever writes in place, at this site or any other, is seen downstream and nowhere else."""
    with torch.set_grad_enabled(grad):
        _, clean = model.run_with_cache(IDS)
        edit = transform(site, function=zero_in_place)
        _, edited = model.run_with_cache(IDS, edits=[edit])
        with model.hooks(fwd_hooks=[(site, zero_in_place)]):
            _, hooked = model.run_with_cache(IDS)
    before = SITES[: SITES.index(site)]
    for cache in (edited, hooked):
        assert all(torch.equal(cache[name], clean[name]) for name in before)
        # Masked scores stay masked, whatever is written there.
        masked = clean[site].isinf()
        assert not cache[site][~masked].any()
        assert torch.equal(cache[site].isinf(), masked)


def test_tensors_that_were_put_in_are_not_kept(model: ns.HookedGPTNeo) -> None:
    value = torch.randn(3, 7, 24)
    put = replace("resid_post", 0, value)
    with model.hooks(fwd_hooks=[("blocks.1.hook_resid_post", lambda x, hook: value)]):
        _, cache = model.run_with_cache(IDS, edits=[put])
    _, later = model.run_with_cache(IDS, sites="resid_pre", layers=1, edits=[put])
    kept = [cache["resid_post", 0], cache["resid_pre", 2], later["resid_pre", 1]]
    expected = value.clone()
    value.zero_()
    assert all(torch.equal(x, expected) for x in kept)
    assert cache["resid_pre", 1] is cache["resid_post", 0]


def test_a_caller_shares_no_memory_with_a_cache(model: ns.HookedGPTNeo) -> None:
    ids, mask = IDS.clone(), torch.ones_like(IDS).bool()
    stream, below = model.run_with_cache(ids, mask, stop_at_layer=1)
    kept = stream.clone()
    _, above = model.run_with_cache(stream, start_at_layer=1)
    stream.zero_()
    ids.zero_()
    mask.zero_()
    assert torch.equal(below["resid_post", 0], kept) and torch.equal(above["resid_pre", 1], kept)
    assert below.tokens is not None
    assert torch.equal(below.tokens.ids, IDS) and below.tokens.mask.all()


def test_a_ref_has_the_shape_that_a_run_has(whole: dict[str, ns.ActivationCache]) -> None:
    for ref in all_sites(CONFIG):
        assert isinstance(ref, SiteRef)
        assert tuple(whole["none"][ref.name].shape) == ref.shape(CONFIG, 3, 7)
