"""Where a metric is read: the metric positions of every pair, as columns."""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Int
from torch import Tensor

from neoscope.errors import PatchingError, nearest
from neoscope.patching.prompts.pairs import Prompts


def metric_columns(prompts: Prompts, metric_positions: Any = None) -> Int[Tensor, "pairs P"]:
    """Return the columns at which a metric sees logits.

    Args:
        prompts: Left-padded pairs.
        metric_positions: None for the last token; ``"all"`` for every column, padding included; or
            positions as :meth:`Prompts.columns` takes them.

    Raises:
        PatchingError: A word other than ``"all"``, or no position.
        SiteError: A position does not exist in some pair.
    """
    if metric_positions is None:
        return torch.full((len(prompts), 1), prompts.n_columns - 1)
    if isinstance(metric_positions, str):
        if metric_positions not in ("all", "last"):
            raise PatchingError(
                f"metric_positions={metric_positions!r}; expected 'all', None (the last token), or "
                f"positions{nearest(metric_positions, ('all', 'last'))}"
            )
        return metric_columns(prompts) if metric_positions == "last" else prompts.columns(None)
    # In order, so that ``logits[:, -1]`` is the last of them however they were listed.
    found = prompts.columns(metric_positions, "metric_positions").sort(dim=1).values
    if not found.shape[1]:
        raise PatchingError(
            f"metric_positions={metric_positions!r} selects no token; a metric needs one at least"
        )
    return found
