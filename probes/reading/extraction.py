"""Extraction: what is read of a model for a probe, into memory or into a folder on disk."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from neoscope.errors import ArgumentError, ExportError, ProbeError, nearest
from probes.data.columns import Column
from probes.data.places import Place, Source
from probes.reading.names import read_name, split_heads

Array = NDArray[Any]
OPTIONS = (
    "prepend_bos",
    "max_length",
    "truncation",
    "overlap",
    "dtype",
    "batch_tokens",
    "progress",
)
_TOKEN_COLUMNS = ("id", "token_start", "token_stop")
_Read = tuple[Mapping[str, Callable[[], Array]], tuple[Array, Array, Array] | None, bool]
"""What opens each column; text and characters of tokens; whether texts were cut."""
_SHORT = 12
"""Letters of the fingerprint in a folder's name."""


@dataclass(frozen=True)
class Extracted:
    """Features of texts or of their tokens, by place."""

    columns: Mapping[Place, Column]
    """What was asked for."""
    embeddings: Column
    """The token embeddings, pooled likewise."""
    source: Source
    """The model, and how it read the texts."""
    tokens: tuple[Array, Array, Array] | None
    """Where a row is a token: its text's number, and its characters [start, stop)."""
    cut: bool
    """Whether a text was longer than the model reads."""


@dataclass(frozen=True)
class Extraction:
    """What is read of a model, and how; everything but the texts and their pooling."""

    site: str | Sequence[str] = "resid_post"
    layers: Any = "all"
    heads: bool = False
    folder: str | os.PathLike[str] | None = None
    prepend_bos: bool = False
    max_length: int | None = None
    truncation: str = "truncate"
    overlap: int | None = None
    dtype: str = "float32"
    batch_tokens: int | None = None
    progress: Any = True

    @classmethod
    def of(cls, options: Mapping[str, Any], **chosen: Any) -> Extraction:
        """Return an extraction with options that a caller gave.

        Args:
            options: Any of ``OPTIONS``.
            chosen: The other fields.

        Raises:
            ProbeError: An option is unknown.
        """
        for name in options:
            if name not in OPTIONS:
                known = (*chosen, "groups", "label", "kind", *OPTIONS)
                raise ProbeError(
                    f"there is no option {name!r}{nearest(name, known)}; there are "
                    f"{', '.join(known)}"
                )
        return cls(**chosen, **options)

    def read(self, model: Any, texts: Sequence[str], pool: str) -> Extracted:
        """Run a model over texts; nothing is run again that lies in the folder already.

        Args:
            model: The model.
            texts: What it reads.
            pool: How tokens of a text are pooled; ``none`` for one row a token.

        Raises:
            ProbeError: It is no model, or no site is named.
            ExportError: A text cannot be read; names its row.
        """
        from neoscope.export import FeatureSpec

        check_model(model)
        sites = [self.site] if isinstance(self.site, str) else list(self.site)
        if not sites:
            raise ProbeError("site is empty: name at least one")
        spec = FeatureSpec(
            sites=(*sites, *(() if "embed" in sites else ("embed",))),
            layers=None if isinstance(self.layers, str) and self.layers == "all" else self.layers,
            pool=pool,
            **{name: getattr(self, name) for name in OPTIONS[:5]},
        )
        source = self._source(model, pool)
        with _own_advice():
            if self.folder is None:
                opened, tokens, cut = self._into_memory(model, texts, spec)
            else:
                opened, tokens, cut = self._into_folder(model, texts, spec, str(source.model))
        places = {read_name(name)[0]: array for name, array in opened.items()}
        embeddings = Column(places[Place("embed")])
        if "embed" not in sites:
            del places[Place("embed")]
        columns = {place: Column(array) for place, array in places.items()}
        if self.heads:
            columns = split_heads(columns, model.config.n_heads)
        return Extracted(columns, embeddings, source, tokens, cut)

    def _source(self, model: Any, pool: str) -> Source:
        names = ("prepend_bos", "max_length", "truncation", "overlap", "dtype")
        how = {name: getattr(self, name) for name in names}
        if model.is_edited:
            # No fingerprint tells: it is of the weights.
            how["edited"] = True
        return Source(model.fingerprint(), model.cfg.model_name, pool, how)

    def _into_memory(self, model: Any, texts: Sequence[str], spec: Any) -> _Read:
        from neoscope.export import extract

        features = extract(
            model, texts, spec, batch_tokens=self.batch_tokens, progress=self.progress
        )
        said = features.tokens
        tokens = None
        if said is not None:
            tokens = (said["text"], said["token_start"], said["token_stop"])
        opened = {name: partial(_as_matrix, features[name], name) for name in features.names}
        for array in opened.values():
            array()  # what has no width is said before anything is done with it
        return opened, tokens, bool(features.cut)

    def _into_folder(self, model: Any, texts: Sequence[str], spec: Any, fingerprint: str) -> _Read:
        from neoscope.export import to_store

        # A store holds what one model made; its random twin has its own beside it.
        folder = Path(self.folder or "").expanduser() / fingerprint[:_SHORT]
        folder.parent.mkdir(parents=True, exist_ok=True)
        report = to_store(
            model,
            list(texts),
            folder,
            spec,
            file_format="npy",
            batch_tokens=self.batch_tokens,
            progress=self.progress,
            kind="activations",
        )
        store = report.store
        tokens = None
        if spec.by_token:
            table = store.to_arrow(list(_TOKEN_COLUMNS))
            text, start, stop = (table[name].to_numpy() for name in _TOKEN_COLUMNS)
            tokens = (text, start, stop)
        opened = {name: partial(stored_matrix, store, name) for name in store.features}
        return opened, tokens, bool(report.truncated)


