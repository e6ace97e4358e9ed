"""Every feature in slow plain Python: one text, one window, one token at a time."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors
from transformers import PreTrainedTokenizerFast

import neoscope as ns
from neoscope.cache import ActivationCache
from neoscope.export.derived import Derived
from neoscope.export.extractor import Extractor, Values
from neoscope.export.spec import Feature, FeatureSpec

OUTSIDE = "<outside>"
"""A word that the tokenizer knows and the model does not."""
TINY = ns.NeoConfig(
    n_layers=3, d_model=24, n_heads=3, n_ctx=48, d_vocab=270, window_size=5, init_range=0.2
)
TEXTS = [
    "the film was good, the film was not good at all",
    "a",
    "é😀 and the other 日本語 words",
    "the",
    "  two  spaces ",
    "film after film after film",
    "\0\x07 the",
    "a",
]


@functools.cache
def tokenizer() -> PreTrainedTokenizerFast:
    """Bytes and a few pairs of them: most words, and every é, are several tokens."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    merges = [("t", "h"), ("th", "e"), ("Ġ", "the"), ("f", "i"), ("fi", "l"), ("Ġ", "a")]
    words = ["<eos>", *alphabet, *(a + b for a, b in merges)]
    made = Tokenizer(models.BPE({word: i for i, word in enumerate(words)}, merges))
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.post_processor = processors.ByteLevel(trim_offsets=False)
    made.decoder = decoders.ByteLevel()
    fast = PreTrainedTokenizerFast(tokenizer_object=made, eos_token="<eos>", bos_token="<eos>")
    fast.add_tokens([f"<fill{i}>" for i in range(TINY.d_vocab - len(words))] + [OUTSIDE])
    return fast


def tiny(seed: int = 0, **changes: Any) -> ns.HookedGPTNeo:
    """A random model whose texts are longer than its window and whose biases are not zero."""
    dtype = changes.pop("dtype", torch.float32)
    config = ns.NeoConfig(**{**vars(TINY), "attention_layers": None, **changes})
    model = ns.HookedGPTNeo.from_config(config, seed, tokenizer=tokenizer())
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim == 1:
                parameter += 0.3 * torch.randn(parameter.shape, generator=generator)
    return model.to(dtype)


def run(
    model: ns.HookedGPTNeo,
    spec: FeatureSpec,
    texts: list[str | None] | list[str],
    *,
    where: list[Any] | None = None,
    batch_tokens: int | None = None,
) -> Values:
    """What the extractor gives."""
    extractor = Extractor(model, spec, batch_tokens=batch_tokens)
    return extractor.run(extractor.encode(list(texts), where=where))


def ids_of(text: str, spec: FeatureSpec) -> list[int]:
    """The ids of one text, with the token before it that was asked for."""
    ids: list[int] = tokenizer()(text, add_special_tokens=False)["input_ids"]
    return [0, *ids] if spec.prepend_bos else ids


def window_of(t: int, n: int, room: int, overlap: int) -> tuple[int, int]:
    """The window that token ``t`` of ``n`` is read in."""
    k = 0 if t < room else 1 + (t - room) // (room - overlap)
    start = k * (room - overlap)
    return start, min(start + room, n)


@functools.lru_cache(maxsize=64)
def _forward(
    model: ns.HookedGPTNeo, ids: tuple[int, ...]
) -> tuple[torch.Tensor, torch.Tensor, ActivationCache]:
    window = torch.tensor([ids])
    with torch.no_grad():
        logits, cache = model.run_with_cache(window)
        hidden = model(window, return_type="hidden")[0]
    return logits[0].double().log_softmax(-1), hidden, cache


def _of_window(
    model: ns.HookedGPTNeo, feature: Feature, ids: list[int], start: int, stop: int
) -> dict[int, NDArray[np.float64]]:
    """The feature of every token of a window that has one, by the token's number in the text."""
    log_p, hidden, cache = _forward(model, tuple(ids[start:stop]))
    n = stop - start
    out: dict[int, Any] = {}
    for t in range(n):
        source = feature.source
        if not isinstance(source, Derived):
            x = cache[source.name][0]
            out[t] = x[:, t, :] if "key" in source.kind.axes else x[t]
        elif source.name == "hidden":
            out[t] = hidden[t]
        elif source.name == "loss" and start + t + 1 < len(ids):
            out[t] = -log_p[t, ids[start + t + 1]]
        elif source.name == "surprisal" and t > 0:
            out[t] = -log_p[t - 1, ids[start + t]]
        elif source.name == "entropy":
            out[t] = -(log_p[t].exp() * log_p[t]).sum()
        elif source.layered:
            pattern = cache["pattern", feature.layer][0].double()
            if source.name == "attn_to_first":
                out[t] = pattern[:, t, 0]
            elif source.name == "attn_to_previous" and t > 0:
                out[t] = pattern[:, t, t - 1]
            elif source.name == "attn_entropy":
                logs = torch.where(pattern[:, t] > 0, pattern[:, t].log(), 0.0)
                out[t] = -(pattern[:, t] * logs).sum(-1)
    return {start + t: np.asarray(x, np.float64).reshape(-1) for t, x in out.items()}


