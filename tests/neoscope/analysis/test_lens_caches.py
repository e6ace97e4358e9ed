"""A lens reads any cache alike, padded or not, and in bounded memory."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

import neoscope as ns
from neoscope import analysis
from neoscope.analysis import readout
from neoscope.cache import ActivationCache
from neoscope.errors import AnalysisError
from neoscope.model import HookedGPTNeo
from tests.neoscope.analysis.lens_runs import TEXTS, assert_same, cached, logits_of

STREAM = ["resid_pre", "resid_post"]


@pytest.fixture(scope="module")
def cache(model: HookedGPTNeo) -> ActivationCache:
    return cached(model, TEXTS[0])


@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize("mean_corrected", [False, True])
def test_only_real_tokens_count(model: HookedGPTNeo, side: str, mean_corrected: bool) -> None:
    padded = cached(model, list(TEXTS), padding_side=side)
    lens = analysis.logit_lens(padded)
    alone = [analysis.logit_lens(cached(model, text)) for text in TEXTS]
    assert len(lens.tokens) == sum(len(one.tokens) for one in alone)
    for name in ("kl", "entropy", "cross_entropy", "top_probability", "next_rank"):
        expected = np.concatenate([getattr(one, name) for one in alone], 1)
        np.testing.assert_allclose(getattr(lens, name), expected, atol=2e-4)
    assert lens.tokens == alone[0].tokens + alone[1].tokens
    if mean_corrected:
        tokens = model.tokenize(list(TEXTS))
        corrected = [
            analysis.logit_lens(cached(model, x), mean_corrected=True)
            for x in (model.tokenize(list(TEXTS), padding_side="left"), tokens)
        ]
        np.testing.assert_allclose(corrected[0].kl, corrected[1].kl, atol=2e-4)
        np.testing.assert_allclose(corrected[0].bias, corrected[1].bias, atol=2e-4)


def test_cache_without_a_batch_axis(model: HookedGPTNeo, cache: ActivationCache) -> None:
    assert_same(
        analysis.logit_lens(cache.remove_batch_dim(), site="heads"),
        analysis.logit_lens(cache, site="heads"),
    )


def test_loaded_cache_needs_the_model(
    model: HookedGPTNeo, cache: ActivationCache, tmp_path: Path
) -> None:
    cache.save(tmp_path / "run.safetensors")
    loaded = ActivationCache.load(tmp_path / "run.safetensors")
    with pytest.raises(AnalysisError, match=r"logit_lens\(cache, model=model\)"):
        analysis.logit_lens(loaded)
    assert_same(analysis.logit_lens(loaded, model), analysis.logit_lens(cache))


def test_half_precision(model: HookedGPTNeo, cache: ActivationCache) -> None:
    half = ns.load("organism", dtype="bfloat16")
    lens = analysis.logit_lens(cached(half, TEXTS[0]))
    assert lens.entropy.dtype == np.float32
    expected = analysis.logit_lens(cache)
    np.testing.assert_allclose(lens.kl.mean(1), expected.kl.mean(1), rtol=0.1, atol=0.02)
    mixed = analysis.logit_lens(cache.to(dtype=torch.bfloat16), model)
    np.testing.assert_allclose(mixed.kl.mean(1), expected.kl.mean(1), rtol=0.1, atol=0.02)


@pytest.mark.parametrize("side", ["left", "right"])
def test_positions_are_counted_in_each_text(model: HookedGPTNeo, side: str) -> None:
    whole = cached(model, list(TEXTS), padding_side=side)
    every = analysis.logit_lens(whole)
    last = analysis.logit_lens(whole, positions=-1)
    kept = analysis.logit_lens(cached(model, list(TEXTS), padding_side=side, positions=[-2, -1]))
    ends = [int(np.flatnonzero(every.text == t)[-1]) for t in (0, 1)]
    assert last.tokens == (" to", " cabinet")
    np.testing.assert_allclose(last.kl, every.kl[:, ends], atol=1e-5)
    both = sorted([e - 1 for e in ends] + ends)
    assert kept.tokens == tuple(every.tokens[i] for i in both)
    assert np.array_equal(kept.next_ids, every.next_ids[both])
    assert np.array_equal(kept.position, every.position[both])
    np.testing.assert_allclose(kept.kl, every.kl[:, both], atol=1e-4)


def test_layers_and_sites_are_those_that_were_asked_for(
    model: HookedGPTNeo, cache: ActivationCache
) -> None:
    every = analysis.logit_lens(cache)
    some = analysis.logit_lens(cache, layers=[1, -1])
    assert some.labels == ("1", "3")
    np.testing.assert_allclose(some.kl, every.kl[[2, 4]], atol=1e-5)
    before = analysis.logit_lens(cache, site="resid_pre")
    np.testing.assert_allclose(before.kl, every.kl[:-1], atol=1e-5)
    assert analysis.logit_lens(cached(model, TEXTS[0], sites="resid_post")).labels[0] == "0"
    assert analysis.logit_lens(cache, site="resid_mid").labels == ("0", "1", "2", "3")
    assert every.row("embed") == 0
    assert every.row(2) == 3


def test_a_stream_that_was_given_has_no_tokens(model: HookedGPTNeo) -> None:
    stream = torch.randn(2, 5, model.config.d_model, generator=torch.Generator().manual_seed(0))
    lens = analysis.logit_lens(cached(model, stream, start_at_layer=0))
    assert lens.tokens == ("",) * 10
    assert np.isnan(lens.cross_entropy).all()
    assert np.isfinite(lens.kl).all()
    assert "NaN" not in str(lens)


def test_model_without_a_tokenizer() -> None:
    config = ns.NeoConfig(n_layers=2, d_model=8, n_heads=2, n_ctx=16, d_vocab=700)
    model = ns.HookedGPTNeo.from_config(config)
    lens = analysis.logit_lens(cached(model, [[1, 2, 3]]), targets=[3])
    assert lens.tokens == ("#1", "#2", "#3")
    assert lens.words[0].startswith("#")
    every = logits_of(model, cached(model, [[1, 2, 3]])["resid_post", 1])[0].topk(10)
    assert np.array_equal(lens.top_ids[-1], every.indices)  # by blocks: 700 is no multiple of 64


def test_chunks_show_nowhere(cache: ActivationCache, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = analysis.logit_lens(cache)
    monkeypatch.setattr(readout, "_LOGITS_AT_ONCE", 5 * cache.config.d_vocab)
    assert_same(analysis.logit_lens(cache), whole)


class _Largest(torch.utils._python_dispatch.TorchDispatchMode):
    """Adds up the bytes of every storage that is alive, and remembers the most."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # torch
        self.alive: dict[int, int] = {}
        self.most = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        import weakref

        out = func(*args, **(kwargs or {}))
        for x in out if isinstance(out, tuple | list) else (out,):
            if isinstance(x, Tensor):
                storage = x.untyped_storage()
                key = storage._cdata
                if key not in self.alive:
                    self.alive[key] = storage.nbytes()
                    weakref.finalize(storage, self.alive.pop, key, None)
        self.most = max(self.most, sum(self.alive.values()))
        return out


