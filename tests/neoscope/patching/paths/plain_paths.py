"""The plain way to patch a path: one run with everything frozen, one with what receivers read."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

import neoscope as ns
from neoscope.edits import replace
from neoscope.patching.prompts.pairs import Prompts
from tests.neoscope.patching.plain import tokens_of


def _layer(name: str) -> int:
    return int(name[1:].split(".")[0])


def _head(name: str) -> int:
    return int(name.split(".h")[1].split("<")[0])


@torch.no_grad()
def path_logits(
    model: ns.HookedGPTNeo,
    prompts: Prompts,
    senders: Sequence[str],
    receivers: Sequence[str],
    *,
    recompute: bool = False,
    direction: str = "denoise",
    columns: Tensor | None = None,
) -> Tensor:
    """Last logits [pairs, vocab] of the path-patched run."""
    base = prompts.base_name(direction)
    ids = tokens_of(prompts, base)
    _, here = model.run_with_cache(ids)
    other = "clean" if base == "corrupted" else "corrupted"
    _, there = model.run_with_cache(tokens_of(prompts, other))
    where = slice(None) if columns is None else columns[0].tolist()
    frozen = []
    if "embed" in senders:
        embed = here["hook_embed"].clone()
        embed[:, where] = there["hook_embed"][:, where]
        frozen.append(replace("embed", None, embed))
    for layer in range(model.config.n_layers):
        z = here["z", layer].clone()
        for name in senders:
            if name.startswith("a") and _layer(name) == layer:
                z[:, where, _head(name)] = there["z", layer][:, where, _head(name)]
        frozen.append(replace("z", layer, z))
        own = f"m{layer}" in senders
        if own or not recompute:
            out = here["mlp_out", layer].clone()
            if own:
                out[:, where] = there["mlp_out", layer][:, where]
            frozen.append(replace("mlp_out", layer, out))
    with model.edits(*frozen):
        logits, seen = model.run_with_cache(ids)
    if tuple(receivers) == ("logits",):
        return logits[:, -1]
    pins = []
    for name in receivers:
        layer = _layer(name)
        if name.startswith("m"):
            block = model.blocks[layer]
            from neoscope.run import Run
            from neoscope.visibility import Visibility

            middle = seen["resid_mid", layer]
            run = Run(Visibility(*middle.shape[:2], middle.device))
            pins.append(replace("mlp_out", layer, block.mlp(block.ln2(middle), run)))
        else:
            kind, head = name[-2], _head(name)
            pins.append(replace(kind, layer, seen[kind, layer][:, :, head], head=head))
    return model.run_with_edits(ids, pins)[:, -1]
