"""What the tests of direct logit attribution share."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from neoscope.analysis import ATTRIBUTION_SITES, Attribution

TEXT = "When Mary and John went to the store, John gave a drink to"


BYS = tuple(ATTRIBUTION_SITES)


def diff(logits: torch.Tensor, answer: Any, wrong: Any, columns: Any) -> np.ndarray:
    rows = torch.arange(len(logits))
    last = logits.detach().double()[rows, columns]
    return (last[rows, answer] - last[rows, wrong]).numpy()


def rows_of(found: Attribution, kind: str) -> np.ndarray:
    return found.kind == found.kind_names.index(kind)
