"""Small random GPT-Neos in which no bias is zero and no gain is one: none can be forgotten."""

from __future__ import annotations

from typing import Any

import torch

from neoscope import HookedGPTNeo, NeoConfig

IDS = torch.tensor([[3, 1, 4, 1, 5, 9, 2], [6, 5, 3, 5, 8, 9, 7]])
RIGHT = torch.tensor([[1, 1, 1, 1, 1, 0, 0], [1, 1, 1, 1, 1, 1, 1]])
LEFT = torch.tensor([[0, 0, 1, 1, 1, 1, 1], [1, 1, 1, 1, 1, 1, 1]])


def random_model(seed: int = 0, **shape: Any) -> HookedGPTNeo:
    given = {
        "n_layers": 3, "d_model": 12, "n_heads": 3, "n_ctx": 16, "d_vocab": 20, "window_size": 3,
        "d_mlp": 10, "init_range": 0.4,
    }  # fmt: skip
    model = HookedGPTNeo.from_config(NeoConfig(**(given | shape)), seed=seed)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim == 1:
                parameter += 0.3 * torch.randn(parameter.shape, generator=generator)
    return model
