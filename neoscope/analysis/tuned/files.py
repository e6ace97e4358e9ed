"""Tuned lenses on disk: safetensors and a JSON card; and the state of a training that goes on.

The card holds the SHA-256 of the file of numbers, which holds all else that the card says: what is
read is what was written, or an error. A state holds the SHA-256 of its own numbers.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from neoscope import __version__
from neoscope.analysis.tuned.place import CARD, KEY, LENS, STATE, check_free
from neoscope.errors import AnalysisError
from neoscope.files import atomic

if TYPE_CHECKING:
    from neoscope.analysis.tuned.weights import TunedLens

_FORMAT = 1
_SHA, _REPLACES = "sha256", "replaces"


def save_lens(lens: TunedLens, folder: Path, *, overwrite: bool = False) -> Path:
    """Write a lens; the card is last, so that one that can be read is whole.

    Where a lens stands already, a card of both comes first: whenever the process dies, the numbers
    that are there then have a card.

    Raises:
        AnalysisError: The folder holds something else, or cannot be written.
    """
    card = {"format": _FORMAT, "version": __version__, "kind": lens.kind, **lens.card}
    check_free(folder, card, overwrite=overwrite)
    tensors = {"bias": lens.bias}
    if lens.matrix is not None:
        tensors["matrix"] = lens.matrix
    said: dict[str, Any] = {}

    def announce(temporary: Path) -> None:
        said.update(card | {_SHA: _of_file(temporary)})
        if (folder / CARD).is_file() and (folder / LENS).is_file():
            _write_card(folder, said | {_REPLACES: _card_of(folder)})

    _write(folder / LENS, tensors, {KEY: json.dumps(card, ensure_ascii=False)}, announce)
    _write_card(folder, said)
    return folder


def load_lens(folder: Path) -> TunedLens:
    """Read a lens.

    Raises:
        AnalysisError: There is none, it is damaged or newer, or its training has not ended.
    """
    from neoscope.analysis.tuned.weights import TunedLens

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
    said = _card_of(folder)
    sha256 = said.pop(_SHA)
    if sha256 != (found := _of_file(folder / LENS)):
        raise AnalysisError(
            f"{folder / LENS} is damaged: its SHA-256 is {found[:12]}..., and {CARD} says "
            f"{str(sha256)[:12]}..."
        )
    if changed := [key for key in {**card, **said} if card.get(key) != said.get(key)]:
        raise AnalysisError(
            f"{path} is damaged: it was changed after it was written ({', '.join(changed)})"
        )


def _card_of(folder: Path) -> dict[str, Any]:
    """Return the card of the numbers in a folder: of a save that was cut short, either's."""
    path = folder / CARD
    try:
        said = json.loads(path.read_text(encoding="utf-8"))
        replaced = said.pop(_REPLACES, None)
        if replaced is not None and replaced[_SHA] == _of_file(folder / LENS):
            said = replaced
        said[_SHA]
    except FileNotFoundError as error:
        raise AnalysisError(
            f"the lens in {folder} is damaged: {CARD}, which is written last, is not there"
        ) from error
    except OSError as error:
        raise AnalysisError(f"cannot read {path}: {error.strerror or error}") from error
    except AnalysisError:
        raise
    except Exception as error:
        raise AnalysisError(f"{path} is damaged or no card of a tuned lens") from error
    return dict(said)


def _write_card(folder: Path, said: Mapping[str, Any]) -> None:
    try:
        with atomic(folder / CARD) as temporary:
            temporary.write_text(json.dumps(said, ensure_ascii=False, indent=2), encoding="utf-8")
    except OSError as error:
        raise AnalysisError(f"cannot write {folder / CARD}: {error.strerror or error}") from error


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


def _write(
    path: Path,
    tensors: Mapping[str, Tensor],
    metadata: dict[str, str],
    announce: Callable[[Path], None] | None = None,
) -> None:
    """Write tensors; ``announce`` is called with what is written just before it takes its place."""
    from safetensors.torch import save_file

    kept = {name: x.detach().cpu().contiguous() for name, x in tensors.items()}
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with atomic(path) as temporary:
            save_file(kept, temporary, metadata=metadata)
            if announce is not None:
                announce(temporary)
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
