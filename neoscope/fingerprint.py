"""A hash that says which model made something: config and every weight."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping

import torch
from torch import Tensor

from neoscope.config import NeoConfig


def fingerprint(config: NeoConfig, weights: Mapping[str, Tensor]) -> str:
    """Return 32 hexadecimal digits of SHA-256 over the config and every weight's bytes.

    Args:
        config: The model's shape.
        weights: Names to tensors, on any device.
    """
    digest = hashlib.sha256(json.dumps(config.to_hf(), sort_keys=True).encode())
    for name, weight in sorted(weights.items()):
        digest.update(f"{name} {weight.dtype} {tuple(weight.shape)}".encode())
        digest.update(weight.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()[:32]