def tokens_of(
    model: ns.HookedGPTNeo, feature: Feature, spec: FeatureSpec, text: str
) -> tuple[dict[int, NDArray[np.float64]], int]:
    """The feature of each token of a text that has it, and how many tokens the text has."""
    ids = ids_of(text, spec)
    room = spec.max_length or model.config.n_ctx
    if spec.truncation == "truncate":
        ids = ids[:room]
    overlap = room // 2 if spec.overlap is None else spec.overlap
    windows = {t: window_of(t, len(ids), room, overlap) for t in range(len(ids))}
    read = {w: _of_window(model, feature, ids, *w) for w in set(windows.values())}
    return {t: read[w][t] for t, w in windows.items() if t in read[w]}, len(ids)


def _chosen(positions: Any, n: int) -> set[int]:
    if positions is None or isinstance(positions, str):
        return set(range(n))
    if isinstance(positions, slice):
        return set(range(n)[positions])
    return {range(n)[i] for i in ([positions] if isinstance(positions, int) else positions)}


def pooled(values: dict[int, NDArray[np.float64]], pool: str, n: int) -> NDArray[np.float64] | None:
    """Pool tokens as the books say; None where there is nothing to pool."""
    if not values:
        return None
    numbers = sorted(values)
    if pool == "last":
        return values[numbers[-1]]
    if pool == "first":
        return values[numbers[0]]
    if pool == "max":
        return np.max([values[t] for t in numbers], axis=0)
    total = np.zeros_like(values[numbers[0]])
    weights = 0.0
    for t in numbers:
        # SGPT (Muennighoff 2022): w_i = i / sum of i, i from 1.
        weight = 1.0 if pool == "mean" else t + 1.0
        total, weights = total + weight * values[t], weights + weight
    return total / weights


def expected(
    model: ns.HookedGPTNeo, feature: Feature, spec: FeatureSpec, text: str
) -> NDArray[np.float64] | None:
    """What one text's row of a pooled feature must be; None for null."""
    values, n = tokens_of(model, feature, spec, text)
    chosen = _chosen(spec.positions, n)
    return pooled({t: x for t, x in values.items() if t in chosen}, feature.pool, n)


def close(found: Any, reference: Any, limit: float = 1e-5) -> None:
    """Within ``limit`` of the largest value, and NaN nowhere."""
    found, reference = np.asarray(found, np.float64), np.asarray(reference, np.float64)
    assert found.shape == reference.shape
    largest = max(1.0, float(np.abs(reference).max(initial=0)))
    error = float(np.abs(found - reference).max(initial=0))
    assert error <= limit * largest, f"off by {error / largest:.2e}"


def check(
    model: ns.HookedGPTNeo, spec: FeatureSpec, texts: list[str], limit: float = 1e-5, **options: Any
) -> Values:
    """Compare every feature of every text with the oracle."""
    found = run(model, spec, texts, **options)
    assert not found.encoded.problems
    features = spec.features(model.config, model._switches_on())
    for i, text in enumerate(texts):
        for feature in features:
            rows, filled = found.features[feature.name], found.filled[feature.name]
            assert rows.shape == (len(texts), feature.width)
            reference = expected(model, feature, spec, text)
            assert filled[i] == (reference is not None), (feature.name, text)
            if reference is None:
                assert np.isnan(rows[i]).all()
            else:
                close(rows[i], reference, limit)
    return found


def same(a: Values, b: Values, rows: list[int] | None = None, limit: float = 1e-5) -> None:
    """Two results agree; ``rows`` of the first are all rows of the second."""
    assert a.features.keys() == b.features.keys()
    for name, x in a.features.items():
        keep = slice(None) if rows is None else rows
        np.testing.assert_array_equal(a.filled[name][keep], b.filled[name])
        close(x[keep][b.filled[name]], b.features[name][b.filled[name]], limit)
        assert np.isnan(x[keep][~b.filled[name]]).all()
