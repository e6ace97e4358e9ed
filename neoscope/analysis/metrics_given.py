"""What a metric was given: tensors whose shapes belong together, or an error that says what not."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from neoscope.errors import AnalysisError
from neoscope.indices import whole

if TYPE_CHECKING:
    GivenLogits = Float[Tensor, "*rows d_vocab"]
    GivenIds = Int[Tensor, "batch pos"]
    GivenMask = Bool[Tensor, "*rows"]
    GivenAnswer = int | Int[Tensor, " batch"] | Sequence[int]
else:
    # Checked here, with an error that says what was found instead.
    GivenLogits = GivenIds = GivenMask = GivenAnswer = Any


def as_logits(value: object, what: str, name: str = "logits", axes: str = "") -> Tensor:
    """Return logits, if they are some.

    Args:
        value: What the caller gave.
        what: The function, for the error.
        name: The argument, for the error.
        axes: What their axes must be, e.g. ``"batch, pos, d_vocab"``; empty for any.

    Raises:
        AnalysisError: They are no tensor of real numbers, or have other axes.
    """
    x = _tensor(value, what, name)
    expected = f"[{axes or '..., d_vocab'}]"
    if not x.is_floating_point():
        raise AnalysisError(f"{what}: {name} must be real numbers {expected}; found {x.dtype}")
    if (axes and x.ndim != axes.count(",") + 1) or not x.ndim or not x.shape[-1]:
        raise AnalysisError(
            f"{what}: {name} must have shape {expected}; found {_shape(x)}"
            f"{'; for one text give logits[None]' if axes and x.ndim == 2 else ''}"
        )
    return x


def as_ids(value: object, logits: Tensor, what: str) -> Tensor:
    """Return the ids of the tokens that ran, where the logits are.

    Raises:
        AnalysisError: They are no tensor of whole numbers, or do not belong to the logits.
    """
    ids = _tensor(value, what, "ids")
    if ids.is_floating_point() or ids.is_complex() or ids.dtype == torch.bool:
        raise AnalysisError(f"{what}: ids must be whole numbers; found {ids.dtype}")
    _fits(ids, logits, what, "ids")
    return ids.to(logits.device).long()


def as_mask(value: object, logits: Tensor, what: str) -> Tensor | None:
    """Return a mask as booleans where the logits are, or None.

    Raises:
        AnalysisError: It does not belong to the logits, or holds something other than 0 and 1.
    """
    if value is None:
        return None
    mask = _tensor(value, what, "mask")
    _fits(mask, logits, what, "mask")
    if mask.dtype != torch.bool and bool(((mask != 0) & (mask != 1)).any()):
        raise AnalysisError(f"{what}: mask may only hold 1 (a real token) and 0 (padding)")
    return mask.to(logits.device).bool()


def as_answer(value: object, logits: Tensor, what: str, name: str) -> Tensor:
    """Return a token id for each text.

    Args:
        value: One id, or one for each.
        logits: [batch, pos, d_vocab].
        what: The function, for the error.
        name: The argument, for the error.

    Raises:
        AnalysisError: It is text, or something else that is no id of the vocabulary.
    """
    batch, d_vocab = logits.shape[0], logits.shape[-1]
    expected = f"a token id from 0 to {d_vocab - 1}, or one for each of the {batch} texts"
    several = isinstance(value, str) or whole(value) is not None
    items = [value] if several else getattr(value, "tolist", lambda: value)()
    ids = [whole(item) for item in items] if isinstance(items, list | tuple) else [None]
    bad = [item for item in ids if item is None or not 0 <= item < d_vocab]
    if bad or len(ids) not in (1, batch):
        hint = "; of a word: model.to_single_token(word)" if _is_text(value) else ""
        raise AnalysisError(f"{what}: {name}={value!r}; expected {expected}{hint}")
    return torch.tensor(ids, device=logits.device).expand(batch)


def _is_text(value: object) -> bool:
    first = value[0] if isinstance(value, list | tuple) and value else value
    return isinstance(first, str)


def check_targets(ids: Tensor, d_vocab: int, what: str) -> None:
    """Refuse ids that are no tokens.

    Args:
        ids: Those that are looked up, of any shape.
        d_vocab: How many tokens there are.
        what: The function, for the error.

    Raises:
        AnalysisError: Names the first.
    """
    wrong = ids[(ids < 0) | (ids >= d_vocab)]
    if len(wrong):
        raise AnalysisError(
            f"{what}: token id {int(wrong[0])} is outside the vocabulary of {d_vocab} that the "
            "logits have"
        )


def _tensor(value: object, what: str, name: str) -> Tensor:
    if isinstance(value, Tensor):
        return value
    kind = type(value).__name__
    hint = "; torch.from_numpy makes it one" if kind == "ndarray" else ""
    raise AnalysisError(f"{what}: {name} must be a torch tensor; found {kind}{hint}")


def _fits(x: Tensor, logits: Tensor, what: str, name: str) -> None:
    if x.shape != logits.shape[:-1]:
        raise AnalysisError(
            f"{what}: {name} has shape {_shape(x)}, but the logits {_shape(logits)} are of "
            f"{_shape(logits[..., 0])} tokens"
        )


def _shape(x: Tensor) -> str:
    return str(list(x.shape))
