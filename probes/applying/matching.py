"""A probe refuses features that it was not trained on: of another model, site, layer or pooling."""

from __future__ import annotations

from typing import Any

from neoscope.errors import ProbeError
from probes.data.places import Place, Source
from probes.keeping.card import ProbeCard

_OPTIONS = ("normalize", "overlap", "positions", "prepend_bos", "truncation")
"""What changes the numbers, of all that a source remembers, where both sides say it."""
_SHOWN = 12
ANY = "any_source=True applies it all the same"


def check_source(
    probe: Any, place: Place, source: Source, *, any_source: bool = False, hint: str = ANY
) -> None:
    """Check that features come from where a probe was trained.

    What the probe's card says must be said of the features too, and be the same: the model's
    fingerprint and whether it was edited, the site, layer and head, and the pooling. A probe
    without a card, as one that was fitted on bare arrays, was promised nothing and takes
    everything. Of two that were edited, nobody knows whether the edits were the same.

    Args:
        probe: Its ``card_`` says what it was trained on.
        place: Where the features come from.
        source: What made them.
        any_source: Check nothing.
        hint: How to do so, for the error.

    Raises:
        ProbeError: They do not; says both sides.
    """
    card: ProbeCard | None = getattr(probe, "card_", None)
    if any_source or card is None:
        return
    wrong = differences(card, place, source)
    if wrong:
        raise ProbeError(
            f"this probe was trained on {described(card.place, card.source)}, and these features "
            f"are {described(place, source)}: {'; '.join(wrong)}. Its numbers mean nothing there; "
            f"{hint}"
        )


def check_model_of(
    probe: Any,
    model: Any,
    *,
    place: Place | None = None,
    edits: bool = False,
    any_source: bool = False,
) -> None:
    """Check that a model is the one that a probe was trained on.

    Args:
        probe: Its ``card_`` says what it was trained on; without one anything is taken.
        model: The model.
        place: Where the probe is to be used; None for where it was trained.
        edits: Whether it must be edited if the probe was trained on an edited model, and only then.
        any_source: Check nothing.

    Raises:
        ProbeError: It is another model or place; says both sides.
    """
    card: ProbeCard | None = getattr(probe, "card_", None)
    if any_source or card is None:
        return
    name = getattr(getattr(model, "cfg", None), "model_name", None)
    more = dict(card.source.more)
    if edits:
        more["edited"] = model.is_edited
    source = Source(str(model.fingerprint()), name, card.source.pool, more)
    check_source(probe, card.place if place is None else place, source)


def differences(card: ProbeCard, place: Place, source: Source) -> list[str]:
    """Return in words what sets features apart from those that a card tells of.

    Args:
        card: Of a probe.
        place: Where the features come from.
        source: What made them.
    """
    trained = card.source
    wrong = []
    if trained.model is not None and source.model != trained.model:
        found = "an unknown model" if source.model is None else "another model's"
        wrong.append(
            f"{found} instead of fingerprint {trained.model[:_SHOWN]}{_namesake(card, source)}"
        )
    for name in ("site", "layer", "head"):
        ours, theirs = getattr(card.place, name), getattr(place, name)
        if ours != theirs:
            wrong.append(f"{name} {theirs} instead of {ours}")
    if trained.pool is not None and source.pool != trained.pool:
        wrong.append(f"pooled by {source.pool} instead of {trained.pool}")
    edited = bool(source.more.get("edited"))
    if edited != bool(trained.more.get("edited")):
        wrong.append(
            f"an {'' if edited else 'un'}edited model instead of the "
            f"{'un' if edited else ''}edited one"
        )
    for name in _OPTIONS:
        both = name in trained.more and name in source.more
        if both and trained.more[name] != source.more[name]:
            wrong.append(f"{name}={source.more[name]!r} instead of {trained.more[name]!r}")
    return wrong


def _namesake(card: ProbeCard, source: Source) -> str:
    """Say why a model of the same name is another one."""
    name = card.source.model_name
    if source.model is None or name is None or name != source.model_name:
        return ""
    return (
        f" (both are called {name!r}, but a model whose weights are of another dtype, of another "
        "revision or were changed is another model: load it as it was loaded for training)"
    )


def described(place: Place, source: Source) -> str:
    """Return where features come from, in words.

    Args:
        place: Where they are read.
        source: What made them.

    Example:
        >>> described(Place("resid_post", 3), Source(model="0123456789abcdef", pool="mean"))
        'resid_post 3 (mean) of a model (fingerprint 0123456789ab)'
    """
    pool = "" if source.pool is None else f" ({source.pool})"
    if source.model is None:
        return f"{place}{pool} of {source.model_name or 'nobody knows which model'}"
    name = source.model_name or "a model"
    if source.more.get("edited"):
        name += " with hooks or edits in force"
    return f"{place}{pool} of {name} (fingerprint {source.model[:_SHOWN]})"
