"""Prompts of the microscope's tests, and what they compare."""

from __future__ import annotations

import torch

MARY = "When Mary and John went to the store, John gave a drink to"
JOHN = "When Mary and John went to the store, Mary gave a drink to"


def close(found: torch.Tensor, expected: torch.Tensor) -> bool:
    """Whether two tensors are equal to float32's rounding."""
    return float((found - expected).abs().max()) <= 1e-5 * float(expected.abs().max())
