"""A cache on disk: one safetensors file whose header says what the tensors are, read lazily."""

from __future__ import annotations

import dataclasses
import json
import math
import os
import re
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from neoscope import __version__
from neoscope.cache import ActivationCache
from neoscope.checksum import checksum
from neoscope.config import NeoConfig
from neoscope.errors import CacheError
from neoscope.files import atomic
from neoscope.tokens import Tokens

_FORMAT = 1
_HEADER = "neoscope"
_CRC = re.compile(r', "crc32": "([0-9a-f]{8})"}$')
"""How the header ends: with the CRC-32 of itself without this. An entry of its own would be another
way, but safetensors writes several in any order."""
_CHECKED_BYTES = 4 * 2**20
"""Up to here a tensor is checked when it is read, which takes 3 ms at most. Larger ones stay
mapped: who looks at one row of them reads one row."""
# Bits of a value, by safetensors' names of dtypes that a cache may be kept in.
_ITEM_BITS = {"F64": 64, "F32": 32, "F16": 16, "BF16": 16}


class LazyTensors(Mapping[str, Tensor]):
    """Tensors of a safetensors file, read when first asked for."""

    def __init__(self, path: Path, stored: Mapping[str, str], checksums: Mapping[str, str]) -> None:
        """Open nothing yet.

        Args:
            path: The file.
            stored: Site name to the name under which the file holds it.
            checksums: Of what the file holds, by the name under which it does.
        """
        self._path, self._stored, self._checksums = path, dict(stored), dict(checksums)
        self._read: dict[str, Tensor] = {}
        self._state = _state(path)

    def __getitem__(self, name: str) -> Tensor:
        """Read one tensor."""
        from safetensors import SafetensorError, safe_open

        key = self._stored[name]
        if key not in self._read:
            try:
                if _state(self._path) != self._state:
                    raise CacheError(f"{self._path} was changed after it was opened; load it again")
                with safe_open(self._path, framework="pt") as file:
                    found = file.get_tensor(key)
            except (SafetensorError, OSError) as error:
                raise CacheError(f"{self._path}: cannot read {name!r}: {error}") from error
            if found.nbytes <= _CHECKED_BYTES:
                self._check(key, found)
            self._read[key] = found
        return self._read[key]

    def verify(self) -> None:
        """Read every byte and compare it with what was written.

        Raises:
            CacheError: Names the first tensor that is not as it was.
        """
        for name, key in self._stored.items():
            found = self[name]
            if found.nbytes > _CHECKED_BYTES:
                self._check(key, found)

    def _check(self, key: str, found: Tensor) -> None:
        written = self._checksums.get(key)
        if written is not None and checksum(found) != written:
            raise CacheError(
                f"{self._path} is damaged: {key!r} is not what was written there; copy the file "
                "anew from where it is whole, or run the model again"
            )

    @property
    def nbytes(self) -> int:
        """Bytes of the tensors once read, from the header alone."""
        from safetensors import SafetensorError, safe_open

        total = 0
        try:
            with safe_open(self._path, framework="pt") as file:
                for key in set(self._stored.values()):
                    part = file.get_slice(key)
                    total += math.prod(part.get_shape()) * _ITEM_BITS[part.get_dtype()] // 8
        except (SafetensorError, OSError, KeyError) as error:
            raise CacheError(f"{self._path}: cannot read its header: {error}") from error
        return total

    def __iter__(self) -> Iterator[str]:
        """Iterate over site names without reading."""
        return iter(self._stored)

    def __len__(self) -> int:
        """Return the number of names."""
        return len(self._stored)

    def __contains__(self, name: object) -> bool:
        """Whether a name is there, without reading."""
        return name in self._stored


def _state(path: Path) -> tuple[int, int, int]:
    """What changes when a file is replaced or written to."""
    found = path.stat()
    return found.st_ino, found.st_size, found.st_mtime_ns


def save(cache: ActivationCache, path: str | os.PathLike[str]) -> Path:
    """Write a cache, and return where; tensors that share memory are written once."""
    from safetensors import SafetensorError
    from safetensors.torch import save_file

    target = check_target(path)
    tensors: dict[str, Tensor] = {}
    stored: dict[str, str] = {}
    seen: dict[Any, str] = {}
    for name, x in cache.items():
        key = (x.data_ptr(), tuple(x.shape), x.stride(), x.dtype)
        if key not in seen:
            seen[key] = name
            # A copy: safetensors refuses tensors that share memory, as q, k and v do.
            tensors[name] = x.detach().cpu().clone(memory_format=torch.contiguous_format)
        stored[name] = seen[key]
    header = _header(cache, stored, {key: checksum(x) for key, x in tensors.items()})
    try:
        with atomic(target) as temporary:
            save_file(tensors, temporary, metadata={_HEADER: _sealed(json.dumps(header))})
    except OSError as error:
        raise CacheError(f"cannot write {target}: {error.strerror or error}") from error
    except SafetensorError as error:  # a full disk comes as one
        raise CacheError(f"cannot write {target}: {error}") from error
    return target


