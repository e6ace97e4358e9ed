"""Forward and run_with_cache against transformers and TransformerLens on a 125M-shaped model."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path

import torch
from torch import Tensor
from transformers import DynamicCache, GPTNeoForCausalLM

from neoscope import HookedGPTNeo, KVCache
from tests.benchmarks import checkpoint
from tests.benchmarks.harness import Contest, Figure, Settings, Work, difference

_EXACT = 1e-5
# Under bfloat16 two right answers differ by their rounding; ours may be this much farther from
# float32 than transformers' is.
_HALF = 1.25
Row = Contest | Figure


def rows(settings: Settings) -> Iterator[Row]:
    """Yield every row; a model is loaded when its rows come and dropped after them."""
    with checkpoint.random_checkpoint(settings) as folder:
        yield from _plain_rows(folder, settings)
        yield from _half_rows(folder, settings)
        yield from _cache_rows(folder, settings)


def _tokens(settings: Settings, model: GPTNeoForCausalLM, batch: int, pos: int) -> Tensor:
    if settings.quick:
        batch, pos = min(batch, 2), min(pos, 48)
    generator = torch.Generator().manual_seed(0)
    ids = torch.randint(model.config.vocab_size, (batch, pos), generator=generator)
    return ids.to(settings.device)


def _text(ids: Tensor) -> str:
    return f"{ids.shape[0]} x {ids.shape[1]} tokens"


def _error(ours: Callable[[], Tensor], theirs: Callable[[], Tensor]) -> Callable[[], float]:
    return lambda: difference(ours(), theirs())


def _plain_rows(folder: Path, settings: Settings) -> Iterator[Row]:
    hf, ours = (
        checkpoint.load_transformers(folder, settings),
        checkpoint.load_ours(folder, settings),
    )
    count = partial(checkpoint.flops, hf.config)
    ids = _tokens(settings, hf, 8, 256)
    yield _race("hidden, fp32", ids, *_hidden(hf, ours, ids), count(*ids.shape))
    yield _race(
        "logits, fp32",
        ids,
        lambda: ours(ids),
        # No KV cache: it would be work that nobody asked us for.
        lambda: hf(ids, use_cache=False).logits,
        count(*ids.shape, logits=True),
    )
    yield _padded(hf, ours, ids, count(*ids.shape))
    long = _tokens(settings, hf, 1, 2048)
    yield _race("hidden, long, fp32", long, *_hidden(hf, ours, long), count(*long.shape))
    yield _step(hf, ours, ids[:1], count(1, 1, logits=True, past=ids.shape[1]))


def _hidden(hf: GPTNeoForCausalLM, ours: HookedGPTNeo, ids: Tensor) -> tuple[Work, Work]:
    return (
        lambda: ours(ids, return_type="hidden"),
        lambda: hf.transformer(ids, use_cache=False)[0],
    )


def _race(name: str, ids: Tensor, ours: Work, theirs: Work, flops: float) -> Contest:
    error = _error(ours, theirs)  # type: ignore[arg-type]
    peers = {"transformers": theirs}
    return Contest(name, _text(ids), ours, peers, error, _EXACT, flops)


def _padded(hf: GPTNeoForCausalLM, ours: HookedGPTNeo, ids: Tensor, flops: float) -> Contest:
    """Rows of different lengths; transformers must be told the positions to be right."""
    batch, pos = ids.shape
    lengths = torch.linspace(pos // 4, pos, batch).long().to(ids.device)
    mask = torch.arange(pos, device=ids.device)[None] >= pos - lengths[:, None]
    position = (mask.long().cumsum(1) - 1).clamp(min=0)
    options = {"attention_mask": mask.long(), "position_ids": position, "use_cache": False}

    def run_ours() -> Tensor:
        return ours(ids, mask, return_type="hidden")

    def run_theirs() -> Tensor:
        return hf.transformer(ids, **options)[0]

    error = _error(lambda: run_ours()[mask], lambda: run_theirs()[mask])
    peers = {"transformers": run_theirs}
    name = "hidden, left padded, fp32"
    return Contest(name, _text(ids), run_ours, peers, error, _EXACT, flops)


def _step(hf: GPTNeoForCausalLM, ours: HookedGPTNeo, ids: Tensor, flops: float) -> Contest:
    """One greedy step after a prompt; both caches forget the step before the next call."""
    n = ids.shape[1]
    past, theirs = KVCache(), DynamicCache(config=hf.config)
    with torch.inference_mode():
        token = ours(ids, past=past)[:, -1:].argmax(-1)
        hf(ids, past_key_values=theirs, use_cache=True)

    def run_ours() -> Tensor:
        past.length = n
        return ours(token, past=past)

    def run_theirs() -> Tensor:
        if theirs.get_seq_length() > n:
            theirs.crop(n - theirs.get_seq_length())
        return hf(token, past_key_values=theirs, use_cache=True).logits

    peers = {"transformers": run_theirs}
    error = _error(run_ours, run_theirs)
    unit = f"1 token after {n}"
    return Contest("greedy step, fp32", unit, run_ours, peers, error, _EXACT, flops)


def _half_rows(folder: Path, settings: Settings) -> Iterator[Row]:
    exact = checkpoint.load_ours(folder, settings)
    hf = checkpoint.load_transformers(folder, settings, torch.bfloat16)
    ours = checkpoint.load_ours(folder, settings, torch.bfloat16)
    ids = _tokens(settings, hf, 8, 256)
    reference = exact(ids, return_type="hidden")
    del exact
    run_ours, run_theirs = _hidden(hf, ours, ids)

    def error() -> float:
        """How much farther from float32 ours is than transformers'."""
        return difference(run_ours().float(), reference) / difference(
            run_theirs().float(), reference
        )

    yield Contest(
        "hidden, bf16",
        _text(ids),
        run_ours,
        {"transformers": run_theirs},
        error,
        _HALF,
        flops=checkpoint.flops(hf.config, *ids.shape),
        dtype="bfloat16",
    )


