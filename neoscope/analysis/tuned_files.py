"""Tuned lenses on disk: safetensors and a JSON card; and the state of a training that goes on.

The card holds the SHA-256 of the file of numbers, which holds all else that the card says: what is
read is what was written, or an error. A state holds the SHA-256 of its own numbers.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from neoscope import __version__
from neoscope.analysis.tuned_place import CARD, KEY, LENS, STATE, check_free
from neoscope.errors import AnalysisError
from neoscope.files import atomic

if TYPE_CHECKING:
    from neoscope.analysis.tuned_weights import TunedLens

_FORMAT = 1
_SHA = "sha256"


def save_lens(lens: TunedLens, folder: Path, *, overwrite: bool = False) -> Path:
    """Write a lens; the card is last, so that one that can be read is whole.

    Raises:
        AnalysisError: The folder holds something else, or cannot be written.
    """
    card = {"format": _FORMAT, "version": __version__, "kind": lens.kind, **lens.card}
    check_free(folder, card, overwrite=overwrite)
    tensors = {"bias": lens.bias}
    if lens.matrix is not None:
        tensors["matrix"] = lens.matrix
    _write(folder / LENS, tensors, {KEY: json.dumps(card, ensure_ascii=False)})
    said = json.dumps(card | {_SHA: _of_file(folder / LENS)}, ensure_ascii=False, indent=2)
    try:
        with atomic(folder / CARD) as temporary:
            temporary.write_text(said, encoding="utf-8")
    except OSError as error:
        raise AnalysisError(f"cannot write {folder / CARD}: {error.strerror or error}") from error
    return folder


def load_lens(folder: Path) -> TunedLens:
    """Read a lens.

    Raises:
        AnalysisError: There is none, it is damaged or newer, or its training has not ended.
    """
    from neoscope.analysis.tuned_weights import TunedLens

    if not (folder / LENS).is_file():
        if (folder / STATE).is_file():
            card = read_state(folder)[0]
            raise AnalysisError(
                f"the training in {folder} has not ended ({card['steps']:,} of "
                f"{card['settings']['steps']:,} steps); the call that began it goes on with it"
            )
        raise AnalysisError(f"there is no tuned lens in {folder}: {LENS} is not there")
    card, tensors, _ = _read(folder / LENS)
    _check_card(folder, card)
    for extra in ("format", "version", "kind"):
        card.pop(extra)
    shape = (card["n_layers"], card["d_model"])
    bias, matrix = tensors.get("bias"), tensors.get("matrix")
    expected = None if card["settings"]["bias_only"] else (*shape, shape[1])
    found = None if matrix is None else tuple(matrix.shape)
    if bias is None or tuple(bias.shape) != shape or found != expected:
        raise AnalysisError(f"{folder / LENS} is damaged: its tensors are not those of its card")
    return TunedLens(matrix, bias, card)


def write_state(folder: Path, card: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> None:
    """Write the state of a training, whole.

    Raises:
        AnalysisError: The folder cannot be written.
    """
    said = json.dumps({"format": _FORMAT, "version": __version__, **card}, ensure_ascii=False)
    _write(folder / STATE, tensors, {KEY: said, _SHA: _of_tensors(tensors)})


def read_state(folder: Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Read the state of a training.

    Raises:
        AnalysisError: It is damaged or newer.
    """
    card, tensors, sha256 = _read(folder / STATE)
    if sha256 != _of_tensors(tensors):
        raise AnalysisError(
            f"{folder / STATE} is damaged: its numbers are not those that were written; remove it "
            "to begin anew"
        )
    return card, tensors


def drop_state(folder: Path) -> None:
    """Remove the state of a training that has ended."""
    (folder / STATE).unlink(missing_ok=True)


def _check_card(folder: Path, card: dict[str, Any]) -> None:
    """Refuse numbers or a card that are not those that were written."""
    path = folder / CARD
    try:
        said = json.loads(path.read_text(encoding="utf-8"))
        sha256 = said.pop(_SHA)
    except FileNotFoundError as error:
        raise AnalysisError(
            f"the lens in {folder} is damaged: {CARD}, which is written last, is not there"
        ) from error
    except OSError as error:
        raise AnalysisError(f"cannot read {path}: {error.strerror or error}") from error
    except Exception as error:
        raise AnalysisError(f"{path} is damaged or no card of a tuned lens") from error
    if sha256 != (found := _of_file(folder / LENS)):
        raise AnalysisError(
            f"{folder / LENS} is damaged: its SHA-256 is {found[:12]}..., and {CARD} says "
            f"{str(sha256)[:12]}..."
        )
    if changed := [key for key in {**card, **said} if card.get(key) != said.get(key)]:
        raise AnalysisError(
            f"{path} is damaged: it was changed after it was written ({', '.join(changed)})"
        )


def _of_file(path: Path) -> str:
    try:
        with path.open("rb") as stream:
            return hashlib.file_digest(stream, _SHA).hexdigest()
    except OSError as error:
        raise AnalysisError(f"cannot read {path}: {error.strerror or error}") from error


def _of_tensors(tensors: Mapping[str, Tensor]) -> str:
    digest = hashlib.sha256()
    for name, x in sorted(tensors.items()):
        digest.update(f"{name} {x.dtype} {tuple(x.shape)}".encode())
        digest.update(x.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def _write(path: Path, tensors: Mapping[str, Tensor], metadata: dict[str, str]) -> None:
    from safetensors.torch import save_file

    kept = {name: x.detach().cpu().contiguous() for name, x in tensors.items()}
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with atomic(path) as temporary:
            save_file(kept, temporary, metadata=metadata)
    except OSError as error:
        raise AnalysisError(f"cannot write {path}: {error.strerror or error}") from error


def _read(path: Path) -> tuple[dict[str, Any], dict[str, Tensor], str]:
    """Return the card, the tensors, and the SHA-256 of them where the file says it."""
    from safetensors import safe_open

    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            card = json.loads(metadata[KEY])
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            newer = card["format"] > _FORMAT
    except Exception as error:
        said = " ".join(str(error).split())[:100]
        raise AnalysisError(
            f"{path} is damaged or no tuned lens of neoscope's: {type(error).__name__}: {said}"
        ) from error
    if newer:
        raise AnalysisError(
            f"{path} was written by neoscope {card['version']} in format {card['format']}; this "
            f"one reads up to {_FORMAT}: upgrade neoscope"
        )
    return card, tensors, metadata.get(_SHA, "")
