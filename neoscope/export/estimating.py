"""estimate: what an export would be, from a sample that is run as the export itself would be."""

from __future__ import annotations

import dataclasses
import json
import os
import tempfile
import time
import warnings
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from neoscope.errors import StoreError
from neoscope.export.cutting import TruncationWarning
from neoscope.export.engines import Tick, Work
from neoscope.export.job import default_shard_rows, to_store
from neoscope.export.progress import Progress
from neoscope.export.reading import Chunk
from neoscope.export.spec import FeatureSpec
from neoscope.export.table import ShardTable
from neoscope.store import formats, manifest
from neoscope.store.differences import differences
from neoscope.store.verify import file_problems

if TYPE_CHECKING:
    from neoscope.model import HookedGPTNeo

_WARM_UP_ROWS = 16


@dataclass(frozen=True)
class Estimate:
    """What an export would be; None where that depends on a number of rows nobody knows."""

    input_rows: int | None
    """Rows of the input."""
    rows: int | None
    """Rows of the store: those of the input, less what is skipped; for ``pool="none"`` tokens."""
    sample_rows: int
    """Rows that were run."""
    read_rows: int
    """Rows that were read and tokenized, the first of the input, of which the sample is a part."""
    columns: tuple[tuple[str, str, bool], ...]
    """Name, Arrow type, and whether it is computed, of each."""
    nbytes: int | None
    """Bytes on disk."""
    tokens: int | None
    """Tokens read."""
    tokens_per_second: float
    """Of the sample, in this process."""
    seconds: float | None
    """Of the whole, at that rate."""
    truncated: float
    """Share of the texts that are cut, from 0 to 1."""
    problems: float
    """Share of the rows that cannot be used, from 0 to 1."""
    done_rows: int
    """Input rows that are whole in the folder already."""
    refused: str | None
    """Why the folder cannot be written or gone on with; None if it can."""


def estimate(
    model: HookedGPTNeo,
    source: Any,
    spec: FeatureSpec | None = None,
    *,
    out: str | os.PathLike[str] | None = None,
    sample_rows: int = 256,
    **options: Any,
) -> Estimate:
    """Run a sample of an export, and return what the whole would be.

    The first rows of the input are read, as many as a shard at least, and a sample of them, evenly
    spread, is run and written to a temporary folder.

    Args:
        model: As for :func:`to_store`.
        source: As for :func:`to_store`; what an iterator gave is gone.
        spec: As for :func:`to_store`.
        out: The folder that is meant; it is looked at, and left as it is.
        sample_rows: Most rows to run; a usual shard at most.
        **options: As for :func:`to_store`, but for ``engine`` and ``progress``.

    Raises:
        ExportError: As :func:`to_store` would for these rows.
        SiteError: A site or layer does not exist.
        ArgumentError: An argument means nothing.

    Example:
        >>> import neoscope as ns
        >>> estimate(ns.load("organism"), ["The keys are"] * 3, FeatureSpec(layers=-1)).rows
        3
    """
    sampling = _Sampling(sample_rows)
    last: list[Progress] = []
    with tempfile.TemporaryDirectory(prefix="neoscope-") as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore", TruncationWarning)
        to_store(model, source, folder, spec, engine=sampling, progress=last.append, **options)
        found = manifest.read(Path(folder))
    done_rows, refused = (0, None) if out is None else _there(Path(out).expanduser(), found)
    by_token = spec is not None and spec.by_token
    return sampling.extrapolated(
        last[-1].total_rows, found, by_token, model.device.type == "cpu", done_rows, refused
    )


