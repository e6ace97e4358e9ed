"""Greedy generation against transformers and TransformerLens on a 125M-shaped model.

A step reads every weight once, so that memory sets the bound: the share of the bandwidth that a
plain product reaches on as many bytes stands beside the times.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import GPTNeoForCausalLM

from neoscope import HookedGPTNeo
from neoscope.edits import ablate
from neoscope.generate.screen import screen_for
from tests.benchmarks import checkpoint, machine
from tests.benchmarks.harness import Contest, Figure, Settings, Work, difference, seconds

_NEW = 64
_HALF = 1.25
Row = Contest | Figure


def rows(settings: Settings) -> Iterator[Row]:
    """Yield every row; a model is loaded when its rows come and dropped after them."""
    with checkpoint.random_checkpoint(settings) as folder:
        yield from _single_rows(folder, settings)
        yield from _half_row(folder, settings)


def _new(settings: Settings) -> int:
    return 8 if settings.quick else _NEW


def _single_rows(folder: Path, settings: Settings) -> Iterator[Row]:
    bridge = checkpoint.load_bridge(folder, settings)
    hf = checkpoint.load_transformers(folder, settings)
    ours = checkpoint.load_ours(folder, settings)
    n = _new(settings)
    one, _ = _prompts(hf, [16], settings)
    many, mask = _prompts(hf, [24, 5, 17, 11, 20, 8, 24, 14], settings)
    for name, ids, real in (
        ("greedy, 1 prompt, fp32", one, None),
        ("greedy, 8 prompts, fp32", many, mask),
    ):
        works = {
            "transformers": partial(_theirs, hf, ids, real, n),
            "bridge": partial(_bridges, bridge, ids, real, n),
        }
        mine = partial(_ours, ours, ids, real, n)
        unit = f"{len(ids)} x {n} tokens"
        # With padding the bridge gives every row another text than alone: its time alone counts.
        peers = works if real is None else {"transformers": works["transformers"]}
        yield Contest(name, unit, mine, works, partial(_unlike, mine, peers), 0.0, rounds=3)
        measure = partial(_share, ours, mine, n, settings)
        yield Figure(f"bandwidth, {name}", unit, measure)
    yield Contest(
        "beam search, 4 beams, fp32",
        f"1 x {n} tokens",
        partial(_ours, ours, one, None, n, num_beams=4),
        {"transformers": partial(_theirs, hf, one, None, n, num_beams=4)},
        partial(
            _unlike,
            partial(_ours, ours, one, None, n, num_beams=4),
            {"transformers": partial(_theirs, hf, one, None, n, num_beams=4)},
        ),
        0.0,
        rounds=3,
    )
    edit = ablate("z", 1, 2)
    yield Contest(
        "greedy, a head off, fp32",
        f"1 x {n} tokens",
        partial(_ours, ours, one, None, n, edits=edit),
        {"whole text each step": partial(_ours, ours, one, None, n, edits=edit, use_cache=False)},
        partial(
            _unlike,
            partial(_ours, ours, one, None, n, edits=edit),
            {"": partial(_ours, ours, one, None, n, edits=edit, use_cache=False)},
        ),
        0.0,
        rounds=3,
    )


def _prompts(
    model: GPTNeoForCausalLM, lengths: list[int], settings: Settings
) -> tuple[Tensor, Tensor | None]:
    """Random prompts, padded on the left; their mask, or None for a single one."""
    generator = torch.Generator().manual_seed(0)
    longest = max(lengths)
    ids = torch.randint(model.config.vocab_size, (len(lengths), longest), generator=generator)
    mask = torch.arange(longest)[None] >= longest - torch.tensor(lengths)[:, None]
    ids = ids.masked_fill(~mask, 0).to(settings.device)
    return ids, None if len(lengths) == 1 else mask.to(settings.device)


def _ours(model: HookedGPTNeo, ids: Tensor, mask: Tensor | None, n: int, **options: Any) -> Tensor:
    out: Tensor = model.generate(
        ids, mask, max_new_tokens=n, do_sample=False, eos_token_id=None, pad_token_id=0,
        progress=False, **options,
    )  # fmt: skip
    return out


def _theirs(
    model: GPTNeoForCausalLM, ids: Tensor, mask: Tensor | None, n: int, **options: Any
) -> Tensor:
    real = torch.ones_like(ids) if mask is None else mask.long()
    return model.generate(
        ids,
        attention_mask=real,
        max_new_tokens=n,
        do_sample=False,
        eos_token_id=None,
        pad_token_id=0,
        **options,
    )


def _bridges(bridge: Any, ids: Tensor, mask: Tensor | None, n: int) -> Tensor:
    options = {} if mask is None else {"attention_mask": mask.long(), "padding_side": "left"}
    out: Tensor = bridge.generate(
        ids, max_new_tokens=n, do_sample=False, stop_at_eos=False, return_type="tokens",
        prepend_bos=False, verbose=False, **options,
    )  # fmt: skip
    return out


def _unlike(ours: Work, peers: dict[str, Work]) -> float:
    """Share of tokens that differ from any peer's."""
    mine = ours()
    assert isinstance(mine, Tensor)
    return max(float((mine != peer()).double().mean()) for peer in peers.values())  # type: ignore[union-attr]


def _share(model: HookedGPTNeo, work: Work, n: int, settings: Settings) -> float:
    """Bytes of weights that the steps read, over time and measured bandwidth."""
    table, rows = model.pos_embed.W_pos, model.unembed.rows
    size = sum(p.numel() * p.element_size() for p in model.parameters())
    size -= table.numel() * table.element_size()
    if screen_for(model, n) is not None:  # half of every unembedding weight is read
        size -= 2 * rows.numel()
    with torch.inference_mode():
        work()
        taken = min(seconds(work, settings.device) for _ in range(settings.rounds(5)))
    return n * size / taken / machine.bandwidth(settings, size)


def _half_row(folder: Path, settings: Settings) -> Iterator[Row]:
    exact = checkpoint.load_ours(folder, settings)
    hf = checkpoint.load_transformers(folder, settings, torch.bfloat16)
    ours = checkpoint.load_ours(folder, settings, torch.bfloat16)
    ids, _ = _prompts(hf, [16], settings)
    n = _new(settings)

    def error() -> float:
        """How much farther our logits are from float32 than transformers', over one text."""
        text = _ours(ours, ids, None, n)
        due = exact(text)
        theirs = hf(text, use_cache=False).logits.float()
        return difference(ours(text).float(), due) / difference(theirs, due)

    yield Contest(
        "greedy, 1 prompt, bf16",
        f"1 x {n} tokens",
        partial(_ours, ours, ids, None, n),
        {"transformers": partial(_theirs, hf, ids, None, n)},
        error,
        _HALF,
        dtype="bfloat16",
        rounds=3,
    )
