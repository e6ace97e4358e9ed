"""Whether a model has the weights that made a cache, as far as the cache can tell."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from neoscope.cache import ActivationCache
from neoscope.fingerprint import fingerprint

if TYPE_CHECKING:
    from neoscope.model import HookedGPTNeo

_FORMATS = (torch.float32, torch.bfloat16, torch.float16)
_TINY = 1e-6
"""Below this float16 has few digits left, or none."""


def other_weights(cache: ActivationCache, model: HookedGPTNeo) -> str:
    """Return in what a model is not the one that made a cache; ``""`` where it is, or may be.

    The live model's weights are compared with those given, whatever format each keeps them in. Of
    a file the fingerprint is known, which is of one format: it is looked for in every format that
    the given weights can be rounded to.

    Args:
        cache: Knows its model, or what its file says of it, or neither.
        model: Of the same shape.
    """
    made = cache.model
    if made is model:
        return ""
    if made is not None:
        name = _differs(dict(made.named_parameters()), dict(model.named_parameters()))
        return f"{name} has other weights than in {made.cfg.model_name!r}" if name else ""
    kept = cache.provenance.get("fingerprint")
    if not kept:
        return ""
    weights = {name: x.detach() for name, x in model.named_parameters()}
    formats = [model.dtype, *(one for one in _FORMATS if one != model.dtype)]
    for one in formats:
        # One weight at a time would save memory; a fingerprint wants them all.
        if fingerprint(model.config, {k: x.to(one) for k, x in weights.items()}) == kept:
            return ""
    return (
        f"the file says fingerprint {str(kept)[:12]}, of {cache.provenance.get('model')!r}, and "
        f"its own is {model.fingerprint()[:12]}; if they are the same weights in another number "
        "format, load the model in the one that made the cache"
    )


def _differs(a: dict[str, Tensor], b: dict[str, Tensor]) -> str:
    """The first weight in which two models differ by more than their formats round."""
    for name, x in a.items():
        y = b[name]
        if x.dtype == y.dtype and x.device == y.device and x.data_ptr() == y.data_ptr():
            continue
        x, y = x.detach().cpu(), y.detach().cpu()
        if x.dtype == y.dtype:
            same = torch.equal(x, y)
        else:
            eps = max(torch.finfo(one.dtype).eps for one in (x, y))
            same = torch.allclose(x.float(), y.float(), rtol=eps, atol=_TINY)
        if not same:
            return name
    return ""
