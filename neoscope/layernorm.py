"""LayerNorm with its scale and its normalized stream as sites."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from neoscope.run import Run, Site


class LayerNorm(nn.Module):
    """``normalized * w + b`` with ``normalized = (x - mean) / scale``.

    ``hook_scale`` holds sqrt(variance + eps) [..., 1], float32 even under half precision;
    ``hook_normalized`` the stream before gain and bias, as in TransformerLens 4.
    """

    def __init__(self, d_model: int, eps: float) -> None:
        """Allocate gain and bias (not yet filled) and sites."""
        super().__init__()
        self.eps = eps
        self.w = nn.Parameter(torch.empty(d_model))
        self.b = nn.Parameter(torch.empty(d_model))
        self.hook_scale = Site()
        self.hook_normalized = Site()

    def reset_parameters(self) -> None:
        """Gain one, bias zero."""
        nn.init.ones_(self.w)
        nn.init.zeros_(self.b)

    def forward(
        self, x: Float[Tensor, "*batch d_model"], run: Run | None = None
    ) -> Float[Tensor, "*batch d_model"]:
        """Normalise the last axis; sites fire only inside a run."""
        shape = (x.shape[-1],)
        if run is None or not run.looks(self.hook_scale, self.hook_normalized):
            return F.layer_norm(x, shape, self.w, self.b, self.eps)
        normalized, _, inverse = torch.native_layer_norm(x, shape, None, None, self.eps)
        if run.looks(self.hook_scale):
            if x.dtype == torch.float32 and not torch.is_grad_enabled():
                scale = inverse.reciprocal()  # what the kernel has anyway
            else:  # the kernel's cannot be differentiated, nor is it float32 under half precision
                scale = (x.float().var(-1, keepdim=True, unbiased=False) + self.eps).sqrt()
            written = run.tap(self.hook_scale, scale)
            if run.writes(self.hook_scale):
                # A ratio, so that an unchanged scale multiplies by exactly one: no bit moves.
                normalized = normalized * (scale / written).to(x.dtype)
        normalized = run.tap(self.hook_normalized, normalized)
        return torch.addcmul(self.b, normalized, self.w)
