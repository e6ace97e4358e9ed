"""Setting: what a person has chosen in a microscope; and checks of what can be chosen."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from neoscope.errors import SiteError, ViewError
from neoscope.indices import whole
from neoscope.views.microscope.changes import Change

if TYPE_CHECKING:
    from neoscope.config import NeoConfig


@dataclass(frozen=True)
class Setting:
    """What a person has chosen."""

    text: str
    other: str = ""
    """The prompt that patches come from; empty for none."""
    selected: tuple[int, int] = (0, 0)
    """Layer and head."""
    position: int | None = None
    """The selected token; None for the last one."""
    changes: tuple[Change, ...] = ()


def within(what: str, value: Any, n: int) -> int:
    """Return a number from 0 to below ``n``.

    Args:
        what: It is called so in the message.
        value: What was given.
        n: How many there are.

    Raises:
        SiteError: It is none of them.
    """
    number = whole(value)
    if number is None or not 0 <= number < n:
        raise SiteError(f"{what} {value!r} does not exist: there are {n}, from 0 to {n - 1}")
    return number


def read_selected(selected: Any, config: NeoConfig) -> tuple[int, int]:
    """Return a layer and a head.

    Args:
        selected: What was given.
        config: The model's.

    Raises:
        ViewError: It is no pair.
        SiteError: There is no such layer or head.
    """
    try:
        layer, head = selected
    except (TypeError, ValueError):
        raise ViewError(f"selected is {selected!r}; expected (layer, head)") from None
    return within("layer", layer, config.n_layers), within("head", head, config.n_heads)


def read_scale(scale: Any) -> float:
    """Return the length of a step.

    Args:
        scale: What was given.

    Raises:
        ViewError: It is no finite number.
    """
    try:
        step = float(scale)
    except (TypeError, ValueError):
        step = math.nan
    if not math.isfinite(step):
        raise ViewError(f"scale is {scale!r}; expected a number, the length of the step")
    return step


def check_model(model: object) -> None:
    """Refuse what is no loaded model.

    Args:
        model: What was given.

    Raises:
        ViewError: It is something else.
    """
    from neoscope.model import HookedGPTNeo

    if not isinstance(model, HookedGPTNeo):
        how = f": neoscope.load({model!r})" if isinstance(model, str) else ", from neoscope.load"
        found = repr(model) if isinstance(model, str) else type(model).__name__
        raise ViewError(f"model is {found}; expected a loaded model{how}")
