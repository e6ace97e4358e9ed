"""A ProbeCard as plain JSON values, and back."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from neoscope.errors import ProbeError
from probes.data.places import Place, Source
from probes.keeping.card import ProbeCard
from probes.keeping.json_values import decode, encode

_SOURCE = ("model", "model_name", "pool", "more")
_REST = ("label", "n_rows", "n_groups", "metrics", "version", "notes")


def record_of(card: ProbeCard | None) -> dict[str, Any] | None:
    """Return a card as plain JSON values.

    Raises:
        ProbeError: It holds something that JSON has no word for; says where.
    """
    if card is None:
        return None
    place, source = card.place, card.source
    return {
        "place": {"site": place.site, "layer": place.layer, "head": place.head},
        "source": {k: encode(getattr(source, k), f"card_.source.{k}") for k in _SOURCE},
        **{name: encode(getattr(card, name), f"card_.{name}") for name in _REST},
    }


def card_of(record: Mapping[str, Any] | None) -> ProbeCard | None:
    """Return the card that :func:`record_of` wrote.

    Raises:
        ProbeError: It is none.
    """
    if record is None:
        return None
    try:
        place = Place(**record["place"])
        source = Source(**{k: decode(record["source"][k], f"card.source.{k}") for k in _SOURCE})
        rest = {name: decode(record[name], f"card.{name}") for name in _REST}
    except (KeyError, TypeError) as error:
        raise ProbeError(f"the card cannot be read: {error}") from error
    return ProbeCard(place=place, source=source, **rest)
