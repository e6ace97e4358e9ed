"""The manifest of a store: what it was made of, its columns, and its shards with their hashes."""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from neoscope.errors import StoreError
from neoscope.files import atomic

FORMAT = 1
NAME = "_manifest.json"
"""Arrow, pandas and Spark leave out names with this beginning when they read a folder."""
KINDS = ("features", "activations")
FILE_FORMATS = ("parquet", "safetensors", "npy")
SHARD_FILE = re.compile(r"part-(\d{5,})\.[^/\\\0]+")
"""What a shard's file may be called: a manifest that names another is not believed."""


@dataclass(frozen=True)
class Column:
    """One column of every shard."""

    name: str
    """What it is called."""
    type: str
    """Its Arrow type, as Arrow prints it."""
    feature: bool
    """Whether it was computed; if not, it was carried from the input."""


@dataclass(frozen=True)
class FileRecord:
    """What a file of a shard must be."""

    bytes: int
    """Its size."""
    sha256: str
    """The hash of its bytes."""


@dataclass(frozen=True)
class Shard:
    """One chunk of the input, and the files that hold what was made of it."""

    index: int
    """Which chunk it is, from 0."""
    start: int
    """The first input row."""
    stop: int
    """One past the last input row."""
    rows: int
    """How many rows the files hold."""
    files: Mapping[str, FileRecord]
    """By name."""
    facts: Mapping[str, Any]
    """What the writer wanted to be remembered of it."""


@dataclass(frozen=True)
class Manifest:
    """All that is known of a store."""

    kind: str
    """``"features"`` or ``"activations"``."""
    neoscope: str
    """The version that began it."""
    file_format: str
    """``"parquet"``, ``"safetensors"`` or ``"npy"``."""
    identity: Mapping[str, Any]
    """What was made of what: two stores of one identity hold the same."""
    about: Mapping[str, Any]
    """What else a reader wants to know: it is not compared."""
    schema: tuple[Column, ...] | None = None
    """The columns; None until there is a shard."""
    shards: tuple[Shard, ...] = ()
    """Those that are whole, by index."""
    complete: bool = False
    """Whether nothing is missing."""
    summary: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    """What was said at the end."""

    @property
    def n_rows(self) -> int:
        """The rows of all shards."""
        return sum(shard.rows for shard in self.shards)

    def feature_type(self, name: str) -> str | None:
        """Return the Arrow type of a feature, None for other columns."""
        types = {column.name: column.type for column in self.schema or () if column.feature}
        return types.get(name)

    def record(self) -> dict[str, Any]:
        """Return the manifest as JSON writes it, keys in their order."""
        fields = dataclasses.asdict(self)
        schema = None if self.schema is None else list(fields["schema"])
        head = ("kind", "neoscope", "file_format", "identity", "about")
        return {
            "format": FORMAT,
            **{key: fields[key] for key in head},
            "schema": schema,
            "shards": list(fields["shards"]),
            "complete": self.complete,
            "summary": fields["summary"],
        }

    def save(self, folder: Path) -> None:
        """Replace the folder's manifest: a crash leaves the old one or this one."""
        with atomic(folder / NAME) as temporary:
            temporary.write_text(json.dumps(self.record(), indent=1, allow_nan=False) + "\n")


def plain(value: Any) -> Any:
    """Return a value as it comes back from JSON; ids of other types become strings."""

    def other(item: Any) -> Any:
        to_python = getattr(item, "item", None)  # numpy's numbers
        return to_python() if to_python is not None else str(item)

    try:
        return json.loads(json.dumps(value, default=other, allow_nan=False))
    except (TypeError, ValueError) as error:
        raise StoreError(f"a manifest cannot hold {value!r:.200}: {error}") from error


def read(folder: Path) -> Manifest:
    """Read the manifest of a store.

    Raises:
        StoreError: There is none, or it is damaged, or of a later format.
    """
    path = folder / NAME
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError) as error:
        what = "holds no _manifest.json" if folder.is_dir() else "is no folder of shards"
        raise StoreError(f"{folder} is no feature store: it {what}") from error
    except OSError as error:
        raise StoreError(f"{path} cannot be read: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        raise StoreError(f"{path} is damaged: {error}; {_ADVICE}") from error
    try:
        if record["format"] > FORMAT:
            raise StoreError(
                f"{path} was written by neoscope {record['neoscope']} in format "
                f"{record['format']}; this one reads up to {FORMAT}: upgrade neoscope"
            )
        return _parse(record)
    except StoreError:
        raise
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise StoreError(f"{path} is damaged: {error!r}; {_ADVICE}") from error


_ADVICE = "put the original back, or write to another folder"


def _parse(record: Mapping[str, Any]) -> Manifest:
    schema = record["schema"]
    shards = tuple(_shard(shard) for shard in record["shards"])
    indexes = [shard.index for shard in shards]
    if indexes != sorted(set(indexes)):
        raise ValueError(f"shards out of order: {indexes[:10]}")
    if shards and schema is None:
        raise ValueError("shards without a schema")
    manifest = Manifest(
        kind=_one_of(record["kind"], KINDS),
        neoscope=_typed(record["neoscope"], str),
        file_format=_one_of(record["file_format"], FILE_FORMATS),
        identity=_typed(record["identity"], dict),
        about=_typed(record["about"], dict),
        schema=None if schema is None else tuple(_column(column) for column in schema),
        shards=shards,
        complete=_typed(record["complete"], bool),
        summary=_typed(record["summary"], dict),
    )
    if manifest.complete:
        check_gapless(shards)
    return manifest


def check_gapless(shards: tuple[Shard, ...]) -> None:
    """Raise StoreError where a shard is missing or does not begin where the one before ends."""
    expected = 0
    for position, shard in enumerate(shards):
        if shard.index != position or shard.start != expected:
            raise StoreError(
                f"shard {position} should begin at input row {expected}, but the next one is "
                f"shard {shard.index}, which begins at {shard.start}"
            )
        expected = shard.stop


def _shard(record: Mapping[str, Any]) -> Shard:
    numbers = {key: _typed(record[key], int) for key in ("index", "start", "stop", "rows")}
    if min(numbers.values()) < 0:
        raise ValueError(f"a shard with a negative number: {numbers}")
    files = {}
    for name, file in record["files"].items():
        match = SHARD_FILE.fullmatch(name)
        if match is None or int(match[1]) != numbers["index"]:
            raise ValueError(f"shard {numbers['index']} names a file {name!r}")
        files[name] = FileRecord(_typed(file["bytes"], int), _typed(file["sha256"], str))
    return Shard(**numbers, files=files, facts=_typed(record["facts"], dict))


def _column(record: Mapping[str, Any]) -> Column:
    name, kind = _typed(record["name"], str), _typed(record["type"], str)
    return Column(name, kind, _typed(record["feature"], bool))


def _typed(value: Any, kind: type) -> Any:
    if type(value) is not kind:
        raise TypeError(f"expected {kind.__name__}, found {value!r:.80}")
    return value


def _one_of(value: Any, known: tuple[str, ...]) -> str:
    if value not in known:
        raise ValueError(f"{value!r:.80} is none of {known}")
    return str(value)
