"""Two ways to run many token sequences: with common beginnings once, or each whole, padded."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor

from neoscope.evaluate.shared import Shared
from neoscope.evaluate.sharing import Ids, Unit

if TYPE_CHECKING:
    from neoscope.model import HookedGPTNeo

Run = tuple[Float[Tensor, "token d_model"], list[NDArray[np.int64]]]
"""The stream after the final LayerNorm, and for each sequence the rows of its tokens there."""


def shared_run(model: HookedGPTNeo, sequences: Sequence[Ids], batch: Sequence[Unit]) -> Run:
    """Run units without padding, every common beginning once.

    Only right while no hook or edit is in force: there is one row, whose columns are no positions.
    """
    shared = Shared(sequences, batch, model.device)
    hidden: Tensor = model(shared.ids, return_type="hidden", _visibility=shared)
    return hidden[0], [shared.paths[member.index] for unit in batch for member in unit]


def padded_run(model: HookedGPTNeo, sequences: Sequence[Ids], batch: Sequence[Unit]) -> Run:
    """Run every sequence whole, padded on the right, as any other forward of the model does."""
    texts = [sequences[member.index] for unit in batch for member in unit]
    longest = max(map(len, texts))
    ids = np.zeros((len(texts), longest), dtype=np.int64)
    mask = np.zeros((len(texts), longest), dtype=bool)
    for row, text in enumerate(texts):
        ids[row, : len(text)], mask[row, : len(text)] = text, True
    hidden: Tensor = model(torch.from_numpy(ids), torch.from_numpy(mask), return_type="hidden")
    paths = [row * longest + np.arange(len(text)) for row, text in enumerate(texts)]
    return hidden.flatten(0, 1), paths
