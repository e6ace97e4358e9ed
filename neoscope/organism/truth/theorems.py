"""What follows from the architecture alone, whatever the weights, and a look that it is so."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch

from neoscope.errors import ContractError

if TYPE_CHECKING:
    from neoscope.config import NeoConfig
    from neoscope.model import HookedGPTNeo
    from neoscope.organism.compiled.truth import PromptPairs

_TOLERANCE = 1e-4
"""Of scores before the softmax; the two runs compute the same in float32."""


def check(model: HookedGPTNeo, prompts: PromptPairs) -> dict[str, float]:
    """Measure what the theorems say is 0.

    Args:
        model: Any model.
        prompts: Pairs longer than the window.

    Returns:
        ``beyond_window``: the most that a local head attends to a word outside its window;
        ``first_layer``: the most by which a score of layer 0 between two words changes when only
        other words change.
    """
    with torch.inference_mode():
        _, clean = model.run_with_cache(prompts.clean, sites=("pattern", "attn_scores"))
        _, corrupted = model.run_with_cache(prompts.corrupted, sites="attn_scores", layers=0)
    n_pos = prompts.clean.shape[1]
    back = torch.arange(n_pos)[:, None] - torch.arange(n_pos)
    beyond = 0.0
    for layer in range(model.config.n_layers):
        window = model.config.window(layer)
        if window is not None and n_pos > window:
            beyond = max(beyond, float(clean["pattern", layer][:, :, back >= window].max()))
    same = prompts.clean == prompts.corrupted
    alike = same[:, :, None] & same[:, None] & (back >= 0)
    moved = (clean["attn_scores", 0] - corrupted["attn_scores", 0]).abs()
    return {
        "beyond_window": beyond,
        "first_layer": float(moved.transpose(0, 1)[:, alike].max()),
    }


def theorems(config: NeoConfig, found: Sequence[dict[str, float]]) -> list[dict[str, Any]]:
    """Return the theorems about a shape, with what was measured of each model.

    Args:
        config: The shape.
        found: What ``check`` returned, one for each model.

    Raises:
        ContractError: A theorem does not hold of a model, so that something computes wrongly.
    """
    local = [layer for layer in range(config.n_layers) if config.window(layer) is not None]
    able = [layer for layer in range(1, config.n_layers) if layer not in local]
    window = config.window_size
    items = [
        {
            "claim": f"No head of a local layer ({_listed(local)}) attends to a word "
            f"{window} or more positions back.",
            "why": f"Its softmax runs over the last {window} positions, its own included; all "
            "others have weight exactly 0.",
            "checked": "most attention of a local head outside its window",
            "values": [each["beyond_window"] for each in found],
        },
        {
            "claim": f"Only heads of {_listed(able)} can attend, from {window} or more positions "
            "away, to the word after a word's first occurrence because of the word before it: "
            "beyond the window, and so at all distances above 62, an induction head can stand "
            "nowhere else.",
            "why": f"A local head ({_listed(local)}) has weight exactly 0 there. A head of layer 0 "
            "reads embeddings only: what it scores one position at another depends on the words "
            "and the numbers of these two alone, never on the word before. This is about where a "
            "head attends, not about all ways of continuing a repeat: heads of layer 0 can carry "
            "words elsewhere, by position, for a later head to find there. What a model does is "
            "measured: by_offset, ablation, and noising a layer's whole attention.",
            "checked": "most change of a score of layer 0 between two words (before the softmax) "
            "when only another word changes",
            "values": [each["first_layer"] for each in found],
        },
    ]
    for item, most in zip(items, (0.0, _TOLERANCE), strict=True):
        values: Any = item["values"]
        if not all(value <= most for value in values):
            raise ContractError(
                f"the attention is not GPT-Neo's: {item['checked']} is {max(values):.3g}; expected "
                f"at most {most:g}"
            )
    return [{**item, "holds_for_all": True} for item in items]


def _listed(layers: Sequence[int]) -> str:
    if not layers:
        return "no layer"
    names = " and ".join(map(str, layers))
    return f"layer {names}" if len(layers) == 1 else f"layers {names}"