def test_memory_is_bounded_by_the_chunk(monkeypatch: pytest.MonkeyPatch) -> None:
    """13 rows x 2,048 positions of 50,257 tokens in 1 GiB is 1/20 of their logits; here 1/20 too.

    The figure scales: buffers hold a fixed number of logits, and results a few numbers a token.
    """
    n, d_vocab, depth = 256, 5000, 6
    config = ns.NeoConfig(n_layers=depth, d_model=8, n_heads=2, n_ctx=n, d_vocab=d_vocab)
    model = ns.HookedGPTNeo.from_config(config)
    ids = torch.randint(d_vocab, (1, n), generator=torch.Generator().manual_seed(0))
    cache = cached(model, ids, sites=STREAM)
    logits = (depth + 1) * n * d_vocab * 4
    monkeypatch.setattr(readout, "_LOGITS_AT_ONCE", 32 * d_vocab)
    with _Largest() as seen:
        analysis.logit_lens(cache)
    buffers = 3 * 32 * d_vocab * 4  # the output's, the row's and what lies near the processor
    marginals = (depth + 2) * d_vocab * 4 * 4
    assert buffers < seen.most < 1.5 * buffers + marginals + 2**20
    assert seen.most < logits / 8


def test_the_real_shape_stays_below_a_gibibyte() -> None:
    """Counted from what the code allocates: buffers, means, and what is kept of every token."""
    rows, n, v = 13, 2048, 50257
    chunk = readout.rows_at_once(v) * v * 4
    buffers = 2 * chunk + readout._NEAR * v * 4
    means = (rows + 1) * v * (4 + 8 + 8)
    kept = rows * n * (10 * 20 + 60) * 2
    assert buffers + means + kept + chunk < 2**30


def test_another_models_cache_is_refused(
    model: HookedGPTNeo, cache: ActivationCache, tmp_path: Path
) -> None:
    """Even one of the same shape: its logits would be nobody's."""
    other = ns.load("organism-random")
    with pytest.raises(AnalysisError, match="made by another model than the one given"):
        analysis.logit_lens(cache, other)
    cache.save(tmp_path / "run.safetensors")
    loaded = ActivationCache.load(tmp_path / "run.safetensors")
    with pytest.raises(AnalysisError, match="made by another model than the one given"):
        analysis.logit_lens(loaded, other)
