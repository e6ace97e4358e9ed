"""A store as one reads it: columns that are loaded when asked for, and views of some rows."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from neoscope.errors import StoreError, nearest
from neoscope.store import arrays, manifest, mapping, reading
from neoscope.store.manifest import Manifest
from neoscope.store.verify import check_shards, extra_files, file_problems

if TYPE_CHECKING:
    import pandas as pd

    from neoscope.store.torch_dataset import StoreDataset

    RowChoice = slice | Sequence[int] | npt.NDArray[Any] | None
else:
    # Checked where they are read: a pandas mask, a tensor or a range are welcome.
    RowChoice = Any


@dataclass(frozen=True, eq=False, repr=False)
class FeatureStore:
    """A store, or a view of some of its rows and columns; nothing is read before it is needed.

    Example:
        >>> import tempfile, neoscope as ns
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     _ = ns.export.to_store(ns.load("organism"), ["The keys are"], folder + "/f",
        ...                            ns.export.FeatureSpec(layers=-1), progress=False)
        ...     store = FeatureStore.open(folder + "/f")
        ...     store.columns, store.to_numpy("resid_post_3_mean").shape
        (('id', 'text', 'resid_post_3_mean'), (1, 128))
    """

    path: Path
    """The folder."""
    columns: tuple[str, ...]
    """The names of the columns, in order."""
    _manifest: Manifest
    _rows: reading.Rows

    @classmethod
    def open(cls, path: str | os.PathLike[str], *, partial: bool = False) -> FeatureStore:
        """Open a store.

        Args:
            path: Its folder.
            partial: Take a store that is not complete as far as it goes.

        Raises:
            StoreError: It is no store, or damaged, or not complete.
        """
        folder = Path(path).expanduser()
        found = manifest.read(folder)
        if not (found.complete or partial):
            raise StoreError(
                f"{folder} is not complete: {len(found.shards):,} shards with {found.n_rows:,} "
                "rows are whole; run the command that began it again to go on, or open it with "
                "partial=True"
            )
        problems = [p for s in found.shards for p in file_problems(folder, s, hashed=False)]
        if problems:
            more = f"; and {len(problems) - 5} more" if len(problems) > 5 else ""
            raise StoreError(
                f"{folder} is damaged: {'; '.join(problems[:5])}{more}; run the command that made "
                "it again to write those shards anew"
            )
        columns = tuple(column.name for column in found.schema or ())
        return cls(folder, columns, found, range(found.n_rows))

    @property
    def features(self) -> tuple[str, ...]:
        """The columns that were computed; the others came with the input."""
        computed = {column.name for column in self._manifest.schema or () if column.feature}
        return tuple(name for name in self.columns if name in computed)

    @property
    def n_rows(self) -> int:
        """How many rows there are."""
        return len(self)

    @property
    def manifest(self) -> Mapping[str, Any]:
        """All that is known of the store, as its _manifest.json has it."""
        return self._manifest.record()

    def __len__(self) -> int:
        return len(self._rows)

    def __repr__(self) -> str:
        types = {column.name: column.type for column in self._manifest.schema or ()}
        shown = ", ".join(f"{name}: {types[name]}" for name in self.features[:3]) or "none"
        more = f" and {len(self.features) - 3} more" if len(self.features) > 3 else ""
        return (
            f"FeatureStore({str(self.path)!r}, {len(self):,} rows, {len(self.columns)} columns, "
            f"{len(self.features)} of them features: {shown}{more}; {self._manifest.file_format})"
        )

    def to_numpy(self, column: str, *, mmap: bool = False) -> npt.NDArray[Any]:
        """Return one column.

        Args:
            column: Its name.
            mmap: Map it into memory instead of reading it: rows are read from disk when they are
                used, and the result is read-only. Several shards, or parquet, are copied below
                ``.mmap`` the first time; rows chosen by a list or mask are read. Not for ragged.

        Returns:
            [rows, width], or [rows] for scalars; ragged features and other columns as [rows] of
            whatever they hold. Null features are NaN.

        Raises:
            StoreError: There is no such column, or it cannot be mapped.
        """
        (name,) = self._names([column])
        text = self._manifest.feature_type(name)
        kind = None if text is None else arrays.parse_type(text)
        if kind is None or arrays.is_ragged(kind):
            if mmap:
                what = "no feature" if kind is None else "ragged"
                raise StoreError(f"column {name!r} is {what}: it can be read, but not mapped")
            return arrays.to_numpy(self.to_arrow([name])[name], feature=kind is not None)
        if mmap:
            whole = mapping.map_feature(self.path, self._manifest, name)
            return whole[reading.as_index(self._rows)]
        shape, dtype = arrays.row_shape(kind)
        found = np.empty((self.n_rows, *shape), dtype)
        rows, order = reading.in_order(self._rows)
        start = 0
        for table in reading.stream(self.path, self._manifest, [name], rows):
            here = slice(start, start + len(table))
            found[here if order is None else order[here]] = arrays.to_numpy(
                table[name], feature=True
            )
            start = here.stop
        return found

    def to_arrow(self, columns: Sequence[str] | None = None) -> pa.Table:
        """Return columns (None: all) as an Arrow table."""
        return reading.gather(self.path, self._manifest, self._names(columns), self._rows)

    def to_pandas(self, columns: Sequence[str] | None = None) -> pd.DataFrame:
        """Return columns (None: all) as a pandas frame.

        A feature of several values is a column of numpy arrays, None where it is null.
        """
        import pandas as pd

        table = self.to_arrow(columns)
        data = {}
        for name in table.column_names:
            if name not in self.features:
                data[name] = table[name].to_pandas()
                continue
            values = arrays.to_numpy(table[name], feature=True)
            if values.ndim == 2:
                values = arrays.objects(list(values))
                values[table[name].is_null().to_numpy()] = None
            data[name] = pd.Series(values)
        return pd.DataFrame(data, columns=list(table.column_names))

    def to_torch_dataset(self, columns: Sequence[str] | None = None) -> StoreDataset:
        """Return a map-style dataset whose items are dicts of one row each.

        Features are tensors, other columns Python values. Rows are read from memory-mapped files
        when they are asked for (as with ``to_numpy(mmap=True)``), by any number of workers.

        Args:
            columns: Those that an item has; None for all.
        """
        from neoscope.store.torch_dataset import StoreDataset

        return StoreDataset(self.path, self._manifest, self._names(columns), self._rows)

    def iter_batches(
        self, columns: Sequence[str] | None = None, batch_size: int = 1024
    ) -> Iterator[dict[str, npt.NDArray[Any]]]:
        """Yield the rows in order, a batch at a time; of one shard at most is in memory.

        Args:
            columns: Those that a batch has; None for all.
            batch_size: Rows of every batch but the last.

        Yields:
            For each column what `to_numpy` returns of the batch's rows.

        Raises:
            StoreError: There is no such column, or ``batch_size`` is less than 1.
        """
        if batch_size < 1:
            raise StoreError(f"batch_size is at least 1, not {batch_size}")
        names = self._names(columns)

        def batch(tables: list[pa.Table]) -> dict[str, npt.NDArray[Any]]:
            table = pa.concat_tables(tables)
            computed = self.features
            return {n: arrays.to_numpy(table[n], feature=n in computed) for n in names}

        def batches() -> Iterator[dict[str, npt.NDArray[Any]]]:
            waiting: list[pa.Table] = []
            missing = batch_size
            for table in self._stream(names, batch_size):
                start = 0
                while len(table) - start >= missing:
                    yield batch([*waiting, table.slice(start, missing)])
                    start, missing, waiting = start + missing, batch_size, []
                if start < len(table):
                    waiting.append(table.slice(start))
                    missing -= len(table) - start
            if waiting:
                yield batch(waiting)

        return batches()

    def select(self, columns: Sequence[str] | None = None, rows: RowChoice = None) -> FeatureStore:
        """Return a view of some columns and rows; nothing is read.

        Args:
            columns: Their names, in the order wanted; None for all.
            rows: A slice, indexes (negative ones count from the end, any order, repeats allowed)
                or a boolean mask, of this view's rows; None for all. `iter_batches` over indexes
                out of order reads a shard again for each batch that needs it.

        Raises:
            StoreError: There is no such column or row.
        """
        chosen = self._rows if rows is None else reading.choose(self._rows, rows)
        return dataclasses.replace(self, columns=tuple(self._names(columns)), _rows=chosen)

    def join(
        self,
        frame: pd.DataFrame,
        on: str = "id",
        *,
        how: Literal["left", "inner"] = "left",
        columns: Sequence[str] | None = None,
    ) -> pd.DataFrame:
        """Return a frame's rows with the features of the same id beside them.

        Args:
            frame: Any pandas frame; its index and order stay.
            on: The column of ids, in the frame and in the store.
            how: ``"left"``: every row of the frame must have its features; ``"inner"``: rows
                without are left out.
            columns: What to add; None for all features.

        Raises:
            StoreError: An id stands twice in the store or is missing there, a column is in both,
                or ``on`` is in one only.
        """
        from neoscope.store.joining import join

        return join(self, frame, on, how, self.features if columns is None else columns)

    def verify(self, progress: Callable[[int, int], None] | None = None) -> tuple[str, ...]:
        """Read every byte and compare it with what was written.

        Args:
            progress: Called with the bytes read and those in all after each file.

        Returns:
            A line for each file that is missing, truncated, altered or not of this store; empty
            if all is as it was written.
        """
        problems = check_shards(self.path, self._manifest.shards, progress)
        extra = extra_files(self.path, self._manifest.shards)
        return (
            *(line for lines in problems.values() for line in lines),
            *(f"{name}: extra: the manifest does not list it" for name in extra),
            *mapping.altered_copies(self.path),
        )

    def _stream(self, names: Sequence[str], block: int) -> Iterator[pa.Table]:
        return reading.stream(self.path, self._manifest, names, self._rows, block=block)

    def _names(self, columns: Sequence[str] | None) -> list[str]:
        if columns is None:
            return list(self.columns)
        if isinstance(columns, str):
            raise StoreError(f"columns are a list of names, not one name: [{columns!r}]")
        for name in columns:
            if name not in self.columns:
                raise StoreError(
                    f"no column {name!r} in {self.path}: it has {', '.join(self.columns)}"
                    f"{nearest(name, self.columns)}"
                )
        if len(set(columns)) < len(columns) or not columns:
            raise StoreError(f"columns are one or more names, each once, not {list(columns)}")
        return list(columns)
