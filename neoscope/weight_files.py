"""Read .safetensors and .bin files a few megabytes at a time, and never run what is in them."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open

from neoscope.errors import WeightsError

CHUNK_BYTES = 8 * 2**20
"""Size of the pieces in which tensors are read."""
_GROUPS = 32
"""A large file is opened this often, because opening a .bin file costs some 10 ms."""

_SAFETENSORS_DTYPES = {
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "F32": torch.float32,
    "F64": torch.float64,
}
_ZIP_MAGIC = b"PK\x03\x04"
_LFS_MAGIC = b"version https://git-lfs"

Take = Callable[[str, int, torch.Tensor], None]
"""Is given a key, the first row of a chunk and the chunk, which it must not keep."""


@dataclasses.dataclass(frozen=True)
class Entry:
    """One tensor in a weight file."""

    file: Path
    key: str
    shape: tuple[int, ...]
    dtype: torch.dtype | None
    """None where the file holds another type than float16, bfloat16, float32 or float64."""

    def row_chunks(self) -> list[tuple[int, int]]:
        """Cut the rows into ``(start, stop)`` ranges of at most ``CHUNK_BYTES``, or one row."""
        rows = self.shape[0]
        row_bytes = max(1, self.n_bytes // max(1, rows))
        step = max(1, CHUNK_BYTES // row_bytes)
        return [(start, min(start + step, rows)) for start in range(0, rows, step)]

    @property
    def n_bytes(self) -> int:
        """Bytes of the tensor on disk."""
        count = self.dtype.itemsize if self.dtype else 0
        for size in self.shape:
            count *= size
        return count


def inventory(files: Iterable[Path]) -> dict[str, Entry]:
    """Return what the files hold, by key, in the order of the files' bytes.

    Raises:
        WeightsError: A file is damaged, holds something else than tensors, or a key comes twice.
    """
    found: dict[str, Entry] = {}
    for file in files:
        for entry in _open(file).entries():
            if entry.key in found:
                raise WeightsError(f"{entry.key!r} is in {found[entry.key].file} and in {file}")
            found[entry.key] = entry
    return found


def read_rows(entry: Entry, start: int, stop: int) -> torch.Tensor:
    """Return some rows of one tensor; they keep the file mapped for as long as they live."""
    return _open(entry.file).rows(entry.key, start, stop)


def stream(entries: Sequence[Entry], take: Take) -> None:
    """Give every row of the entries, which lie in one file, to ``take``, in chunks.

    A file is opened anew after every 32nd of it, or ``CHUNK_BYTES`` if that is more, because pages
    of a mapped file count as resident until the mapping is closed. A .bin file in the format of
    PyTorch before 1.6 cannot be mapped: it is read whole, and its tensors are let go one by one.
    """
    chunks = [(entry, start, stop) for entry in entries for start, stop in entry.row_chunks()]
    if not chunks:
        return
    file = chunks[0][0].file
    source, touched = _open(file), 0
    most = max(CHUNK_BYTES, file.stat().st_size // _GROUPS)
    for entry, start, stop in chunks:
        size = entry.n_bytes * (stop - start) // entry.shape[0]
        if source.mapped and touched + size > most:
            del source
            source, touched = _open(file), 0
        touched += size
        take(entry.key, start, source.rows(entry.key, start, stop))
        if stop == entry.shape[0]:
            source.let_go(entry.key)


class _SafetensorsFile:
    """An open .safetensors file."""

    mapped = True

    def __init__(self, file: Path) -> None:
        self.file = file
        self._handle: Any = safe_open(file, framework="pt")

    def entries(self) -> list[Entry]:
        handle = self._handle
        keys = handle.offset_keys() if hasattr(handle, "offset_keys") else handle.keys()
        slices = [(key, handle.get_slice(key)) for key in keys]
        return [
            Entry(
                self.file, key, tuple(piece.get_shape()), _SAFETENSORS_DTYPES.get(piece.get_dtype())
            )
            for key, piece in slices
        ]

    def rows(self, key: str, start: int, stop: int) -> torch.Tensor:
        piece: torch.Tensor = self._handle.get_slice(key)[start:stop]
        return piece

    def let_go(self, key: str) -> None:
        """Do nothing: closing the file lets everything go."""


class _PickleFile:
    """An open .bin file: mapped when it is a zip archive, in memory when it is older than that."""

    def __init__(self, file: Path) -> None:
        self.file = file
        with file.open("rb") as handle:
            self.mapped = handle.read(4) == _ZIP_MAGIC
        tensors = torch.load(file, map_location="cpu", weights_only=True, mmap=self.mapped)
        if not isinstance(tensors, dict):
            raise WeightsError(
                f"{file} holds a {type(tensors).__name__}; expected a dict of tensors by name"
            )
        for key, value in tensors.items():
            if not isinstance(value, torch.Tensor) or not isinstance(key, str):
                raise WeightsError(
                    f"{file} holds a {type(value).__name__} under {key!r}; expected tensors by name"
                )
        self._tensors: dict[str, torch.Tensor] = dict(tensors)

    def entries(self) -> list[Entry]:
        return [
            Entry(self.file, key, tuple(value.shape), _readable(value))
            for key, value in self._tensors.items()
        ]

    def rows(self, key: str, start: int, stop: int) -> torch.Tensor:
        return self._tensors[key][start:stop]

    def let_go(self, key: str) -> None:
        self._tensors.pop(key)


def _readable(tensor: torch.Tensor) -> torch.dtype | None:
    plain = tensor.layout == torch.strided and not tensor.is_meta
    return tensor.dtype if plain and tensor.dtype in _SAFETENSORS_DTYPES.values() else None


def _open(file: Path) -> _SafetensorsFile | _PickleFile:
    """Open a weight file, or say in one line what is wrong with it."""
    try:
        if file.suffix == ".safetensors":
            return _SafetensorsFile(file)
        return _PickleFile(file)
    except WeightsError:
        raise
    # torch.load and safe_open raise over a dozen types on damaged files, RuntimeError to KeyError.
    except Exception as error:
        raise WeightsError(_diagnosis(file, error)) from error


def _diagnosis(file: Path, error: Exception) -> str:
    """Say in one line why a weight file could not be opened."""
    if isinstance(error, (FileNotFoundError, PermissionError, IsADirectoryError)):
        return f"{file} cannot be read: {error.strerror}"
    size = file.stat().st_size
    if size == 0:
        return f"{file} is empty; the download or copy did not finish"
    with file.open("rb") as handle:
        if handle.read(len(_LFS_MAGIC)) == _LFS_MAGIC:
            return f"{file} is a git-lfs pointer and not the weights; run 'git lfs pull' beside it"
    forbidden = re.search(r"GLOBAL (\S+)", str(error))
    if forbidden:
        return (
            f"{file} is refused: opening it would run {forbidden[1]!r}; expected a plain dict of "
            "tensors. Ask its author for .safetensors"
        )
    said = " ".join(str(error).split("\n", 1)[0].split())[:120]
    kind = "safetensors" if file.suffix == ".safetensors" else "PyTorch"
    return f"{file} ({size:,} bytes) is damaged or is not a {kind} weight file: {said}"
