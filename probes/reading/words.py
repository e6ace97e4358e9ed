"""Words and other spans of texts with a label each: a row is a word, aligned to sub-word tokens."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from neoscope.errors import ProbeError, nearest
from probes.data.columns import Column
from probes.data.labels import (
    as_list,
    is_missing,
    read_groups,
    read_labels,
    repeatable,
    same_length,
)
from probes.reading.alignment import token_ranges
from probes.reading.extraction import Extraction, check_texts, same_text_groups, with_pool

if TYPE_CHECKING:
    from probes.data.dataset import ProbeData

Array = NDArray[Any]
ALIGNMENTS = ("last", "first", "mean")


@dataclass(frozen=True, eq=False)
class _Labelled:
    """The spans that have a label, one after another."""

    text: NDArray[np.int64]
    start: NDArray[np.int64]
    stop: NDArray[np.int64]
    labels: list[Any]
    types: list[str]
    words: list[str]
    unlabelled: int

    def kept(self, rows: NDArray[np.int64]) -> _Labelled:
        """Return some of them."""
        labels, types, words = (
            [items[row] for row in rows.tolist()] for items in (self.labels, self.types, self.words)
        )
        text, start, stop = self.text[rows], self.start[rows], self.stop[rows]
        return _Labelled(text, start, stop, labels, types, words, self.unlabelled)


@dataclass(frozen=True, eq=False)
class SpanReading:
    """Labelled spans of texts, and how they are read; see :meth:`ProbeData.from_spans`."""

    texts: Any
    """What the model reads."""
    spans: Any
    """Of each text, characters [start, stop) of each of its words."""
    labels: Any
    """Of each text, one label a span; None where there is none."""
    extraction: Extraction
    """What is read of the model."""
    align: str = "last"
    """Which tokens of a span make its features: ``last``, ``first`` or the ``mean``."""
    groups: Any = None
    """One a text; None for one of each text's own, equal texts sharing theirs."""
    types: Any = None
    """Of each text, one type a span; None for what stands there."""
    type_name: str = "word form"
    """What types are."""
    label: str | None = None
    """What labels say."""
    kind: str | None = None
    """What labels are."""
    what: str = "sentence"
    """What a text is called in errors."""

    def __post_init__(self) -> None:
        """Keep what can be gone through only once: another model reads it again."""
        for name in ("texts", "groups"):
            object.__setattr__(self, name, repeatable(getattr(self, name)))
        for name in ("spans", "labels", "types"):
            given = repeatable(getattr(self, name))
            if isinstance(given, list | tuple):
                given = [repeatable(row) for row in given]
            object.__setattr__(self, name, given)

    @property
    def unit(self) -> str:
        """What a span is called in errors."""
        return "word" if self.what == "sentence" else "span"

    def read(self, model: Any) -> ProbeData:
        """Return data of a model.

        Args:
            model: The model.

        Raises:
            ProbeError: Numbers that do not agree, or a span without a token.
        """
        from probes.data.dataset import ProbeData

        if self.align not in ALIGNMENTS:
            raise ProbeError(
                f"align={self.align!r} is unknown{nearest(str(self.align), ALIGNMENTS)}; known: "
                f"{', '.join(ALIGNMENTS)}"
            )
        texts = check_texts(self.texts)
        rows = self._flat(texts)
        # What is wrong is said before a model runs for minutes.
        read_labels(rows.labels, self.kind)
        groups = same_text_groups(texts) if self.groups is None else self.groups
        codes, names = read_groups(groups, len(texts))
        found = self.extraction.read(model, texts, "none")
        assert found.tokens is not None
        first, stop, read = token_ranges(
            rows.text,
            rows.start,
            rows.stop,
            found.tokens,
            texts,
            cut=found.cut,
            what=self.what,
            unit=self.unit,
        )
        kept = rows.kept(read)

        def aligned(column: Column) -> Column:
            if self.align == "mean":
                return Column(column.open, column.part, first, stop)
            return Column(column.open, column.part, first if self.align == "first" else stop - 1)

        return ProbeData(
            {place: aligned(column) for place, column in found.columns.items()},
            kept.labels,
            names[codes[kept.text]],
            kind=self.kind,
            types=kept.types,
            type_name=self.type_name,
            words=kept.words,
            label=self.label,
            source=with_pool(found.source, f"word {self.align}"),
            baselines={"embeddings": aligned(found.embeddings)},
            remake=self.read,
            model=model,
            notes={
                "n_texts": len(texts),
                "unlabelled": rows.unlabelled,
                "cut_off": len(rows.labels) - len(kept.labels),
            },
        )

    def _flat(self, texts: Sequence[str]) -> _Labelled:
        what, unit = self.what, self.unit
        all_spans, all_labels = as_list(self.spans, "spans"), as_list(self.labels, "labels")
        all_types = None if self.types is None else as_list(self.types, "types")
        same_length(texts, all_spans, "texts", "lists of spans")
        same_length(texts, all_labels, "texts", "lists of labels")
        if all_types is not None:
            same_length(texts, all_types, "texts", "lists of types")
        rows: list[tuple[int, int, int]] = []
        kept: tuple[list[Any], list[str], list[str]] = ([], [], [])
        unlabelled = 0
        for number, (text, places, values) in enumerate(
            zip(texts, all_spans, all_labels, strict=True)
        ):
            values = as_list(values, f"labels of {what} {number}")
            forms = [text[start:stop] for start, stop in places]
            names = forms if all_types is None else as_list(all_types[number], f"types of {what}")
            for other, name in ((values, "labels"), (names, "types")):
                if len(other) != len(forms):
                    raise ProbeError(
                        f"{what} {number} has {len(forms)} {unit}s, but {len(other)} {name}"
                    )
            for k, (start, stop) in enumerate(places):
                if not 0 <= start < stop <= len(text):
                    raise ProbeError(
                        f"{what} {number}, {unit} {k}: characters [{start}, {stop}) are not in "
                        f"its text of {len(text)}"
                    )
                if is_missing(values[k]):
                    unlabelled += 1
                    continue
                rows.append((number, int(start), int(stop)))
                for items, item in zip(kept, (values[k], names[k], forms[k]), strict=True):
                    items.append(item)
        if not rows:
            raise ProbeError(f"no {unit} has a label ({unlabelled} without): the data is empty")
        text, start, stop = np.array(rows, np.int64).T
        return _Labelled(text, start, stop, *kept, unlabelled)


