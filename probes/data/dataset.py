"""ProbeData: features of many places over the same rows, with labels, groups and word types."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float, Int
from numpy.typing import NDArray

from neoscope.errors import ProbeError, nearest
from probes.data.columns import Column, Rows, as_column, rows_not_finite
from probes.data.labels import one_column, read_groups, read_labels
from probes.data.picking import listed, pick_places, pick_rows
from probes.data.places import Place, Source
from probes.data.splitting import Splitting
from probes.data.twins import check_twin, twin_data
from probes.reading.constructors import Constructors
from probes.reading.tables import TableConstructors

if TYPE_CHECKING:
    import pandas as pd

Array = NDArray[Any]
BASELINES = ("embeddings", "random-init")


@dataclass(frozen=True, eq=False, init=False, repr=False)
class ProbeData(Constructors, TableConstructors, Splitting):
    """What a probe is trained on: rows of features by place, labels, and groups kept together.

    Features are read when :meth:`matrix` asks for a place, so that a sweep holds one place at a
    time, whatever lies on disk. Nothing in it changes: :meth:`select` and :meth:`take` give views.

    Example:
        >>> X = np.arange(12.0).reshape(6, 2)
        >>> data = ProbeData(X, ["a", "b"] * 3, groups=[0, 0, 1, 1, 2, 2])
        >>> data.kind, data.n_groups, data.matrix(Place("X"), [4, 0]).tolist()
        ('binary', 3, [[8.0, 9.0], [0.0, 1.0]])
    """

    y: Array
    """[rows] labels, or [rows, labels] of 0 and 1 or of numbers."""
    kind: str
    """``binary``, ``multiclass``, ``multilabel`` or ``regression``."""
    groups: Int[np.ndarray, " rows"]
    """Number of the sentence, document or entity of each row; never on both sides of a split."""
    group_names: Array
    """What each of those numbers stands for."""
    types: Array | None
    """[rows] of str, for control tasks; None where rows have no type."""
    type_name: str
    """What types are, such as ``word form``."""
    words: Array | None
    """[rows]: the word or the text that each row is; None where nobody knows."""
    label: str | None
    """What labels say, such as ``upos``."""
    source: Source
    """The model that made the features."""
    remake: Callable[[Any], ProbeData] | None
    """Reads the same rows with another model; None where that cannot be done."""
    model: Any
    """The model, where it is known: `baseline` draws its random twin."""
    random_twin: ProbeData | None
    """The same rows read by a random model, where nobody can draw one; None otherwise."""
    notes: Mapping[str, Any]
    """What happened on the way: how many words were cut off, had no label, ..."""

    def __init__(
        self,
        X: Any,
        y: Any,
        groups: Any = None,
        *,
        kind: str | None = None,
        types: Any = None,
        type_name: str = "type",
        words: Any = None,
        label: str | None = None,
        source: Source | None = None,
        baselines: Mapping[str, Any] | None = None,
        remake: Callable[[Any], ProbeData] | None = None,
        model: Any = None,
        random_twin: ProbeData | None = None,
        notes: Mapping[str, Any] | None = None,
    ) -> None:
        """Check that everything has as many rows.

        Args:
            X: [rows, features], in memory or mapped, whose place is then ``Place("X")``; or these
                by place.
            y: Labels: see :func:`probes.data.labels.read_labels`.
            groups: One value a row, such as its sentence's number; None for a group of its own.
            kind: What labels are, where it cannot be told: ``regression`` of whole numbers.
            types: One type a row, such as its word form: control tasks label types.
            type_name: What types are.
            words: What each row is, for messages and tables.
            label: What labels say.
            source: Which model made the features.
            baselines: ``embeddings``: [rows, features] to compare with.
            remake: Reads the same rows with another model.
            model: Its random twin is a baseline, if ``remake`` is given too.
            random_twin: The same rows and places, read by a model with random weights.
            notes: Counts to be remembered.

        Raises:
            ProbeError: Different numbers of rows, no rows, missing or mixed labels, one class only.
        """
        y, kind = read_labels(y, kind)
        given = X if isinstance(X, Mapping) else {Place("X"): X}
        if not given:
            raise ProbeError("there are no features: X holds no place")
        # Labels that are too few would make groups look too many.
        columns = {place: as_column(x, len(y), str(place)) for place, x in given.items()}
        codes, names = read_groups(groups, len(y))
        set_all(
            self,
            y=y,
            kind=kind,
            groups=codes,
            group_names=names,
            types=None if types is None else one_column(types, len(y), "types").astype(str),
            type_name=type_name,
            words=None if words is None else one_column(words, len(y), "words"),
            label=label,
            source=source or Source(),
            remake=remake,
            model=model,
            random_twin=random_twin,
            notes=dict(notes or {}),
            _columns=columns,
            _baselines={name: as_column(x, len(y), name) for name, x in (baselines or {}).items()},
            _rows=None,
        )
        if random_twin is not None:
            check_twin(self, random_twin)

    if TYPE_CHECKING:
        _columns: Mapping[Place, Column]
        _baselines: Mapping[str, Column]
        _rows: Rows | None

    @property
    def places(self) -> tuple[Place, ...]:
        """Where there are features, in order."""
        return tuple(self._columns)

    @property
    def n_rows(self) -> int:
        """How many rows there are."""
        return len(self.y)

    @property
    def n_groups(self) -> int:
        """How many groups the rows are in."""
        return len(np.unique(self.groups))

    @property
    def classes(self) -> Array:
        """The classes in sorted order; of several labels their numbers; none for regression."""
        if self.kind == "regression":
            return np.array([])
        return np.arange(self.y.shape[1]) if self.y.ndim == 2 else np.unique(self.y)

    def __len__(self) -> int:
        return self.n_rows

    def __repr__(self) -> str:
        from probes.data.describing import describe

        return describe(self)

    def matrix(self, place: Place | str, rows: Any = None) -> Float[np.ndarray, "rows width"]:
        """Return the features of one place: a copy, contiguous, float32 or float64.

        Args:
            place: One of ``places``, or what it is called, such as ``"resid_post 3"``.
            rows: Numbers, a slice or a mask of rows; None for all.

        Raises:
            ProbeError: There is no such place or row, or a feature read is NaN or infinite.
        """
        known = {str(one): one for one in self.places}
        place = known.get(place, Place(place)) if isinstance(place, str) else place
        if place not in self._columns:
            raise ProbeError(
                f"there are no features of {place!s}{nearest(str(place), known)}; there are "
                f"{listed(known)}"
            )
        return self._read(self._columns[place], rows, str(place))

    def baseline(self, name: str, *, seed: int = 0) -> Array | ProbeData | None:
        """Return what a probe's features are to be compared with, or None where there is none.

        Args:
            name: ``embeddings``: [rows, features], the token embeddings of each row, pooled as its
                features are; ``random-init``: the same data read by the model's random twin.
            seed: Draws the twin's weights, unless the data came with a twin.

        Raises:
            ProbeError: Another name, or a feature that is NaN or infinite.
        """
        if name not in BASELINES:
            raise ProbeError(
                f"no baseline is called {name!r}{nearest(name, BASELINES)}; there are "
                f"{', '.join(BASELINES)}"
            )
        if name == "embeddings":
            column = self._baselines.get(name)
            return None if column is None else self._read(column, None, name)
        return twin_data(self, seed)

    def select(self, sites: Any = None, layers: Any = None, heads: Any = None) -> ProbeData:
        """Return a view of some places.

        Args:
            sites: Names; None for all.
            layers: Numbers; negative ones count from the last layer that there is.
            heads: Numbers.

        Raises:
            ProbeError: There is no such site, layer or head, or nothing of all of them.
        """
        chosen = pick_places(self.places, sites, layers, heads)
        view = copy.copy(self)
        columns = {place: self._columns[place] for place in chosen}
        set_all(view, _columns=columns, **self._others(lambda d: d.select(sites, layers, heads)))
        return view

    def take(self, rows: Any) -> ProbeData:
        """Return a view of some rows; its kind and classes stay, even if some have no row.

        Args:
            rows: Numbers, a slice or a mask.

        Raises:
            ProbeError: There is no such row, or none is taken.
        """
        picked = pick_rows(rows, self.n_rows)
        if not len(picked):
            raise ProbeError("no rows are taken: the data would be empty")
        view = copy.copy(self)
        set_all(
            view,
            y=self.y[picked],
            groups=self.groups[picked],
            types=None if self.types is None else self.types[picked],
            words=None if self.words is None else self.words[picked],
            **self._others(lambda data: data.take(picked)),
            _rows=picked if self._rows is None else self._rows[picked],
        )
        return view

    def noted(self, **notes: Any) -> ProbeData:
        """Return a view with more notes."""
        view = copy.copy(self)
        set_all(view, notes={**self.notes, **notes}, **self._others(lambda d: d.noted(**notes)))
        return view

    def to_dataframe(self) -> pd.DataFrame:
        """Return labels, groups, types and words as a pandas table, one row each."""
        from probes.data.describing import table

        return table(self)

    def _read(self, column: Column, rows: Any, what: str) -> Array:
        picked = None if rows is None else pick_rows(rows, self.n_rows)
        if self._rows is not None:
            picked = self._rows if picked is None else self._rows[picked]
        X = column.read(picked)
        bad = rows_not_finite(X)
        if len(bad):
            row = int(bad[0] if rows is None else pick_rows(rows, self.n_rows)[bad[0]])
            word = "" if self.words is None else f" ({str(self.words[row])!r:.60})"
            more = f", and in {len(bad) - 1} more rows" if len(bad) > 1 else ""
            raise ProbeError(
                f"{what}, row {row}{word}: a feature is NaN or infinite{more}; leave such rows out "
                "with take()"
            )
        return X

    def _others(self, change: Callable[[ProbeData], ProbeData]) -> dict[str, Any]:
        """Return the other models' readings of these rows, changed as these are."""
        remake, twin = self.remake, self.random_twin
        return {
            "remake": None if remake is None else lambda model: change(remake(model)),
            "random_twin": None if twin is None else change(twin),
        }


def set_all(data: ProbeData, **values: Any) -> None:
    """Set fields of data that is being made."""
    for name, value in values.items():
        object.__setattr__(data, name, value)
