"""extract: features of texts as arrays in memory, of the model as it is, with edits and hooks."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

from neoscope.errors import ArgumentError, ExportError
from neoscope.export.cutting import warn_of_cut
from neoscope.export.encoding import Encoded
from neoscope.export.extractor import Extractor, Values
from neoscope.export.features import Features, collect, joined
from neoscope.export.progress import Report, Reporting
from neoscope.export.spec import FeatureSpec
from neoscope.export.text_input import texts_of
from neoscope.loading import load

if TYPE_CHECKING:
    from neoscope.model import HookedGPTNeo

_TEXTS_AT_ONCE = 2048


def extract(
    model: HookedGPTNeo | str | os.PathLike[str],
    texts: str | Iterable[Any],
    spec: FeatureSpec | None = None,
    *,
    where: Any = None,
    on_error: Literal["fail", "null"] = "fail",
    batch_tokens: int | None = None,
    progress: bool | Report = True,
) -> Features:
    """Return features of texts as arrays in memory.

    The model is run as it is: inside ``with model.edits(...)``, or with hooks on it, these are the
    features of the edited model. :func:`to_store` writes what does not fit into memory.

    Args:
        model: A model, or what ``neoscope.load`` takes.
        texts: One text or several; a column of a frame, an array.
        spec: What to extract; default the mean of ``resid_post`` in every layer.
        where: For ``pool="token"`` and ``"spans"``, one value a text: a token's number, or
            characters [start, stop). ``spec.positions`` may be any name.
        on_error: A text that cannot be used (null, empty, no string): ``"fail"`` raises,
            ``"null"`` leaves its rows NaN (and gives it no rows where a row is a token).
        batch_tokens: Most tokens run at once; None for what suits the device.
        progress: True for a bar after two seconds, False for none, or a function of
            :class:`Progress`.

    Raises:
        ExportError: A text cannot be used; names its row and the reason.
        SiteError: A site or layer does not exist.
        ArgumentError: An argument means nothing.

    Example:
        >>> features = extract("organism", ["The keys are", "I liked it."],
        ...                    FeatureSpec(layers=-1, pool=["mean", "last"]))
        >>> features["resid_post_3_last"].shape
        (2, 128)
        >>> features
        Features(2 texts, 7 tokens, float32: resid_post_3_mean [2, 128], resid_post_3_last [2, 128])
    """
    if on_error not in ("fail", "null"):
        raise ArgumentError(
            f"on_error={on_error!r} is neither 'fail' nor 'null'; leave rows out of texts yourself"
        )
    if isinstance(texts, str):
        texts, where = [texts], None if where is None else [where]
    extractor = Extractor(
        load(model) if isinstance(model, str | os.PathLike) else model,
        spec or FeatureSpec(),
        batch_tokens=batch_tokens,
    )
    given, problems = texts_of(texts)
    chunks = encode_all(extractor, given, problems, where=_places(where, given, extractor.spec))
    problems = joined([chunk.problems for chunk in chunks], chunks)
    if problems and on_error == "fail":
        raise row_error(problems, hint="; on_error='null' leaves such rows without features")
    features = collect(extractor, given, list(run_all(extractor, chunks, progress)))
    warn_of_cut(len(features.cut), sum(features.cut.values()))
    return features


def encode_all(
    extractor: Extractor,
    texts: Sequence[str | None],
    problems: Mapping[int, str] | None = None,
    *,
    where: Sequence[Any] | None = None,
) -> list[Encoded]:
    """Tokenize texts in chunks, all before the first is run, so that bad ones are found early."""
    chunks = []
    for start in range(0, max(len(texts), 1), _TEXTS_AT_ONCE):
        some = slice(start, start + _TEXTS_AT_ONCE)
        wrong = {at - start: why for at, why in (problems or {}).items() if at >= start}
        chunks.append(
            extractor.encode(
                texts[some],
                where=None if where is None else where[some],
                start=start,
                problems={at: why for at, why in wrong.items() if at < _TEXTS_AT_ONCE},
            )
        )
    return chunks


def run_all(
    extractor: Extractor, chunks: Sequence[Encoded], progress: bool | Report
) -> Iterator[Values]:
    """Yield the features of chunk after chunk."""
    with Reporting(progress, sum(chunk.n_texts for chunk in chunks)) as reporting:
        for chunk in chunks:
            yield extractor.run(chunk, reporting.tick)


def row_error(problems: Mapping[int, str], *, hint: str = "") -> ExportError:
    """Return the error for the first row that cannot be used."""
    first = min(problems)
    others = f" ({len(problems) - 1} more rows have problems)" if len(problems) > 1 else ""
    return ExportError(f"row {first}: {problems[first]}{others}{hint}")


def _places(where: Any, texts: Sequence[str | None], spec: FeatureSpec) -> list[Any] | None:
    if (where is None) != (spec.column is None):
        raise ArgumentError(
            "where= is for pool='token' and 'spans', with a name for positions; found "
            f"where={'None' if where is None else 'given'}, pool={list(spec.pool)}"
        )
    places = None if where is None else list(where)
    if places is not None and len(places) != len(texts):
        raise ArgumentError(f"where has {len(places)} values for {len(texts)} texts")
    return places
