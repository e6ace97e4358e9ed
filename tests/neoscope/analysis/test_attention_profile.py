"""attention_profile: against loops over patterns, hand-made heads, compiled models, bad input."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import neoscope as ns
from neoscope import analysis
from neoscope.analysis import AttentionProfile, attention_profile
from neoscope.analysis.profile.watch import diagonals
from neoscope.errors import AnalysisError
from neoscope.model import HookedGPTNeo
from neoscope.organism.compiled import INDUCTION_TRUTH

QUIET: dict[str, Any] = {"progress": False}


def model_of(**changes: Any) -> HookedGPTNeo:
    shape = {"n_layers": 2, "d_model": 16, "n_heads": 2, "n_ctx": 12, "d_vocab": 40}
    shape |= {"window_size": 3, "bos_token_id": 0, "eos_token_id": 0, "init_range": 0.4}
    return HookedGPTNeo.from_config(ns.NeoConfig(**(shape | changes)), seed=1)


def rows(*lengths: int) -> ns.Tokens:
    ids = torch.zeros(len(lengths), max(lengths), dtype=torch.long)
    mask = torch.zeros_like(ids, dtype=torch.bool)
    for i, n in enumerate(lengths):
        ids[i, :n] = torch.randint(1, 40, (n,), generator=torch.Generator().manual_seed(i))
        mask[i, :n] = True
    return ns.Tokens(ids, mask)


def patterns(model: HookedGPTNeo, tokens: ns.Tokens, layer: int) -> list[np.ndarray]:
    cache = model.run_with_cache(tokens, sites="pattern")[1]
    x = cache["pattern", layer].numpy().astype(float)
    return [x[i, :, :n, :n] for i, n in enumerate(tokens.lengths)]


def ratio(sums: list[float], counts: list[int]) -> tuple[float, float]:
    """The mean over queries, and its standard error with texts as units."""
    s, c = np.array(sums), np.array(counts, float)
    n = int((c > 0).sum())
    mean = s.sum() / c.sum()
    spread = float(((s - mean * c) ** 2).sum())
    return mean, float(np.sqrt(n / (n - 1) * spread) / c.sum())


def test_every_number_equals_a_plain_loop_over_patterns() -> None:
    model, tokens = model_of(), rows(9, 4, 6, 12)
    found = attention_profile(model, tokens, batch_tokens=14, **QUIET)
    assert found.starts.tolist() == [0, 1, 2, 4, 8] and found.bands()[-1] == "8-11"
    for layer, window in ((0, None), (1, 3)):
        all_of = patterns(model, tokens, layer)
        for head in range(2):
            by: dict[int, list[tuple[float, int]]] = {}
            for a in all_of:
                n = a.shape[1]
                for d in range(12):
                    cells = [a[head, i, i - d] for i in range(max(d, 1), n)]
                    by.setdefault(d, []).append((float(sum(cells)), len(cells)))
            for d, pairs in by.items():
                got = found.by_distance[layer, head, d], found.by_distance_stderr[layer, head, d]
                if window is not None and d >= window:
                    assert np.isnan(got).all()
                    continue
                sums, counts = (list(x) for x in zip(*pairs, strict=True))
                assert found.n[d] == sum(counts)
                assert got[0] == pytest.approx(sum(sums) / sum(counts), rel=1e-5)
                if sum(c > 0 for c in counts) > 1:
                    assert got[1] == pytest.approx(ratio(sums, counts)[1], rel=1e-3, abs=1e-9)
                else:
                    assert np.isnan(got[1])
            for band, start in enumerate(found.starts.tolist()):
                if window is not None and start >= window:
                    assert np.isnan(found.share[layer, head, band])
                    continue
                stop = [*found.starts[1:].tolist(), 12][band]
                sums = [sum(by[d][t][0] for d in range(start, stop)) for t in range(4)]
                mean, error = ratio(sums, [n - 1 for n in tokens.lengths])
                assert found.share[layer, head, band] == pytest.approx(mean, rel=1e-5)
                assert found.share_stderr[layer, head, band] == pytest.approx(error, rel=1e-3)
            seen = [
                range(1, a.shape[1] if window is None else min(window, a.shape[1])) for a in all_of
            ]
            sums = [float(sum(a[head, i, 0] for i in r)) for a, r in zip(all_of, seen, strict=True)]
            mean, error = ratio(sums, [len(r) for r in seen])
            assert found.first[layer, head] == pytest.approx(mean, rel=1e-5)
            assert found.first_stderr[layer, head] == pytest.approx(error, rel=1e-3)


def test_shares_of_a_head_sum_to_one_and_even_attention_is_known_by_hand() -> None:
    model = model_of()
    with torch.no_grad():
        for block in model.blocks:
            block.attn.W_Q.zero_()  # every head attends evenly to all it sees
    found = attention_profile(model, rows(3, 3), **QUIET)
    # Query 1 gives 1/2 to each of two keys, query 2 gives 1/3 to each of three.
    assert found.itself[0] == pytest.approx([(1 / 2 + 1 / 3) / 2] * 2)
    assert found.by_distance[0, 0] == pytest.approx([5 / 12, 5 / 12, 1 / 3])
    assert found.first[0] == pytest.approx([5 / 12] * 2)
    assert found.share[0, 0] == pytest.approx([5 / 12, 5 / 12, 1 / 6])
    assert found.share_stderr[0, 0] == pytest.approx(0, abs=1e-7)
    longer = attention_profile(model, rows(12, 5, 8), **QUIET)
    assert np.nansum(longer.share, axis=-1) == pytest.approx(np.ones((2, 2)))


def test_batches_and_padding_change_nothing() -> None:
    model, tokens = model_of(), rows(9, 4, 6, 12, 2)
    whole = attention_profile(model, tokens, **QUIET)
    single = attention_profile(model, tokens, batch_tokens=1, **QUIET)
    for name in ("share", "share_stderr", "by_distance", "first", "first_stderr"):
        assert getattr(single, name) == pytest.approx(getattr(whole, name), nan_ok=True, abs=1e-6)


def test_compiled_previous_token_head_looks_one_back() -> None:
    model = ns.load("induction")
    layer, head = INDUCTION_TRUTH.previous_token
    ids = torch.arange(2, 10)[None].repeat(2, 1)
    found = attention_profile(model, ids, prepend_bos=True, **QUIET)
    assert found.by_distance[layer, head, 1] > 0.99
    assert found.prepend_bos


def test_first_and_next_equal_head_scores_on_the_same_texts() -> None:
    model = ns.load("organism")
    texts = [one.text for one in ns.organism.sentences("filler", 12)]
    found = attention_profile(model, texts, **QUIET)
    scores = analysis.heads(model, texts=texts, scores=["previous_token", "first_token"], **QUIET)
    for name, value, error in (
        ("previous_token", found.by_distance[..., 1], found.by_distance_stderr[..., 1]),
        ("first_token", found.first, found.first_stderr),
    ):
        i = scores.names.index(name)
        assert value == pytest.approx(scores.score[i], abs=1e-6)
        assert error == pytest.approx(scores.stderr[i], abs=1e-6)


def test_iterators_are_read_as_they_come() -> None:
    model = ns.load("organism")
    texts = [one.text for one in ns.organism.sentences("filler", 6)]

    def lazily() -> Iterator[str]:
        yield from texts

    told: list[tuple[int, int]] = []
    found = attention_profile(model, lazily(), progress=lambda *x: told.append(x))
    assert told[-1] == (6, 0)
    assert found.share == pytest.approx(attention_profile(model, texts, **QUIET).share, nan_ok=True)


def test_texts_longer_than_the_context_come_in_pieces() -> None:
    found = attention_profile(model_of(), torch.arange(1, 31)[None], **QUIET)
    assert (found.n_cut, found.n_texts, found.n_tokens, len(found.n)) == (1, 3, 30, 10)
    assert "1 longer than the context, in pieces" in found.heading()


def test_interruption_keeps_what_was_done() -> None:
    model, tokens = model_of(), rows(4, 5)

    def stop(done: int, total: int) -> None:
        raise KeyboardInterrupt

    with pytest.warns(UserWarning, match="interrupted: 2 texts are done"):
        found = attention_profile(model, tokens, progress=stop)
    assert not found.complete and "interrupted" in found.heading()


@pytest.mark.parametrize(
    ("texts", "options", "said"),
    [
        ([], {}, "texts is empty"),
        (iter(()), {}, "texts is empty"),
        (torch.ones(2, 1, dtype=torch.long), {}, "no text has more than one token"),
        (3, {}, "expected texts or token ids"),
        (torch.ones(1, 4, dtype=torch.long), {"batch_tokens": 0}, "at least 1"),
        (torch.ones(1, 4, dtype=torch.long), {"progress": 3}, "expected True, False"),
    ],
)
def test_bad_input_is_refused(texts: Any, options: dict[str, Any], said: str) -> None:
    with pytest.raises(AnalysisError, match=said):
        attention_profile(model_of(), texts, **(QUIET | options))


def test_model_without_a_beginning_token_is_refused_one() -> None:
    with pytest.raises(AnalysisError, match="no beginning-of-text token"):
        attention_profile(model_of(bos_token_id=None), rows(4), prepend_bos=True, **QUIET)
    with pytest.raises(AnalysisError, match="takes a model"):
        attention_profile("organism", ["x"])


def test_result_prints_is_a_table_and_is_kept(tmp_path: Path) -> None:
    found = attention_profile(model_of(), rows(9, 4), **QUIET)
    text = str(found)
    assert "cannot" in text and max(map(len, text.splitlines())) <= 80
    table = found.to_dataframe()
    assert len(table) == 2 * 2 * (1 + len(found.starts))
    local = table[(table["layer"] == 1) & (table["from"] >= 3)]
    assert local["share"].isna().all() and not local["possible"].any()
    for suffix in ("json", "safetensors"):
        again = analysis.load(found.save(tmp_path / f"profile.{suffix}"))
        assert isinstance(again, AttentionProfile)
        assert again.share == pytest.approx(found.share, nan_ok=True)


def test_diagonals_are_sums_by_distance() -> None:
    x = torch.rand(3, 5, 5)
    expected = torch.stack([x.diagonal(-d, 1, 2).sum(-1) for d in range(5)], 1)
    assert torch.allclose(diagonals(x).float(), expected)