def check_target(path: str | os.PathLike[str]) -> Path:
    """Return the path of a file that a cache may be written to.

    An older cache may be replaced; nothing else, least of all a checkpoint's weights.

    Raises:
        CacheError: It cannot be written, or something else stands there.
    """
    target = Path(path).expanduser()
    folder = target.absolute().parent
    if not folder.is_dir():
        raise CacheError(f"cannot write {target}: the folder {folder} does not exist")
    if target.is_dir():
        raise CacheError(
            f"cannot write {target}: it is a folder; name a file, e.g. run.safetensors"
        )
    if target.exists() and not target.is_file():
        raise CacheError(f"cannot write {target}: it is no ordinary file")
    if not os.access(folder, os.W_OK | os.X_OK):
        raise CacheError(f"cannot write {target}: no permission to write in {folder}")
    if target.exists() and not _is_cache(target):
        raise CacheError(
            f"cannot write {target}: a file that is no cache of neoscope's is there already; "
            "choose another name, or remove it"
        )
    return target


def _is_cache(path: Path) -> bool:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="pt") as file:
            return _HEADER in (file.metadata() or {})
    except (SafetensorError, OSError):
        return False


def _sealed(text: str) -> str:
    return f'{text[:-1]}, "crc32": "{zlib.crc32(text.encode()):08x}"}}'


def _is_altered(text: str) -> bool:
    """Whether a header is not what was written, as far as it tells."""
    end = _CRC.search(text)
    return end is not None and text != _sealed(text[: end.start()] + "}")


def _header(
    cache: ActivationCache, stored: Mapping[str, str], checksums: Mapping[str, str]
) -> dict[str, Any]:
    model = cache.model
    positions: Any = cache.positions
    if isinstance(positions, Tensor):
        positions = positions.tolist()
    elif isinstance(positions, slice):
        positions = {"slice": [positions.start, positions.stop, positions.step]}
    elif isinstance(positions, range | tuple):
        positions = list(positions)
    return {
        "format": _FORMAT,
        "version": __version__,
        "config": dataclasses.asdict(cache.config),
        "model": cache.model_name,
        "fingerprint": model.fingerprint()
        if model is not None
        else cache.provenance.get("fingerprint"),
        "axes": {name: cache.axes(name) for name in cache},
        "stored": dict(stored),
        "checksums": dict(checksums),
        "positions": positions,
        "has_batch_dim": cache.has_batch_dim,
        "tokens": None if cache.tokens is None else cache.tokens.record(),
    }


def load(path: str | os.PathLike[str], *, verify: bool = False) -> ActivationCache:
    """Do what :meth:`ActivationCache.load` says."""
    from safetensors import SafetensorError, safe_open

    source = Path(path).expanduser()
    if not source.is_file():
        raise CacheError(f"there is no cache file {source}")
    try:
        with safe_open(source, framework="pt") as file:
            metadata = file.metadata() or {}
            keys = set(file.keys())
    except (SafetensorError, OSError) as error:
        raise CacheError(f"{source} is damaged or no safetensors file: {error}") from error
    if _HEADER not in metadata:
        raise CacheError(f"{source} is a safetensors file, but not a cache that neoscope wrote")
    if _is_altered(metadata[_HEADER]):
        raise CacheError(f"{source} has a damaged header: it is not what was written there")
    try:
        header = json.loads(metadata[_HEADER])
        if header["format"] > _FORMAT:
            raise CacheError(
                f"{source} was written by neoscope {header['version']} in format "
                f"{header['format']}; this one reads up to {_FORMAT}: upgrade neoscope"
            )
        missing = set(header["stored"].values()) - keys
        if missing:
            raise CacheError(f"{source} lacks tensors that its header names: {sorted(missing)[:5]}")
        tensors = LazyTensors(source, header["stored"], header.get("checksums", {}))
        cache = _build(tensors, header)
        if verify:
            tensors.verify()
        return cache
    except CacheError:
        raise
    except (AttributeError, IndexError, KeyError, TypeError, ValueError) as error:
        raise CacheError(f"{source} has a damaged header: {error!r}") from error


def _build(tensors: LazyTensors, header: Mapping[str, Any]) -> ActivationCache:
    config = dict(header["config"])
    config["attention_layers"] = tuple(config["attention_layers"])
    positions = header["positions"]
    if isinstance(positions, dict):
        positions = slice(*positions["slice"])
    elif isinstance(positions, list) and positions and isinstance(positions[0], list):
        positions = torch.tensor(positions)  # [batch, n]
    return ActivationCache(
        tensors,
        NeoConfig(**config),
        tokens=None if header["tokens"] is None else Tokens.from_record(header["tokens"]),
        positions=positions,
        has_batch_dim=header["has_batch_dim"],
        provenance={key: header[key] for key in ("version", "model", "fingerprint")},
    )
