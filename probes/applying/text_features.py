"""Texts read with a model exactly as a probe's card says that its training texts were."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from neoscope.errors import ProbeError
from neoscope.export import FeatureSpec, TruncationWarning, extract
from probes.applying.matching import ANY, check_model_of
from probes.data.labels import as_list
from probes.keeping.card import ProbeCard
from probes.reading.extraction import check_model
from probes.reading.texts import POOLS

Report = Callable[[Any], None]

_SPEC = ("dtype", "max_length", "normalize", "overlap", "prepend_bos", "truncation")
_BARE = "X"


@dataclass(frozen=True, eq=False)
class TextFeatures:
    """What a probe reads of texts."""

    values: NDArray[Any]
    """[texts, features]; NaN where a text has a problem."""
    problems: Mapping[int, str]
    """Number of a text that could not be read, to the reason."""
    cut: Mapping[int, int]
    """Number of a text that was too long, to the number of tokens that were not read."""


def listed_texts(texts: Any) -> list[Any]:
    """Return texts, one or several, in a list: of a column of a frame or an array too."""
    return [texts] if isinstance(texts, str) else as_list(texts, "texts")


def text_features(
    probe: Any,
    model: Any,
    texts: list[Any],
    *,
    any_source: bool = False,
    on_error: str = "fail",
    batch_tokens: int | None = None,
    progress: bool | Report = True,
    warn_of_cut: bool = True,
) -> TextFeatures:
    """Return what a probe reads of texts.

    Args:
        probe: Its card says the site, layer, head, pooling and how texts become tokens.
        model: The model that it was trained on.
        texts: One string each.
        any_source: Take another or an edited model too.
        on_error: ``fail``, or ``null`` to leave out texts that cannot be read.
        batch_tokens: Most tokens run at once; None for what suits the device.
        progress: True for a bar after two seconds, False for none, or a function.
        warn_of_cut: Warn of texts that were longer than what is read.

    Raises:
        ProbeError: The probe does not say what it reads, or was trained on another model.
        ExportError: A text cannot be read; names its row.
    """
    card = _card(probe)
    check_model(model)
    _check_model(probe, card, model, any_source=any_source)
    more = {name: card.source.more[name] for name in _SPEC if name in card.source.more}
    if (positions := card.source.more.get("positions")) is not None:
        more["positions"] = _positions(positions)
    layers = None if card.place.layer is None else [card.place.layer]
    spec = FeatureSpec(card.place.site, layers=layers, pool=str(card.source.pool), **more)
    with warnings.catch_warnings():
        if not warn_of_cut:
            warnings.simplefilter("ignore", TruncationWarning)
        read = extract(
            model,
            texts,
            spec,
            on_error=cast("Any", on_error),
            batch_tokens=batch_tokens,
            progress=progress,
        )
    return TextFeatures(_one_head(read[read.names[0]], card, model), read.problems, read.cut)


def _card(probe: Any) -> ProbeCard:
    card: ProbeCard | None = getattr(probe, "card_", None)
    if card is None or card.place.site == _BARE:
        raise ProbeError(
            "this probe does not say what it reads: it was trained on bare arrays. Extract the "
            "features yourself (neoscope.export.extract) and call probe.predict on them"
        )
    if card.source.pool not in POOLS:
        raise ProbeError(
            f"this probe reads {card.place} ({card.source.pool or 'unknown pooling'}), which is no "
            "row of a whole text; read words with ProbeData.from_words and use apply"
        )
    return card


def _positions(recorded: Any) -> Any:
    """Return the positions of a card as a FeatureSpec takes them."""
    if isinstance(recorded, dict) and "slice" in recorded:
        return slice(*recorded["slice"])
    if isinstance(recorded, list) and all(isinstance(one, int) for one in recorded):
        return recorded
    raise ProbeError(
        f"this probe reads certain positions of its texts ({recorded!r:.80}), which others "
        "need not have; extract the features yourself and use predict"
    )


def _check_model(probe: Any, card: ProbeCard, model: Any, *, any_source: bool) -> None:
    if any_source:
        return
    if model.is_edited and not card.source.more.get("edited"):
        raise ProbeError(
            "the model has hooks or edits in force, so its states are not those that the probe "
            f"was trained on; take them off, or {ANY}"
        )
    check_model_of(probe, model, edits=True)


def _one_head(values: NDArray[Any], card: ProbeCard, model: Any) -> NDArray[Any]:
    if values.ndim == 1:
        values = values[:, None]
    if card.place.head is None:
        return values
    heads = values.reshape(len(values), model.config.n_heads, -1)
    return np.ascontiguousarray(heads[:, card.place.head])
