"""Whose a lens's folder is: what may be written there, and what is left alone."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from neoscope.errors import AnalysisError

LENS, CARD, STATE = "lens.safetensors", "card.json", "training.safetensors"
KEY = "neoscope_tuned_lens"
_KINDS = ("tuned", "debiased")


def differs(mine: Mapping[str, Any], theirs: Mapping[str, Any]) -> str:
    """Return in what two lenses were not trained alike; ``""`` where they were.

    Args:
        mine: The card of the lens at hand.
        theirs: Of the one that a folder holds.
    """

    def decisive(card: Mapping[str, Any]) -> dict[str, Any]:
        return {**card["settings"], "fingerprint": card["fingerprint"], "data": card["data"]}

    here, there = decisive(mine), decisive(theirs)
    for name, value in here.items():
        if there.get(name) != value:
            found = (there.get(name), value)
            if name == "fingerprint":
                found = (theirs["model"], mine["model"])
            return f"{name} is {found[0]!r} there and {found[1]!r} here"
    return ""


def check_training(folder: Path, card: Mapping[str, Any]) -> None:
    """Refuse a folder in which a training can neither begin nor go on.

    Args:
        folder: Where to; it need not be there.
        card: Of the training.

    Raises:
        AnalysisError: It holds other files than a lens's, or the training of another lens.
    """
    for there in _found(folder):
        if said := differs(card, there):
            raise AnalysisError(
                f"{folder} holds the training of another lens: {said}; give another folder"
            )


def check_free(folder: Path, card: Mapping[str, Any], *, overwrite: bool) -> None:
    """Refuse a folder in which something else would be lost.

    A lens of the same training, with no more steps, may always be replaced.

    Args:
        folder: Where to; it need not be there.
        card: Of the lens that is to be written.
        overwrite: Whether any other tuned lens may be replaced too; other files never are.

    Raises:
        AnalysisError: It holds other files than a lens's, or another lens and ``overwrite`` is
            False.
    """
    for there in _found(folder):
        said = differs(card, there)
        if not said and there["steps"] > card["steps"]:
            said = f"it has {there['steps']:,} steps there and {card['steps']:,} here"
        if said and not overwrite:
            raise AnalysisError(
                f"{folder} holds another lens: {said}; give another folder, or replace that one "
                "with overwrite=True"
            )


def _found(folder: Path) -> list[dict[str, Any]]:
    """Return the cards of what is in a folder.

    Raises:
        AnalysisError: It holds something else.
    """
    if folder.exists() and not folder.is_dir():
        raise AnalysisError(f"{folder} is a file; name a folder for a lens")
    try:
        names = sorted(x.name for x in folder.iterdir()) if folder.is_dir() else []
    except OSError as error:
        raise AnalysisError(f"cannot read {folder}: {error.strerror or error}") from error
    # What is hidden is the system's, or what a write that was cut short has left.
    others = [x for x in names if not x.startswith(".") and x not in (LENS, CARD, STATE)]
    if others:
        more = f" and {len(others) - 1} more" if len(others) > 1 else ""
        raise AnalysisError(
            f"{folder} is not empty and no folder of a lens: it holds {others[0]!r}{more}; write "
            "to a new folder"
        )
    # The card is written last, so that there is none where a write was cut short.
    cards = [CARD if CARD in names else LENS, STATE]
    return [_card(folder / name) for name in cards if name in names]


def _card(path: Path) -> dict[str, Any]:
    from safetensors import safe_open

    try:
        if path.suffix == ".json":
            card = json.loads(path.read_text(encoding="utf-8"))
        else:
            with safe_open(path, framework="pt") as file:
                card = json.loads((file.metadata() or {})[KEY])
        differs(card, card)
        own = isinstance(card["steps"], int) and isinstance(card["model"], str)
        own = own and card.get("kind", _KINDS[0]) in _KINDS
    except Exception as error:
        raise AnalysisError(
            f"{path} is damaged or no tuned lens of neoscope's, and is not replaced: remove it, or "
            "give another folder"
        ) from error
    if not own:
        raise AnalysisError(f"{path} is no tuned lens's, and is not replaced: give another folder")
    return dict(card)