class _Sampling:
    """An engine that reads the first chunks and runs some rows of each."""

    def __init__(self, sample_rows: int) -> None:
        self._most = max(1, sample_rows)
        self._n_chunks = self._read_rows = self._sampled = 0
        self._tokens = self._cut = self._bad = self._sample_tokens = 0
        self._encoding = self._running = 0.0
        self._skips = False
        self._table: pa.Table | None = None

    def __call__(self, work: Work, chunks: Iterable[Chunk], tick: Tick) -> Iterator[ShardTable]:
        """Yield the sample, a shard of it from each chunk."""
        self._skips = work.on_error == "skip"
        read: list[Chunk] = []
        for chunk in chunks:
            read.append(chunk)
            self._tokenize(work, chunk)
            if self._read_rows >= self._most:
                break
        # Most of what is held in memory at once is the features of the sample.
        n = min(self._most, self._read_rows, default_shard_rows(work.extractor))
        at = np.arange(n) * self._read_rows // n
        parts = [_rows(chunk, at - chunk.start) for chunk in read]
        parts = [part for part in parts if part.n_rows]
        warm_up = _rows(parts[0], np.arange(_WARM_UP_ROWS))
        work.finish(warm_up, work.encode(warm_up))
        for index, part in enumerate(parts):
            table = self._run(work, part)
            start, self._sampled = self._sampled, self._sampled + part.n_rows
            yield dataclasses.replace(table, index=index, start=start, stop=self._sampled)
        tick(self._sampled, self._sample_tokens)
        self._table = table.table

    def _tokenize(self, work: Work, chunk: Chunk) -> None:
        began = time.perf_counter()
        encoded = work.encode(chunk)
        self._encoding += time.perf_counter() - began
        self._n_chunks += 1
        self._read_rows += chunk.n_rows
        self._tokens += len(encoded.ids)
        self._cut += len(encoded.cut)
        self._bad += len(encoded.problems)

    def _run(self, work: Work, part: Chunk) -> ShardTable:
        encoded = work.encode(part)
        began = time.perf_counter()
        table = work.finish(part, encoded)
        self._running += time.perf_counter() - began
        self._sample_tokens += len(encoded.ids)
        return table

    def extrapolated(
        self,
        total: int | None,
        found: manifest.Manifest,
        by_token: bool,
        on_cpu: bool,
        done_rows: int,
        refused: str | None,
    ) -> Estimate:
        """Return what the sample says of all rows."""
        written = sum(file.bytes for shard in found.shards for file in shard.files.values())
        empty = self._overhead(found)
        # Tokenizing goes on beside the model; where both want the same cores, each takes its time.
        second_each = self._running / max(1, self._sample_tokens)
        if on_cpu:
            second_each += self._encoding / max(1, self._tokens)
        rows = tokens = nbytes = None
        if total is not None:
            tokens = round(self._tokens / self._read_rows * total)
            used = 1 - self._bad / self._read_rows if self._skips else 1
            rows = tokens if by_token else round(used * total)
            shards = -(-total * self._n_chunks // self._read_rows)
            each = (written - empty * len(found.shards)) / max(1, found.n_rows)
            nbytes = round(each * rows) + shards * empty
        return Estimate(
            input_rows=total,
            rows=rows,
            sample_rows=self._sampled,
            read_rows=self._read_rows,
            columns=tuple((c.name, c.type, c.feature) for c in found.schema or ()),
            nbytes=nbytes,
            tokens=tokens,
            tokens_per_second=1 / second_each if second_each else 0.0,
            seconds=None if tokens is None else second_each * tokens,
            truncated=self._cut / self._read_rows,
            problems=self._bad / self._read_rows,
            done_rows=done_rows,
            refused=refused,
        )

    def _overhead(self, found: manifest.Manifest) -> int:
        """Return the bytes of a shard without rows."""
        assert self._table is not None and found.schema is not None
        features = [column.name for column in found.schema if column.feature]
        nothing = formats.canonical(self._table.slice(0, 0), features)
        about = json.dumps({"about": found.about, "identity": found.identity})
        total = 0
        for _, save in formats.encode(found.file_format, "part", nothing, found.schema, about):
            with tempfile.TemporaryFile() as file:
                save(file)
                total += file.tell()
        return total


def _rows(chunk: Chunk, wanted: NDArray[np.int64]) -> Chunk:
    """Return those of some rows that a chunk has, counted from its first, as a smaller one."""
    at = wanted[(wanted >= 0) & (wanted < chunk.n_rows)].tolist()
    return dataclasses.replace(
        chunk,
        ids=[chunk.ids[i] for i in at],
        texts=[chunk.texts[i] for i in at],
        problems={new: chunk.problems[i] for new, i in enumerate(at) if i in chunk.problems},
        columns=chunk.columns.take(pa.array(at, pa.int64())),
        where=None if chunk.where is None else [chunk.where[i] for i in at],
    )


def _there(out: Path, now: manifest.Manifest) -> tuple[int, str | None]:
    """Return how many input rows are whole in a folder, and why it cannot be gone on with."""
    there = next(path for path in (out, *out.absolute().parents) if path.exists())
    if not os.access(there, os.W_OK):
        return 0, f"no permission to write in {there}"
    if not out.exists() or (out.is_dir() and not any(out.iterdir())):
        return 0, None
    try:
        found = manifest.read(out)
    except StoreError as error:
        return 0, str(error)
    if found.shards and (changed := list(differences(found, now))):
        return 0, f"{out} holds something else: {'; '.join(changed)}"
    whole = (s for s in found.shards if not file_problems(out, s, hashed=False))
    return sum(shard.stop - shard.start for shard in whole), None
