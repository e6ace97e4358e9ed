"""The matrix product, by whichever library is fast for its size."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """Return ``F.linear(x, weight, bias)``, by whichever library is fast for so many rows.

    On a CPU, MKL's float32 product takes two to three times as long as oneDNN's for 4 to 31 rows,
    which is a short prompt; for fewer and for more rows it is the faster one. A single bfloat16 row
    takes two thirds of the time as a matrix-vector product.
    """
    if x.device.type != "cpu" or torch.is_grad_enabled():
        return F.linear(x, weight, bias)
    rows = x.numel() // x.shape[-1]
    if 4 <= rows < 32 and x.dtype == torch.float32 and has_onednn():
        out: Tensor = torch.ops.mkldnn._linear_pointwise(x, weight, bias, "none", [], "")
        return out
    if rows == 1 and x.dtype == torch.bfloat16:
        flat = x.reshape(-1)
        one = torch.mv(weight, flat) if bias is None else torch.addmv(bias, weight, flat)
        return one.view(*x.shape[:-1], -1)
    return F.linear(x, weight, bias)


def has_onednn() -> bool:
    """Whether oneDNN's own kernels can be called."""
    return bool(torch.backends.mkldnn.is_available() and torch.backends.mkldnn.enabled)


def linear_gelu(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """Matrix product, bias and tanh GELU in one oneDNN kernel, the one torch.compile would call."""
    out: Tensor = torch.ops.mkldnn._linear_pointwise(x, weight, bias, "gelu", [], "tanh")
    return out
