"""Directions to steer along: vectors by name, or what linear probes read."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from neoscope.errors import ViewError, nearest


@dataclass(frozen=True, eq=False)
class Direction:
    """A direction of the residual stream, of length 1."""

    name: str
    vector: Float[Tensor, " d_model"]
    layer: int | None = None
    """Where a probe read it, if one did."""


def read_directions(given: Any, d_model: int) -> tuple[Direction, ...]:
    """Return directions by name, each scaled to length 1.

    Args:
        given: None, or names to vectors [d_model] or to linear probes. A probe of several classes
            gives one direction a class, ``"name: class"``.
        d_model: Width of the stream.

    Raises:
        ViewError: Something is no vector of that width, is zero or not finite, or no mapping.
    """
    if given is None:
        return ()
    if not isinstance(given, Mapping):
        raise ViewError(
            f"directions is {type(given).__name__}; expected names to vectors or probes, such as "
            '{"number": probe}'
        )
    found: list[Direction] = []
    for name, value in given.items():
        for label, row in _rows(str(name), value):
            found.append(Direction(label, _unit(label, row, d_model), _layer(value)))
    return tuple(found)


def find(directions: tuple[Direction, ...], name: str) -> Direction:
    """Return a direction by its name.

    Raises:
        ViewError: There is none; the message names the nearest.
    """
    for one in directions:
        if one.name == name:
            return one
    names = [one.name for one in directions]
    there = f"there are {', '.join(names)}" if names else "none was given: directions={...}"
    raise ViewError(f"there is no direction {name!r}{nearest(name, names)}; {there}")


def _rows(name: str, value: Any) -> list[tuple[str, Any]]:
    """Return the label and the vector of each direction that a value holds."""
    if not callable(getattr(value, "directions", None)):
        return [(name, value)]
    try:
        rows = np.asarray(value.directions())
    except (ValueError, AttributeError) as error:  # sklearn's NotFittedError is both
        raise ViewError(
            f"direction {name!r} is a {type(value).__name__} that gives no directions: it is not "
            "fitted, or is not linear. A sweep gives a fitted one: "
            "probes.sweep(data, probes.LogisticProbe()).best()"
        ) from error
    if len(rows) == 1:
        return [(name, rows[0])]
    # Only differences between exclusive classes count: each is taken from the classes' mean.
    rows = rows - rows.mean(0) if getattr(value, "target_kind_", "") == "multiclass" else rows
    names = [str(one) for one in getattr(value, "classes_", range(len(rows)))]
    return [(f"{name}: {one}", row) for one, row in zip(names, rows, strict=True)]


def _layer(value: Any) -> int | None:
    """Return the layer that a probe was trained on, where its card says so."""
    place = getattr(getattr(value, "card_", None), "place", None)
    layer = getattr(place, "layer", None)
    return layer if isinstance(layer, int) else None


def _unit(name: str, value: Any, d_model: int) -> Tensor:
    try:
        vector = torch.as_tensor(value).detach().cpu().float()
    except (TypeError, ValueError, RuntimeError) as error:
        raise ViewError(
            f"direction {name!r} is {type(value).__name__}; expected a vector or a linear probe"
        ) from error
    if tuple(vector.shape) != (d_model,):
        raise ViewError(
            f"direction {name!r} has shape {tuple(vector.shape)}; the stream is {d_model} wide"
        )
    length = float(vector.norm())
    if not 0.0 < length < float("inf"):
        raise ViewError(f"direction {name!r} has length {length:g}; it points nowhere")
    return vector / length
