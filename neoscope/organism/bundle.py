"""The trained organism as it ships: where it is, and whether it is whole."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from neoscope.errors import ArgumentError, CheckpointError, nearest

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
        ArgumentError: There is no such moment.
        CheckpointError: A file is missing, or is not the one that was shipped.
    """
    if moment is not None and moment not in MOMENTS:
        raise ArgumentError(
            f"there is no moment {moment!r}; there are {', '.join(MOMENTS)}, and None for the "
            f"finished model{nearest(str(moment), MOMENTS)}"
        )
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
    if not folder.is_dir():
        raise CheckpointError(
            f"this copy of neoscope lacks the trained organism: no folder {folder}. {_cure()}"
        )
    for name, expected in _hashes(folder).items():
        file = folder / name
        try:
            found = _hash(file)
        except FileNotFoundError:
            raise CheckpointError(f"the bundled organism lacks {file}. {_cure()}") from None
        except OSError as error:
            raise CheckpointError(
                f"the bundled organism cannot be read: {file}: {error.strerror or error}. {_cure()}"
            ) from error
        if found != expected:
            raise CheckpointError(
                f"the bundled organism is damaged: {file} has SHA-256 {found[:12]}…, expected "
                f"{str(expected)[:12]}…. {_cure()}"
            )


def _hashes(folder: Path) -> dict[str, str]:
    file = folder / _HASHES
    try:
        hashes = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise CheckpointError(f"the bundled organism lacks {file}. {_cure()}") from None
    except (OSError, ValueError) as error:
        raise CheckpointError(
            f"the bundled organism is damaged: {file} cannot be read: {error}. {_cure()}"
        ) from error
    if not isinstance(hashes, dict) or not hashes:
        raise CheckpointError(f"the bundled organism is damaged: {file} names no files. {_cure()}")
    return hashes


def _cure() -> str:
    """Return how to get the files again: a checkout has them in git, an installation does not."""
    root = Path(__file__).parents[2]
    if (root / ".git").exists():
        return f"Restore it: git -C {root} checkout -- neoscope/organism/trained"
    return (
        "Reinstall neoscope from where it came, with --force-reinstall: in the folder of its "
        "source, pip install --force-reinstall --no-deps ."
    )


def _hash(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()


def card() -> dict[str, Any]:
    """Return the card: shape, training, gates and loss curve.

    Raises:
        CheckpointError: A file of the organism is missing or damaged.
    """
    return _read("card.json")


def truth_card() -> dict[str, Any]:
    """Return the truth card: what each head, MLP and position does, measured by brute force.

    Raises:
        CheckpointError: A file of the organism is missing or damaged.
    """
    return _read("truth_card.json")


def _read(name: str) -> dict[str, Any]:
    file = path() / name
    if not file.is_file():
        raise CheckpointError(f"the bundled organism lacks {file}. {_cure()}")
    return dict(json.loads(file.read_text(encoding="utf-8")))
