"""Head scores equal plain loops and TransformerLens, whatever the batch, padding and cache."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformer_lens.head_detector import detect_head, get_induction_head_detection_pattern

import neoscope as ns
from neoscope.analysis import heads
from neoscope.model import HookedGPTNeo
from neoscope.organism.compiled import INDUCTION_TRUTH
from tests.neoscope.analysis.head_runs import (
    OF_PATTERN,
    QUIET,
    TEXTS,
    random_model,
    score,
)


def plain(model: HookedGPTNeo, texts: list[list[int]]) -> dict[str, np.ndarray]:
    """Sums and counts of every score by text, layer and head, a query at a time."""
    c = model.config
    near = c.window_size if "local" in c.kinds else c.n_ctx
    shape = (len(texts), c.n_layers, c.n_heads)
    sums = {name: np.zeros(shape) for name in OF_PATTERN}
    counts = {name: np.zeros(shape) for name in OF_PATTERN}
    for t, text in enumerate(texts):
        _, cache = model.run_with_cache([text], sites="pattern")
        for layer in range(c.n_layers):
            pattern = cache["pattern", layer][0].double().numpy()
            window = c.window(layer) or c.n_ctx
            for i in range(1, len(text)):
                equal = [j for j in range(i) if text[j] == text[i]]
                after = [j + 1 for j in equal]
                keys = {
                    "previous_token": [i - 1],
                    "first_token": [0],
                    "duplicate_token": [j for j in equal if i - j < near],
                    "duplicate_token_beyond": [j for j in equal if i - j >= near],
                    "induction": [j for j in after if 0 < i - j < near],
                    "induction_beyond": [j for j in after if i - j >= near],
                }
                for name, found in keys.items():
                    seen = [j for j in found if i - j < window]
                    sums[name][t, layer] += pattern[:, i, seen].sum(-1)
                    counts[name][t, layer] += bool(seen)
                row = pattern[:, i]
                entropy = -(row * np.log(np.where(row > 0, row, 1))).sum(-1)
                rows = {
                    "entropy": entropy,
                    "relative_entropy": entropy / np.log(min(i + 1, window)),
                    "mean_distance": row @ (i - np.arange(len(text))),
                }
                for name, value in rows.items():
                    sums[name][t, layer] += value
                    counts[name][t, layer] += 1
    out = {}
    for name in OF_PATTERN:
        with np.errstate(invalid="ignore"):
            out[name] = sums[name].sum(0) / counts[name].sum(0)
            left = sums[name] - out[name] * counts[name]
            n = (counts[name] > 0).sum(0)
            out[f"{name} stderr"] = np.sqrt(
                np.where(n > 1, n, np.nan) / (n - 1.0) * (left**2).sum(0)
            ) / counts[name].sum(0)
    return out


def padded(side: str) -> ns.Tokens:
    longest = max(map(len, TEXTS))
    ids, mask = torch.zeros(len(TEXTS), longest, dtype=torch.long), torch.zeros(len(TEXTS), longest)
    for i, text in enumerate(TEXTS):
        place = slice(0, len(text)) if side == "right" else slice(longest - len(text), longest)
        ids[i, place], mask[i, place] = torch.tensor(text), 1
    return ns.Tokens(ids=ids, mask=mask.bool())


@pytest.mark.parametrize("kinds", [None, ("global", "global")])
@pytest.mark.parametrize("batch_tokens", [1, 25, 4096])
def test_scores_and_errors_are_those_of_plain_loops(kinds: Any, batch_tokens: int) -> None:
    model = random_model(attention_layers=kinds)
    expected = plain(model, TEXTS)
    found = heads(model, texts=padded("right"), batch_tokens=batch_tokens, **QUIET)
    for name in found.names:
        if name in OF_PATTERN:
            np.testing.assert_allclose(score(found, name), expected[name], atol=1e-5, err_msg=name)
            np.testing.assert_allclose(
                found.stderr[found.names.index(name)], expected[f"{name} stderr"], atol=1e-5
            )
    assert ("induction_beyond" in found.names) == (kinds is None)


def test_padding_batches_and_caches_agree(tmp_path: Path) -> None:
    model = random_model()
    first = heads(model, texts=padded("right"), scores=OF_PATTERN, **QUIET)
    others = [heads(model, texts=padded("left"), scores=OF_PATTERN, **QUIET)]
    for side in ("left", "right"):
        tokens = padded(side)
        _, cache = model.run_with_cache(tokens, sites="pattern")
        others.append(heads(cache))
        cache.save(tmp_path / f"{side}.safetensors")
        others.append(heads(ns.ActivationCache.load(tmp_path / f"{side}.safetensors")))
    for other in others:
        np.testing.assert_allclose(other.score, first.score, atol=1e-6)
        assert np.array_equal(other.n, first.n)
        assert np.array_equal(other.possible, first.possible)


def test_a_cache_without_its_batch_axis_will_do() -> None:
    model = random_model()
    _, cache = model.run_with_cache([TEXTS[0]], sites=["pattern", "v"])
    for weighted in ("attention", "norm"):
        whole = heads(cache, weighted=weighted)
        bare = heads(cache.remove_batch_dim(), weighted=weighted)
        assert np.array_equal(whole.score, bare.score, equal_nan=True)
    # One text says nothing of the spread.
    assert np.isnan(whole.stderr).all()
    assert np.isnan(whole.lead_stderr).all()


def test_half_precision_is_near() -> None:
    full = heads(random_model(), texts=TEXTS[:1], scores=OF_PATTERN, **QUIET)
    half = heads(random_model().to(torch.bfloat16), texts=TEXTS[:1], scores=OF_PATTERN, **QUIET)
    np.testing.assert_allclose(half.score, full.score, atol=0.1)
    _, cache = random_model().to(torch.bfloat16).run_with_cache([TEXTS[0]], sites="pattern")
    np.testing.assert_allclose(heads(cache).score, half.score, atol=1e-6)


def test_scores_of_some_cached_layers() -> None:
    model = random_model()
    _, cache = model.run_with_cache([TEXTS[0]], sites="pattern", layers=1)
    found = heads(cache)
    assert found.layers == (1,)
    assert found.windows == (4,)
    assert set(found.top("entropy", None)["layer"]) == {1}


@pytest.mark.parametrize(
    ("name", "theirs"),
    [
        ("previous_token", "previous_token_head"),
        ("duplicate_token", "duplicate_token_head"),
        ("induction", "induction_head"),
    ],
)
def test_transformer_lens_finds_the_same(name: str, theirs: Any) -> None:
    model = ns.load("induction")
    words = INDUCTION_TRUTH.words[1:]
    text = " ".join(words[i] for i in (0, 1, 2, 0, 1, 3, 3, 0, 4, 2, 1))
    found = heads(model, texts=[text], scores=name, **QUIET)
    if name == "induction":
        # It takes a token's attention to itself for induction where the one before is the same.
        pattern = get_induction_head_detection_pattern(model.to_tokens(text))
        assert pattern.diagonal().sum() == 1
        theirs = pattern.tril(-1)
    # It divides by all queries, those without such a key among them.
    share = found.n[0] / found.n_tokens
    np.testing.assert_allclose(
        found.score[0] * share, detect_head(model, text, theirs).numpy(), atol=1e-6
    )
