"""The trained organism as it ships: where it is, and whether it is whole."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from neoscope.errors import CheckpointError

_FOLDER = Path(__file__).parent / "trained"
_HASHES = "hashes.json"
MOMENTS = ("before", "during", "after")


def path(moment: str | None = None) -> Path:
    """Return the folder of the trained organism, an ordinary Hugging Face checkpoint.

    ``transformers.GPTNeoForCausalLM.from_pretrained(neoscope.organism.path())`` reads it too.

    Args:
        moment: None for the finished model; ``"before"``, ``"during"`` or ``"after"`` for it as it
            was around the moment at which induction appeared in training.

    Raises:
        CheckpointError: A file is missing, or is not the one that was shipped.
    """
    folder = _FOLDER if moment is None else _FOLDER / moment
    check(folder)
    return folder


def seal(folder: Path) -> None:
    """Write the hashes of all files in a folder beside them."""
    files = sorted(file for file in folder.iterdir() if file.is_file() and file.name != _HASHES)
    hashes = {file.name: _hash(file) for file in files}
    (folder / _HASHES).write_text(json.dumps(hashes, indent=2) + "\n")


def check(folder: Path) -> None:
    """Compare all files of a folder with the hashes beside them.

    Raises:
        CheckpointError: One is missing or differs.
    """
    try:
        hashes: dict[str, str] = json.loads((folder / _HASHES).read_text())
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{folder / _HASHES}: cannot be read: {error}. {_CURE}") from error
    for name, expected in hashes.items():
        file = folder / name
        if not file.is_file():
            raise CheckpointError(f"the bundled organism lacks {file}. {_CURE}")
        found = _hash(file)
        if found != expected:
            raise CheckpointError(
                f"the bundled organism is damaged: {file} has SHA-256 {found[:12]}…, expected "
                f"{expected[:12]}…. {_CURE}"
            )


_CURE = "Reinstall it: pip install --force-reinstall --no-deps neoscope"


def _hash(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()


def card() -> dict[str, Any]:
    """Return the card: shape, training, gates and loss curve."""
    return dict(json.loads((path() / "card.json").read_text()))


def truth_card() -> dict[str, Any]:
    """Return the truth card: what each head, MLP and position does, measured by brute force."""
    return dict(json.loads((path() / "truth_card.json").read_text()))
