"""A text as it grows: token ids, which of them are real, and why each row stopped."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from neoscope.generate.prompts import Prompts

if TYPE_CHECKING:
    from neoscope.generate.options import Plan

_NAMES = {
    "EosTokenCriteria": "eos",
    "StopStringCriteria": "stop_string",
    "MaxTimeCriteria": "time",
    "MaxLengthCriteria": "length",
}
"""Why a row stopped, by the criterion that stopped it; the caller's own are ``"criterion"``."""


@dataclass
class Grown:
    """What a loop ends with."""

    ids: Int[Tensor, "row pos"]
    """Prompts, padding on the left, then new tokens."""
    real: Bool[Tensor, "row pos"]
    """False on padding, before a prompt and behind an ended row."""
    start: int
    """Column of the first new token."""
    stopped: list[str] = field(default_factory=list)
    """Of each row: ``"eos"``, ``"length"``, ``"stop_string"``, ``"time"`` or ``"criterion"``."""
    log_probs: Float[Tensor, "row new"] | None = None
    """Of each new token under the model, in nats, before any processor; None where not asked."""
    scores: Float[Tensor, " row"] | None = None
    """Beam search's score of each row."""


def begin(prompts: Prompts, rows: Int[Tensor, " row"], plan: Plan) -> Grown:
    """Return the prompts, a row for each that runs, with room for all that may come."""
    ids, columns = prompts.ids[rows], prompts.ids.shape[1]
    whole = ids.new_full((len(rows), plan.max_length), plan.pad)
    whole[:, :columns] = ids
    real = torch.ones_like(whole, dtype=torch.bool)
    if prompts.mask is not None:
        real[:, :columns] = prompts.mask[rows]
    return Grown(whole, real, columns, [""] * len(rows))


def endings(
    plan: Plan, ids: Int[Tensor, "row pos"]
) -> tuple[Bool[Tensor, " row"], list[tuple[str, Tensor]]]:
    """Ask every criterion once.

    Returns:
        Which rows end here, and what each criterion said, the strongest reason first.
    """
    ended = torch.zeros(len(ids), dtype=torch.bool, device=ids.device)
    said = []
    for criterion in plan.criteria:
        hits = ended.new_zeros(len(ids)) | criterion(ids, None)
        said.append((_NAMES.get(type(criterion).__name__, "criterion"), hits))
        ended = ended | hits
    return ended, sorted(said, key=lambda pair: pair[0] == "length")