def locate(
    sentences: Any, texts: Any = None, what: str = "sentence"
) -> tuple[list[str], list[list[tuple[int, int]]]]:
    """Return texts and the characters [start, stop) of each word in them.

    Args:
        sentences: The words of each sentence, in order.
        texts: The sentences as they are written; None joins words by a space.
        what: What a sentence is called in errors.

    Raises:
        ProbeError: A sentence or a word is empty, or a word does not stand in its text where it
            should.

    Example:
        >>> locate([["Don", "'t", "!"]], ["Don't !"])
        (["Don't !"], [[(0, 3), (3, 5), (6, 7)]])
    """
    lists = [
        as_list(words, f"{what} {i}") for i, words in enumerate(as_list(sentences, "sentences"))
    ]
    for number, words in enumerate(lists):
        if not words and texts is None:
            raise ProbeError(f"{what} {number} has no words; leave it out")
        for k, word in enumerate(words):
            if not isinstance(word, str) or not word.strip():
                raise ProbeError(f"{what} {number}, word {k} is {word!r}, which holds no letter")
    if texts is None:
        written = [" ".join(words) for words in lists]
    else:
        written = check_texts(texts)
        same_length(lists, written, "sentences", "texts")
    return written, [
        _locate(words, text, f"{what} {number}")
        for number, (words, text) in enumerate(zip(lists, written, strict=True))
    ]


def _locate(words: Sequence[str], text: str, where: str) -> list[tuple[int, int]]:
    spans, at = [], 0
    for k, word in enumerate(words):
        start = at
        while not text.startswith(word, start) and text[start : start + 1].isspace():
            start += 1
        if not text.startswith(word, start):
            raise ProbeError(
                f"{where}, word {k} ({word!r:.40}) does not stand at character {start} of its "
                f"text, which goes on {text[start : start + 20]!r}"
            )
        at = start + len(word)
        spans.append((start, at))
    return spans
