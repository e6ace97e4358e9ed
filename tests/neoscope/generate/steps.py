"""Generating step by step beside forwards over the whole text."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

import neoscope as ns
from neoscope.edit import Edit

D = 24
VECTOR = torch.linspace(-2, 2, D)
NEW = 7


class Logits:
    """A processor that changes nothing and keeps what it sees."""

    def __init__(self) -> None:
        self.seen: list[Tensor] = []

    def __call__(self, ids: Tensor, scores: Tensor) -> Tensor:
        self.seen.append(scores.clone())
        return scores


def same_as_forwards(
    model: ns.HookedGPTNeo, ids: Tensor, edits: Sequence[Edit], **options: Any
) -> None:
    """Generate, and compare every step with a forward over the whole text."""
    logits = Logits()
    options = {"max_new_tokens": NEW, "eos_token_id": None} | options
    out = model.generate(ids, edits=edits, logits_processor=[logits], **options)
    assert len(logits.seen) == NEW and out.shape == (len(ids), ids.shape[1] + NEW)
    for step, seen in enumerate(logits.seen):
        so_far = out[:, : ids.shape[1] + step]
        with torch.no_grad():
            whole = model(so_far, edits=edits)[:, -1]
        torch.testing.assert_close(seen, whole, rtol=0, atol=2e-4)
        assert torch.equal(seen.argmax(-1), out[:, ids.shape[1] + step])
