"""Features: features of texts in memory, with what each column means."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from neoscope.errors import ExportError, nearest
from neoscope.export.derived import Derived
from neoscope.export.encoding import Encoded
from neoscope.export.extractor import Extractor, Values
from neoscope.export.spec import Feature, FeatureSpec
from neoscope.export.token_rows import token_rows
from neoscope.store.arrays import objects

if TYPE_CHECKING:
    import pandas

_MOST_SHOWN = 4


@dataclass(frozen=True, eq=False)
class Features:
    """Features of texts: columns of numbers, one row a text (for ``pool="none"`` a token)."""

    columns: Mapping[str, NDArray[Any]]
    """By name, as a store gives them: [texts, width], or [texts] of one number each; for
    ``pool="none"`` [tokens, width]. ``spans`` and patterns, whose rows differ in length, are arrays
    of arrays: of a text [spans, width], of a token of a pattern [heads x tokens of its text]."""
    meaning: Mapping[str, str]
    """What each column is, with its unit."""
    spec: FeatureSpec
    """What was asked for."""
    n_texts: int
    """How many texts there were, those without features included."""
    n_tokens: int
    """How many tokens of them were read."""
    problems: Mapping[int, str]
    """Text without features (NaN, or None) to the reason, for ``on_error="null"``."""
    cut: Mapping[int, int]
    """Text to the number of tokens that were cut off."""
    tokens: Mapping[str, NDArray[Any]] | None = None
    """For ``pool="none"``, of every row: ``text``, its number; ``token_index`` in it;
    ``token_id``; ``token_start`` and ``token_stop``, characters; ``token``, its text."""

    @property
    def names(self) -> tuple[str, ...]:
        """The columns, in order."""
        return tuple(self.columns)

    def __len__(self) -> int:
        """Return the number of rows: texts, or tokens for ``pool="none"``."""
        return self.n_tokens if self.spec.by_token else self.n_texts

    def __iter__(self) -> Iterator[str]:
        """Iterate over the names of the columns, as of a frame."""
        return iter(self.columns)

    def __contains__(self, name: object) -> bool:
        """Whether there is a column of that name."""
        return name in self.columns

    def __getitem__(self, name: str) -> NDArray[Any]:
        """Return one column.

        Raises:
            ExportError: There is none of that name.
        """
        if name not in self.columns:
            raise ExportError(
                f"no feature is called {name!r}{nearest(str(name), self.names)}; there are "
                f"{', '.join(self.names)}"
            )
        return self.columns[name]

    def to_dataframe(self) -> pandas.DataFrame:
        """Return a frame with one column a feature; rows of more than one number are arrays.

        Its index is the text's number; for ``pool="none"`` that of the row, and ``text`` is the
        first of the columns that say which token it is.
        """
        import pandas as pd

        columns = {**(self.tokens or {}), **self.columns}
        data = {name: list(a) if a.ndim > 1 else a for name, a in columns.items()}
        index = pd.RangeIndex(len(self), name=None if self.spec.by_token else "text")
        return pd.DataFrame(data, index=index)

    def __repr__(self) -> str:
        """Return one line: how many texts, and the columns with their shapes."""
        shown = [
            f"{name} {list(values.shape) if values.dtype != object else '[ragged]'}"
            for name, values in list(self.columns.items())[:_MOST_SHOWN]
        ]
        more = len(self.columns) - len(shown)
        texts = f"{self.n_texts} text{'s' * (self.n_texts != 1)}, {self.n_tokens} tokens"
        without = f", {len(self.problems)} without features" if self.problems else ""
        return (
            f"Features({texts}{without}, {self.spec.dtype}: {', '.join(shown)}"
            f"{f', and {more} more' if more else ''})"
        )


def collect(extractor: Extractor, texts: Sequence[str | None], ran: Sequence[Values]) -> Features:
    """Put the features of chunks of texts together.

    Args:
        extractor: What made them.
        texts: All texts; None where there is a problem.
        ran: Their features, chunk after chunk.
    """
    chunks = [values.encoded for values in ran]
    return Features(
        columns={f.name: _column(f, ran) for f in extractor.features},
        meaning={f.name: _meaning(f, extractor.spec) for f in extractor.features},
        spec=extractor.spec,
        n_texts=len(texts),
        n_tokens=sum(len(chunk.ids) for chunk in chunks),
        problems=joined([chunk.problems for chunk in chunks], chunks),
        cut=joined([chunk.cut for chunk in chunks], chunks),
        tokens=_tokens(extractor, texts, chunks) if extractor.spec.by_token else None,
    )


def joined(parts: Sequence[Mapping[int, Any]], chunks: Sequence[Encoded]) -> dict[int, Any]:
    """Put what is said of texts of chunks together, by the text's number among all."""
    starts = np.cumsum([0, *(chunk.n_texts for chunk in chunks)]).tolist()
    return {
        start + at: part[at]
        for start, part in zip(starts, parts, strict=False)
        for at in sorted(part)
    }


def _column(feature: Feature, ran: Sequence[Values]) -> NDArray[Any]:
    parts = [_rows(feature, values) for values in ran]
    return parts[0] if len(parts) == 1 else np.concatenate(parts)


def _rows(feature: Feature, values: Values) -> NDArray[Any]:
    data = values.features[feature.name]
    if feature.width is None:
        return objects(np.split(data, np.cumsum(values.sizes[feature.name]))[:-1])
    if feature.width == 1:
        data = data[:, 0]
    if feature.pool != "spans":
        return data
    places = values.encoded.places
    assert places is not None
    ends = np.cumsum([len(spans) for spans in places.spans])
    rows: list[Any] = np.split(data, ends)[:-1]
    return objects([None if i in values.encoded.problems else row for i, row in enumerate(rows)])


def _meaning(feature: Feature, spec: FeatureSpec) -> str:
    source = feature.source
    said = source.meaning if isinstance(source, Derived) else source.kind.meaning
    layer = "" if feature.layer is None else f", layer {feature.layer}"
    pooled = "every token" if feature.pool == "none" else f"{feature.pool} of the tokens"
    return f"{said}{layer}; {pooled}{', divided by its norm' if spec.normalize else ''}"


def _tokens(
    extractor: Extractor, texts: Sequence[str | None], chunks: Sequence[Encoded]
) -> dict[str, NDArray[Any]]:
    """Say which token each row is, and of which text."""
    starts = np.cumsum([0, *(chunk.n_texts for chunk in chunks)]).tolist()
    parts = [
        {
            "text": chunk.text + start,
            **token_rows(texts[start : start + chunk.n_texts], chunk, extractor.model.tokenizer),
        }
        for start, chunk in zip(starts, chunks, strict=False)
    ]
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