def _cache_rows(folder: Path, settings: Settings) -> Iterator[Row]:
    ours, bridge = checkpoint.load_ours(folder, settings), checkpoint.load_bridge(folder, settings)
    count = partial(checkpoint.flops, bridge.original_model.config, logits=True)
    many = _tokens(settings, bridge.original_model, 8, 256)
    short = _tokens(settings, bridge.original_model, 1, 15)
    for name, ids in (
        ("run_with_cache, every site, fp32", many),
        ("run_with_cache, one prompt, fp32", short),
    ):
        yield Contest(
            name,
            _text(ids),
            partial(ours.run_with_cache, ids),
            {"bridge": partial(bridge.run_with_cache, ids)},
            partial(_cache_error, ours, bridge, ids),
            _EXACT,
            count(*ids.shape),
        )
    sizes = partial(_cache_sizes, ours, bridge, many)
    yield Figure("cache bytes / bridge's keys", _text(many), lambda: sizes()[0])
    yield Figure("cache bytes / bridge's storages", _text(many), lambda: sizes()[1])


def _cache_error(ours: HookedGPTNeo, bridge: object, ids: Tensor) -> float:
    """Compare logits and every site that both have; the bridge's scores are really its patterns."""
    logits, cache = ours.run_with_cache(ids)
    expected, theirs = bridge.run_with_cache(ids)  # type: ignore[attr-defined]
    shared = [n for n in cache if n in theirs.cache_dict and not n.endswith("hook_attn_scores")]
    assert len(shared) > len(cache) // 2, "the two caches have few names in common"
    worst = max(difference(cache[n], theirs[n].reshape(cache[n].shape)) for n in shared)
    return max(difference(logits, expected), worst)


def _cache_sizes(ours: HookedGPTNeo, bridge: object, ids: Tensor) -> tuple[float, float]:
    """Bytes of our cache over those that the bridge's keys add up to, and over its storages'."""
    with torch.inference_mode():
        mine = ours.run_with_cache(ids)[1].nbytes
        tensors: Mapping[str, Tensor] = bridge.run_with_cache(ids)[1].cache_dict  # type: ignore[attr-defined]
    keys = sum(tensor.numel() * tensor.element_size() for tensor in tensors.values())
    storages = {t.untyped_storage().data_ptr(): t.untyped_storage() for t in tensors.values()}
    return mine / keys, mine / sum(storage.nbytes() for storage in storages.values())
