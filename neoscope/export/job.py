"""to_store: from a corpus to a store of features, read, computed and written side by side."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from neoscope.errors import ArgumentError, ExportError, StoreError, nearest
from neoscope.export.cutting import warn_of_cut
from neoscope.export.engines import Engine, LocalEngine, Work
from neoscope.export.extractor import Extractor
from neoscope.export.progress import Report, Reporting
from neoscope.export.reading import Chunk, count_rows, read_chunks
from neoscope.export.spec import FeatureSpec
from neoscope.export.table import ON_ERROR, ShardTable, check_names
from neoscope.export.threads import Behind
from neoscope.fingerprint import tokenizer_fingerprint
from neoscope.loading import load
from neoscope.store import FeatureStore, StoreWriter

if TYPE_CHECKING:
    from neoscope.model import HookedGPTNeo

_MOST_ROWS = 2048
_SHARD_BYTES = 2**27
_TOKENS_A_TEXT = 64
_CHARS_A_TOKEN = 16
"""More than any text has on average, so that rows, not characters, end a usual chunk."""


@dataclass(frozen=True)
class ExportReport:
    """What an export did."""

    path: Path
    rows: int
    """Rows in the store."""
    tokens: int
    """Tokens read, those of earlier runs included."""
    resumed_rows: int
    """Rows that were there already."""
    truncated: int
    """Texts that were cut."""
    skipped: int
    """Rows left out because of a problem; the manifest lists them."""
    nulled: int
    """Rows without features because of a problem; the manifest lists them."""
    nbytes: int
    """Bytes written by this run."""
    damaged: tuple[str, ...]
    """What was wrong with earlier shards, which were written anew."""

    @property
    def store(self) -> FeatureStore:
        """The store, opened."""
        return FeatureStore.open(self.path)


def to_store(
    model: HookedGPTNeo | str | os.PathLike[str],
    source: Any,
    out: str | os.PathLike[str],
    spec: FeatureSpec | None = None,
    *,
    text_column: str = "text",
    id_column: str | None = None,
    keep: Sequence[str] | None = None,
    file_format: str = "parquet",
    on_error: str = "fail",
    batch_tokens: int | None = None,
    shard_rows: int | None = None,
    engine: Engine | None = None,
    progress: bool | Report = True,
    kind: str = "features",
) -> ExportReport:
    """Export the features of a corpus into a folder that resumes, verifies and is read by anything.

    The same call again goes on after what is whole, and ends byte-equal to an undisturbed run; when
    everything is there, it says so and runs nothing. Interrupting it loses at most the shards in
    work.

    Args:
        model: A model, or what ``neoscope.load`` takes; without hooks or edits, which a store
            could not name.
        source: A path (.parquet, .jsonl, .csv, .tsv, .txt, a folder of .parquet), a pandas or
            polars frame, an Arrow table, a Hugging Face dataset, or an iterable of texts or
            mappings.
        out: The folder to write.
        spec: What to extract; default the mean of ``resid_post`` in every layer.
        text_column: The column of the texts.
        id_column: The column that names the rows; None for "id" if there is one, else row numbers.
        keep: Columns to carry along; None for all.
        file_format: ``"parquet"``, ``"safetensors"`` or ``"npy"``.
        on_error: What a row that cannot be used does: ``"fail"``, ``"skip"`` (left out) or
            ``"null"`` (kept without features); the last two list it in the manifest.
        batch_tokens: Most tokens run at once; None for what suits the device.
        shard_rows: Input rows a shard; None for what suits the size of the features.
        engine: Who computes; default this process.
        progress: True for a bar after two seconds, False for none, or a function of
            :class:`Progress`.
        kind: ``"features"``, or ``"activations"`` for what a probe is trained on.

    Raises:
        ExportError: A row, a column or the input cannot be used; what was done is kept.
        StoreError: The folder holds something else, is in use, or cannot be written.
        CheckpointError: The model cannot be found or read.
        SiteError: A site or layer does not exist.
        ArgumentError: An argument means nothing.

    Example:
        >>> import tempfile, neoscope as ns
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     report = to_store(ns.load("organism"), ["The keys are"], folder + "/f",
        ...                       FeatureSpec(layers=-1), progress=False)
        ...     report.store.to_numpy("resid_post_3_mean").shape
        (1, 128)
    """
    spec = spec or FeatureSpec()
    if on_error not in ON_ERROR:
        hint = nearest(on_error, ON_ERROR)
        raise ArgumentError(f"on_error={on_error!r} is unknown{hint}; known: {', '.join(ON_ERROR)}")
    if isinstance(model, str | os.PathLike):
        model = load(model)
    if model.is_edited:
        raise ExportError(
            "the model has hooks or edits in force, and a store says which model made it; take "
            "them off, or use extract(), which returns arrays"
        )
    extractor = Extractor(model, spec, batch_tokens=batch_tokens)
    rows = shard_rows or default_shard_rows(extractor)
    reading = {
        "text_column": text_column,
        "id_column": id_column,
        "keep": None if keep is None else list(keep),
        "positions_column": spec.column,
        "rows": rows,
        "max_chars": rows * _TOKENS_A_TEXT * _CHARS_A_TOKEN,
    }
    writer = StoreWriter(
        out,
        kind=kind,
        identity={
            "model": model.fingerprint(),
            "tokenizer": tokenizer_fingerprint(model.tokenizer),  # type: ignore[arg-type]
            "spec": spec.record(),
            "input": {k: v for k, v in reading.items() if k != "max_chars"},
        },
        about=_about(model),
        file_format=file_format,
    )
    reporting = Reporting(progress, count_rows(source, **reading))  # type: ignore[arg-type]
    with writer, reporting:
        job = _Job(writer, Work(extractor, on_error, text_column), reporting)
        job.run(read_chunks(source, **reading), engine or LocalEngine())  # type: ignore[arg-type]
        return job.report()


def default_shard_rows(extractor: Extractor) -> int:
    """Return how many input rows make a shard of sensible size.

    Args:
        extractor: It knows the features.
    """
    a_row = sum(
        (feature.width or extractor.model.config.n_heads * _TOKENS_A_TEXT)
        * (_TOKENS_A_TEXT if feature.pool == "none" else 1)
        for feature in extractor.features
    )
    bytes_each = 2 if extractor.spec.dtype == "float16" else 4
    return max(1, min(_MOST_ROWS, _SHARD_BYTES // (a_row * bytes_each)))


class _Job:
    """One run of an export."""

    def __init__(self, writer: StoreWriter, work: Work, reporting: Reporting) -> None:
        self._writer, self._work, self._reporting = writer, work, reporting
        self._before = writer.done
        self._facts = [writer.shard_facts(index) for index in sorted(writer.done)]
        self._n_rows = 0

    def run(self, chunks: Iterable[Chunk], engine: Engine) -> None:
        """Run what is not there yet, and mark the store complete.

        Raises:
            ExportError: A row cannot be used.
            StoreError: The input is another one than before.
        """
        with Behind(self._write) as writing:
            try:
                for shard in engine(self._work, self._missing(chunks), self._reporting.tick):
                    writing.put(shard)
            except KeyboardInterrupt as interrupt:
                interrupt.add_note("the same call again goes on after the shards that are whole")
                raise
        if len(self._writer.done) > self._n_chunks:
            raise StoreError(
                f"{self._writer.path} has {len(self._writer.done)} shards, but the input ends "
                f"after {self._n_chunks}: it is another input than before"
            )
        if not self._total("tokens"):
            raise ExportError(
                f"none of the {self._n_rows} rows of the input could be used; is text_column="
                f"{self._work.text_column!r} the column of the texts?{self._first_problem()}"
            )
        if not self._writer.complete:
            self._writer.finish(self._summary())
        warn_of_cut(self._total("truncated"), self._total("cut_tokens"))

    def _missing(self, chunks: Iterable[Chunk]) -> Iterator[Chunk]:
        """Yield the chunks that are not there, and see that those that are were the same."""
        self._n_chunks = 0
        for chunk in chunks:
            if not self._n_chunks:
                spec, features = self._work.extractor.spec, self._work.extractor.features
                check_names(chunk.columns.column_names, features, spec.by_token)
            self._n_chunks += 1
            self._n_rows += chunk.n_rows
            if chunk.index not in self._before:
                yield chunk
                continue
            if self._writer.shard_facts(chunk.index)["input_sha256"] != chunk.sha256:
                last = chunk.start + chunk.n_rows - 1
                raise StoreError(
                    f"rows {chunk.start} to {last} of the input differ from those that shard "
                    f"{chunk.index} of {self._writer.path} was made of; write to another folder"
                )
            self._check_policy(chunk.index)
            self._reporting.resumed(chunk.n_rows)

    def _check_policy(self, index: int) -> None:
        """See that what an earlier run did with bad rows is what is asked for now."""
        facts = self._writer.shard_facts(index)
        for was, key in (("skip", "skipped"), ("null", "nulled")):
            if facts[key] and self._work.on_error != was:
                raise StoreError(
                    f"shard {index} of {self._writer.path} was made with on_error={was!r}, now "
                    f"{self._work.on_error!r}, and has such rows; write to another folder"
                )

    def _write(self, shard: ShardTable) -> None:
        names = [feature.name for feature in self._work.extractor.features]
        nbytes = self._writer.write(
            shard.index, shard.start, shard.stop, shard.table, names, shard.facts
        )
        self._facts.append(shard.facts)
        self._reporting.wrote(nbytes)

    def _first_problem(self) -> str:
        rows = [row for facts in self._facts for row in (*facts["skipped"], *facts["nulled"])]
        first = min(rows, key=lambda row: row["row"], default=None)
        return f" Row {first['row']}: {first['reason']}" if first else ""

    def _total(self, name: str) -> int:
        values = (facts[name] for facts in self._facts)
        return sum(value if isinstance(value, int) else len(value) for value in values)

    def _summary(self) -> dict[str, int]:
        names = ("tokens", "truncated", "cut_tokens", "skipped", "nulled")
        return {"input_rows": self._n_rows, **{name: self._total(name) for name in names}}

    def report(self) -> ExportReport:
        """Return what was done."""
        now = self._reporting.now
        return ExportReport(
            path=self._writer.path,
            rows=self._writer.n_rows,
            tokens=self._total("tokens"),
            resumed_rows=now.resumed_rows,
            truncated=self._total("truncated"),
            skipped=self._total("skipped"),
            nulled=self._total("nulled"),
            nbytes=now.nbytes,
            damaged=self._writer.damaged,
        )


def _about(model: HookedGPTNeo) -> dict[str, Any]:
    found = model.checkpoint
    return {
        "model": model.cfg.model_name,
        "revision": found.revision if found else None,
        "licence": found.licence if found else None,
        "weights": str(model.dtype).removeprefix("torch."),
    }
