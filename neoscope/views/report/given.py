"""What a report is given, checked before anything is measured."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from neoscope.errors import ViewError

if TYPE_CHECKING:
    from neoscope.analysis import TunedLens
    from neoscope.model import HookedGPTNeo

    GivenModel = HookedGPTNeo | str | os.PathLike[str]
    GivenText = str | None
    GivenLens = TunedLens | str | os.PathLike[str] | None
else:
    GivenModel = GivenText = GivenLens = Any


def given_model(model: GivenModel) -> HookedGPTNeo:
    """Return a model, loaded if it was named.

    Args:
        model: A model, or what :func:`neoscope.load` takes.

    Raises:
        ViewError: It is neither.
        CheckpointError: There is none of that name.
    """
    from neoscope.model import HookedGPTNeo

    if isinstance(model, str | os.PathLike):
        from neoscope.loading import load

        return load(model)
    if not isinstance(model, HookedGPTNeo):
        raise ViewError(
            f"Report: model is a {type(model).__name__}; expected a model that is loaded "
            "(neoscope.load), or the name or folder of one"
        )
    return model


def given_text(text: GivenText) -> None:
    """Check that a text is one text.

    Args:
        text: The text, or None.

    Raises:
        ViewError: It is something else.
    """
    if text is None or isinstance(text, str):
        return
    several = "; make one report for each" if isinstance(text, list | tuple) else ""
    raise ViewError(
        f"Report: text is a {type(text).__name__}; expected one text (a string), or None for the "
        f"report's own{several}"
    )


def given_lens(lens: GivenLens) -> TunedLens | None:
    """Return a tuned lens, read if its folder was named.

    Args:
        lens: A tuned lens, its folder, or None.

    Raises:
        ViewError: It is something else.
        AnalysisError: The folder holds none.
    """
    if lens is None:
        return None
    from neoscope.analysis import TunedLens

    if isinstance(lens, str | os.PathLike):
        return TunedLens.load(lens)
    if not isinstance(lens, TunedLens):
        raise ViewError(
            f"Report: lens is a {type(lens).__name__}; expected a TunedLens, or its folder"
        )
    return lens
