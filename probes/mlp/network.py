"""Network: the multilayer perceptron inside the MLP probes, as a PyTorch module."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import nn

Array = NDArray[Any]


class Network(nn.Module):
    """Standardised features, hidden layers of rectified units, and a linear layer."""

    mean: torch.Tensor
    scale: torch.Tensor

    def __init__(
        self, mean: Array, scale: Array, coefs: Sequence[Array], intercepts: Sequence[Array]
    ) -> None:
        """Take over weights, in their own float type.

        Args:
            mean: [features], taken off first.
            scale: [features], divided by next.
            coefs: One [inputs, outputs] a layer.
            intercepts: One [outputs] a layer.
        """
        super().__init__()
        self.register_buffer("mean", torch.tensor(mean))
        self.register_buffer("scale", torch.tensor(scale))
        layers: list[nn.Module] = []
        for coef, intercept in zip(coefs, intercepts, strict=True):
            linear = nn.Linear(coef.shape[0], coef.shape[1], dtype=torch.tensor(coef).dtype)
            linear.weight.data = torch.tensor(np.ascontiguousarray(coef.T))
            linear.bias.data = torch.tensor(intercept)
            layers += [linear, nn.ReLU()]
        self.layers = nn.Sequential(*layers[:-1])

    def forward(self, x: Float[torch.Tensor, "... features"]) -> Float[torch.Tensor, "... outputs"]:
        """Return the scores of features."""
        scores: torch.Tensor = self.layers((x - self.mean) / self.scale)
        return scores


def initial_weights(
    sizes: Sequence[int], seed: int, dtype: torch.dtype
) -> tuple[list[torch.Tensor], list[torch.Tensor]]:
    """Draw the weights to start from: hidden layers uniform as PyTorch's, the last layer zero.

    With the last layer zero no class is preferred before training, so that naming the classes
    otherwise permutes the outputs and changes nothing else.

    Args:
        sizes: Features, hidden units of each layer, outputs.
        seed: Of the draw.
        dtype: Of the weights; the draw is the same for each.

    Returns:
        Weights [inputs, outputs] and biases [outputs] of each layer, which require gradients.
    """
    generator = torch.Generator().manual_seed(seed)
    coefs, intercepts = [], []
    for inputs, outputs in pairwise(sizes[:-1]):
        draw = torch.rand(inputs + 1, outputs, generator=generator, dtype=torch.float64) * 2 - 1
        draw = (draw / inputs**0.5).to(dtype)
        coefs.append(draw[:-1].clone())
        intercepts.append(draw[-1].clone())
    coefs.append(torch.zeros(sizes[-2], sizes[-1], dtype=dtype))
    intercepts.append(torch.zeros(sizes[-1], dtype=dtype))
    for parameter in [*coefs, *intercepts]:
        parameter.requires_grad_()
    return coefs, intercepts


def run_layers(
    z: torch.Tensor, coefs: Sequence[torch.Tensor], intercepts: Sequence[torch.Tensor]
) -> torch.Tensor:
    """Return the scores of standardised features."""
    for coef, intercept in zip(coefs[:-1], intercepts[:-1], strict=True):
        z = torch.relu(torch.addmm(intercept, z, coef))
    return torch.addmm(intercepts[-1], z, coefs[-1])
