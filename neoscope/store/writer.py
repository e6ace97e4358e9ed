"""The writer of a store: one shard after another, each whole on disk before it is listed."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa

import neoscope
from neoscope.errors import StoreError, nearest
from neoscope.files import atomic
from neoscope.store import formats, manifest, mapping
from neoscope.store.differences import differences
from neoscope.store.disk import (
    LOCK,
    TEMPORARY,
    disk_errors,
    make_folder,
    sync_folder,
)
from neoscope.store.lock import FolderLock
from neoscope.store.manifest import FileRecord, Manifest, Shard
from neoscope.store.verify import check_shards, extra_files, file_record


class StoreWriter:
    """Writes a store, or goes on with one that was begun; used as a context manager.

    On entering, the folder is locked and what stands in it is checked against its hashes: shards
    that are not as they were written are taken out and listed in `damaged`. A writer that is
    killed, at whatever moment, leaves a folder with which the next one goes on.

    Args:
        path: The folder; it is made if it is not there.
        kind: ``"features"`` or ``"activations"``.
        identity: Nested JSON that says what is made of what; a folder of another is refused.
        about: More JSON for readers; that of the first writer stays.
        file_format: ``"parquet"``, ``"safetensors"`` or ``"npy"``.
        progress: Called with bytes checked and bytes in all while earlier shards are hashed.

    Raises:
        StoreError: On entering: the folder is not empty and no store, or one of another identity,
            or in use by another process, or cannot be written.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        kind: str,
        identity: Mapping[str, Any],
        about: Mapping[str, Any],
        file_format: str = "parquet",
        progress: Callable[[int, int], None] | None = None,
    ) -> None:
        for what, value, known in (
            ("kind", kind, manifest.KINDS),
            ("file_format", file_format, manifest.FILE_FORMATS),
        ):
            if value not in known:
                raise StoreError(f"{what} is one of {known}, not {value!r}{nearest(value, known)}")
        self.path = Path(path).expanduser()
        self.damaged: tuple[str, ...] = ()
        self._manifest = Manifest(
            kind, neoscope.__version__, file_format, manifest.plain(identity), manifest.plain(about)
        )
        self._progress = progress
        self._lock: FolderLock | None = None

    def __enter__(self) -> StoreWriter:
        with disk_errors(self.path):
            self._refuse_other_files()  # before anything is made there
            make_folder(self.path)
            self._lock = FolderLock(self.path)
            try:
                self._begin()
            except BaseException:
                self._release()
                raise
        return self

    def __exit__(self, *exception: object) -> None:
        self._release()

    @property
    def done(self) -> frozenset[int]:
        """The indexes of the shards that are whole."""
        return frozenset(shard.index for shard in self._manifest.shards)

    @property
    def n_rows(self) -> int:
        """The rows of the shards that are whole."""
        return self._manifest.n_rows

    @property
    def complete(self) -> bool:
        """Whether `finish` was called and nothing was damaged since."""
        return self._manifest.complete

    def shard_facts(self, index: int) -> Mapping[str, Any]:
        """Return what was remembered of a shard that is whole.

        Raises:
            StoreError: It is not.
        """
        for shard in self._manifest.shards:
            if shard.index == index:
                return shard.facts
        raise StoreError(f"shard {index} of {self.path} is not written yet")

    def write(
        self,
        index: int,
        start: int,
        stop: int,
        table: pa.Table,
        features: Sequence[str],
        facts: Mapping[str, Any],
    ) -> int:
        """Write one shard; when this returns, a crash does not lose it.

        Any one thread at a time may call it.

        Args:
            index: Which chunk of the input it is, from 0; in any order, each once.
            start: The chunk's first input row.
            stop: One past its last input row.
            table: The rows. Types and names are those of the first shard.
            features: The columns that were computed: floats, fixed-size lists of them, or lists
                of either. The others are carried as they are.
            facts: JSON to be remembered with the shard.

        Returns:
            The bytes on disk.

        Raises:
            StoreError: The disk is full or fails (shards written before are whole), or the table
                does not fit the store.
        """
        self._check_open()
        if index in self.done:
            raise StoreError(f"shard {index} of {self.path} is written already")
        with _storable(index):
            table = formats.canonical(table, features)
        schema = formats.columns_of(table, features)
        if self._manifest.schema not in (None, schema):
            raise StoreError(f"shard {index} has other columns: {self._schema_changes(schema)}")
        files: dict[str, FileRecord] = {}
        with disk_errors(self.path), _storable(index):
            try:
                for name, save in self._encode(index, table, schema):
                    with atomic(self.path / name) as temporary:
                        with temporary.open("wb") as file:
                            save(file)
                        files[name] = file_record(temporary)
                # The names of the shard are on disk before a manifest that lists them can be.
                sync_folder(self.path)
                shard = Shard(index, start, stop, table.num_rows, files, manifest.plain(facts))
                shards = sorted((*self._manifest.shards, shard), key=lambda shard: shard.index)
                after = dataclasses.replace(
                    self._manifest, schema=schema, shards=tuple(shards), complete=False, summary={}
                )
                after.save(self.path)
            except BaseException:
                for name in files:
                    with contextlib.suppress(OSError):
                        (self.path / name).unlink(missing_ok=True)
                raise
            self._manifest = after
            sync_folder(self.path)
        return sum(file.bytes for file in files.values())

    def finish(self, summary: Mapping[str, Any]) -> None:
        """Mark the store complete.

        Args:
            summary: JSON that sums it up.

        Raises:
            StoreError: A shard is missing, or the disk fails.
        """
        self._check_open()
        manifest.check_gapless(self._manifest.shards)
        self._replace(complete=True, summary=manifest.plain(summary))

    def _encode(
        self, index: int, table: pa.Table, schema: tuple[manifest.Column, ...]
    ) -> Iterator[tuple[str, formats.Save]]:
        about = {"about": self._manifest.about, "identity": self._manifest.identity}
        stem = f"part-{index:05d}"
        return formats.encode(self._manifest.file_format, stem, table, schema, json.dumps(about))

    def _begin(self) -> None:
        if not (self.path / manifest.NAME).exists():
            self._refuse_other_files()  # again: another writer may have come and gone
            self._replace()
        else:
            found = manifest.read(self.path)
            if not found.shards:
                self._replace()  # nothing is whole yet, and nothing lost by beginning anew
            elif lines := list(differences(found, self._manifest)):
                raise StoreError(
                    f"{self.path} holds something else; write to another folder, or ask for the "
                    "same as before:\n" + "\n".join(f"  {line}" for line in lines)
                )
            else:
                self._manifest = found
                self._drop_damaged()
        # A shard's file that is not listed was renamed just before a writer was killed.
        orphans = extra_files(self.path, self._manifest.shards)
        stale = [name for name in os.listdir(self.path) if TEMPORARY.fullmatch(name)]
        for name in (*orphans, *stale):
            (self.path / name).unlink()

    def _drop_damaged(self) -> None:
        problems = check_shards(self.path, self._manifest.shards, self._progress)
        self.damaged = tuple(line for lines in problems.values() for line in lines)
        if self.damaged:
            whole = tuple(s for s in self._manifest.shards if not problems[s.index])
            self._replace(shards=whole, complete=False, summary={})

    def _replace(self, **changes: Any) -> None:
        after = dataclasses.replace(self._manifest, **changes)
        with disk_errors(self.path):
            after.save(self.path)
            self._manifest = after
            sync_folder(self.path)

    def _refuse_other_files(self) -> None:
        if not self.path.exists() or (self.path / manifest.NAME).exists():
            return
        own = (LOCK, mapping.FOLDER)
        others = sorted(
            name
            for name in os.listdir(self.path)
            if name not in own and not TEMPORARY.fullmatch(name)
        )
        if others:
            more = f" and {len(others) - 1} more" if len(others) > 1 else ""
            raise StoreError(
                f"{self.path} is not empty and no feature store: it holds {others[0]!r}{more}; "
                "write to a new folder"
            )

    def _schema_changes(self, now: tuple[manifest.Column, ...]) -> str:
        before = self._manifest.schema or ()
        if set(before) == set(now):
            return "their order changed"
        found, wanted = (
            ", ".join(f"{c.name} ({c.type})" for c in ours if c not in others) or "no more"
            for ours, others in ((now, before), (before, now))
        )
        return f"found {found}, expected {wanted}"

    def _check_open(self) -> None:
        if self._lock is None:
            raise StoreError(f"{self.path} is not open for writing: use `with StoreWriter(...)`")

    def _release(self) -> None:
        if self._lock is not None:
            self._lock.release()
            self._lock = None


@contextlib.contextmanager
def _storable(index: int) -> Iterator[None]:
    """Say which shard it was when Arrow cannot write what a table holds."""
    try:
        yield
    except pa.ArrowException as error:
        raise StoreError(f"shard {index} holds what cannot be written: {error}") from error