@contextmanager
def _own_advice() -> Iterator[None]:
    """Leave out what an error advises that only neoscope.export's own functions take."""
    try:
        yield
    except (ExportError, ArgumentError) as error:
        said = str(error).replace(", or pool='none'", "")
        said, hint, _ = said.partition("; on_error=")
        if said == str(error):
            raise
        raise type(error)(said + ("; leave such texts out" if hint else "")) from None


def check_model(model: Any) -> None:
    """See that something is a model, and no name of one.

    Raises:
        ProbeError: It is something else.
    """
    if hasattr(model, "run_with_cache") and hasattr(model, "fingerprint"):
        return
    named = isinstance(model, str | os.PathLike)
    found = f"{os.fspath(model)!r:.60}" if named else f"'{type(model).__name__}'"
    hint = f"neoscope.load({os.fspath(model)!r:.60})" if named else "neoscope.load(...)"
    raise ProbeError(f"expected a model, found {found}: load one with {hint}")


def stored_matrix(store: Any, name: str) -> Array:
    """Return a column of a store, mapped: [rows, width].

    Args:
        store: A FeatureStore.
        name: The column.
    """
    return _as_matrix(store.to_numpy(name, mmap=True), name)


def _as_matrix(values: Array, name: str) -> Array:
    if values.dtype.kind not in "f":
        raise ProbeError(
            f"{name}: rows have different numbers of values, which no probe reads; of patterns "
            "take attn_to_first, attn_to_previous or attn_entropy"
        )
    return values[:, None] if values.ndim == 1 else values


def with_pool(source: Source, pool: str) -> Source:
    """Return a source that says how rows were pooled.

    Args:
        source: The model and how it read.
        pool: What rows are.
    """
    return dataclasses.replace(source, pool=pool)


def check_texts(texts: Any, what: str = "texts") -> list[str]:
    """Return texts as a list.

    Raises:
        ProbeError: It is no list of strings, or is empty.
    """
    from probes.data.labels import as_list

    items = as_list(texts, what)
    if not items:
        raise ProbeError(f"there are no {what}: the data is empty")
    for row, text in enumerate(items):
        if not isinstance(text, str):
            raise ProbeError(f"{what}: row {row} is {type(text).__name__}, not a string")
    return items


def same_text_groups(texts: Sequence[str]) -> Array:
    """Return a group for each text, shared by texts that are equal: a twin would leak.

    Example:
        >>> same_text_groups(["a", "b", "a"]).tolist()
        [0, 1, 0]
    """
    numbers: dict[str, int] = {}
    return np.array([numbers.setdefault(text, len(numbers)) for text in texts], np.int64)
