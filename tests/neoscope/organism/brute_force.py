"""Patching and attribution by brute force, to hold the truths about compiled models against."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import torch
import transformers
from torch import Tensor

from neoscope.edits import add, replace
from neoscope.model import HookedGPTNeo
from neoscope.organism.compiled import Head, PromptPairs


def heads(model: HookedGPTNeo) -> list[Head]:
    return list(itertools.product(range(model.config.n_layers), range(model.config.n_heads)))


def last_diff(logits: Tensor, asked: PromptPairs) -> Tensor:
    """Logit of the answer minus logit of the wrong answer at the last position, [batch]."""
    rows = torch.arange(len(logits))
    return logits[rows, -1, asked.answer] - logits[rows, -1, asked.wrong]


def patch(model: HookedGPTNeo, tokens: Tensor, source: Tensor, *which: Head) -> Tensor:
    """Logits of ``tokens`` with the whole outputs of heads taken from a run of ``source``."""
    with torch.no_grad():
        _, cache = model.run_with_cache(source)
        edits = [replace("z", layer, cache, head=head) for layer, head in which]
        logits: Tensor = model.run_with_edits(tokens, edits)
    return logits


def effect(logits: Tensor, asked: PromptPairs, truth: Any) -> Tensor:
    return (last_diff(logits, asked) - truth.corrupted) / (truth.clean - truth.corrupted)


def direct(model: HookedGPTNeo, tokens: Tensor, asked: PromptPairs) -> dict[Any, Tensor]:
    """What each part writes into the last logit difference, the final LayerNorm's scale held.

    Keys are heads, ``("mlp", layer)``, ``("bias", layer)`` for attention's, and ``"embed"``.
    """
    with torch.no_grad():
        _, cache = model.run_with_cache(tokens)
        w_e, norm = model.embed.W_E, model.ln_final
        axis = (w_e[asked.answer] - w_e[asked.wrong]) * norm.w
        scale = cache["ln_final.hook_scale"][:, -1]
        parts: dict[Any, Tensor] = {"embed": cache["embed"] + cache["pos_embed"]}
        for layer, block in enumerate(model.blocks):
            parts["bias", layer] = block.attn.b_O.expand_as(parts["embed"])
            parts["mlp", layer] = cache["mlp_out", layer]
            for head in range(model.config.n_heads):
                parts[layer, head] = cache["z", layer][:, :, head] @ block.attn.W_O[head]
        written = {}
        for name, part in parts.items():
            centred = part[:, -1] - part[:, -1].mean(-1, keepdim=True)
            written[name] = (centred * axis).sum(-1) / scale[:, 0]
    return written


def first_order(model: HookedGPTNeo, asked: PromptPairs) -> dict[Head, Tensor]:
    """Gradient of the corrupted run's logit difference, times each head's change to the clean."""
    with torch.no_grad():
        _, clean = model.run_with_cache(asked.clean)
        _, corrupted = model.run_with_cache(asked.corrupted)
    layers = range(model.config.n_layers)
    zeros = [torch.zeros_like(corrupted["z", layer], requires_grad=True) for layer in layers]
    logits = model.run_with_edits(asked.corrupted, [add("z", i, zeros[i]) for i in layers])
    gradients = torch.autograd.grad(last_diff(logits, asked).sum(), zeros)
    change = [(clean["z", i] - corrupted["z", i]) * gradients[i] for i in layers]
    return {(layer, head): change[layer][:, :, head].sum((1, 2)) for layer, head in heads(model)}


def assert_all(found: Tensor, expected: float, atol: float = 1e-5) -> None:
    torch.testing.assert_close(found, torch.full_like(found, expected), atol=atol, rtol=0)


def assert_dead(model: HookedGPTNeo, tokens: Tensor, dead: tuple[Head, ...]) -> None:
    """Dead heads have no weight, and hold exactly nothing."""
    with torch.no_grad():
        _, cache = model.run_with_cache(tokens)
        for layer, head in dead:
            attention = model.blocks[layer].attn
            for weight in (attention.W_Q, attention.W_K, attention.W_V, attention.W_O):
                assert not weight[head].any()
            assert not cache["z", layer][:, :, head].any()
            n_seen = torch.arange(1, tokens.shape[1] + 1)
            even = cache["pattern", layer][:, head].diagonal(dim1=1, dim2=2)
            torch.testing.assert_close(even, (1 / n_seen).expand_as(even))


def assert_as_transformers(model: HookedGPTNeo, folder: Path, tokens: Tensor) -> None:
    loaded: Any = transformers.GPTNeoForCausalLM.from_pretrained(folder, output_loading_info=True)
    theirs, info = loaded
    assert not any(info[kind] for kind in ("missing_keys", "unexpected_keys", "mismatched_keys"))
    with torch.no_grad():
        torch.testing.assert_close(model(tokens), theirs(tokens).logits, atol=1e-5, rtol=0)
