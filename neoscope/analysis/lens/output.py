"""Whether what a lens takes for the model's output is what the run that was cached had."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from jaxtyping import Float, Int
from torch import Tensor

from neoscope.analysis.reading import at
from neoscope.cache import ActivationCache
from neoscope.errors import AnalysisError

if TYPE_CHECKING:
    from neoscope.model import HookedGPTNeo

_SITES = ("ln_final.scale", "ln_final.normalized")
_ROUNDINGS = 8


def check_final_norm(
    cache: ActivationCache,
    model: HookedGPTNeo,
    index: Int[Tensor, " row"],
    stream: Float[Tensor, "row d_model"],
    what: str,
) -> None:
    """Refuse a run whose final LayerNorm was edited, where the cache holds what it gave.

    Args:
        cache: What was recorded.
        model: Whose final LayerNorm reads it.
        index: Places of the rows among the cached rows and columns.
        stream: Of the last layer at these places, as the model keeps numbers.
        what: The function, for the error.

    Raises:
        AnalysisError: What was cached is not what the LayerNorm makes of the stream.
    """
    wide = stream.double()
    scale = (wide.var(-1, keepdim=True, unbiased=False) + model.ln_final.eps).sqrt()
    made = {_SITES[0]: scale, _SITES[1]: (wide - wide.mean(-1, keepdim=True)) / scale}
    for site in _SITES:
        if site not in cache:
            continue
        rows = at(cache, site).flatten(0, 1)
        found = rows[index.to(rows.device)].to(stream.device)
        eps = max(torch.finfo(x.dtype).eps for x in (found, stream))
        # A common offset of the stream costs the digits that its own size has.
        size = wide.abs().amax(-1, keepdim=True)
        allowed = _ROUNDINGS * eps * (size if site == _SITES[0] else size / scale + 1)
        apart = (found.double() - made[site]).abs()
        if bool((apart > allowed).any()):
            raise AnalysisError(
                f"{what} reads the model's output from the last resid_post, but the cached {site} "
                f"is not what the final LayerNorm makes of it (they are up to "
                f"{float(apart.max()):.3g} apart): an edit or a hook acted there; cache a run "
                "without it"
            )
