"""The part of a site that an edit touches: which heads, positions, keys and units."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from neoscope.config import NeoConfig
from neoscope.errors import EditError, SiteError
from neoscope.indices import Index, Positions, listed, whole
from neoscope.sites import SiteRef
from neoscope.visibility import Visibility, along


@dataclass(frozen=True)
class Region:
    """Selected indices of a site's axes; a selected axis stays, cut down to what was selected."""

    ref: SiteRef
    head: Index = None
    positions: Positions = None
    keys: Positions = None
    unit: Index = None

    def check(self, config: NeoConfig) -> None:
        """Refuse what the site cannot have, before anything runs.

        Raises:
            SiteError: The site has no such axis, or the axis no such index.
        """
        axes, name = self.ref.kind.axes, self.ref.name
        needs = {
            "head": (self.head, "head" in axes),
            "positions": (self.positions, "pos" in axes or "query" in axes),
            "keys": (self.keys, "key" in axes),
            "unit": (self.unit, axes[-1].startswith("d_")),
        }
        for argument, (value, possible) in needs.items():
            if value is not None and not possible:
                raise SiteError(f"{argument}={value!r}: site {name!r} has axes {axes}")
        sizes = self.ref.shape(config, 1, 1)
        _listed(self.head, config.n_heads, "head", name)
        _listed(self.unit, sizes[-1], "unit", name)
        for argument, value in (("positions", self.positions), ("keys", self.keys)):
            # Whether a text is long enough shows when it runs; none is longer than the context.
            number = whole(value)
            if number is not None and not -config.n_ctx <= number < config.n_ctx:
                raise SiteError(
                    f"{argument}={value}: site {name!r} has at most {config.n_ctx} positions, the "
                    "model's context"
                )

    def _selections(self, x: Tensor, visibility: Visibility) -> list[tuple[int, Tensor]]:
        """Return (axis, index [n] or [batch, n]) of each selected axis."""
        axes, name = self.ref.kind.axes, self.ref.name
        found: list[tuple[int, Tensor]] = []
        for axis, value in (("head", self.head), (axes[-1], self.unit)):
            if value is not None:
                at = axes.index(axis)
                index = _listed(value, x.shape[at], axis, name)
                found.append((at, torch.tensor(index, dtype=torch.long, device=x.device)))
        if self.positions is not None:
            at = axes.index("query" if "query" in axes else "pos")
            columns = visibility.columns(self.positions, total=True)
            assert columns is not None
            found.append((at, _once(columns, "positions", name) - visibility.n_past))
        if self.keys is not None:
            columns = visibility.columns(self.keys, axis="keys", total=True)
            assert columns is not None
            found.append((axes.index("key"), _once(columns, "keys", name)))
        return found

    def read(self, x: Tensor, visibility: Visibility) -> Tensor:
        """Return the selected part of ``x``.

        Positions that a KV cache holds already, and those that are still to come, are not in ``x``;
        what is read in their place is never written.
        """
        for axis, index in self._selections(x, visibility):
            x = _take(x, axis, index.clamp(min=0))
        return x

    def write(self, x: Tensor, new: Tensor, visibility: Visibility) -> Tensor:
        """Return ``x`` with its selected part replaced by ``new``; ``x`` is left as it is."""
        return _write(x, new, self._selections(x, visibility))

    def fit(self, value: Tensor, x: Tensor, visibility: Visibility, what: str) -> Tensor:
        """Bring a value into the shape of the selected part of ``x``.

        It may be shaped as the whole site, as the part, as either without the batch axis, as the
        part without axes of which one index was selected, or be a vector along the last axis.
        Nothing else broadcasts: a value that lands on the wrong axis is a silent error.

        Raises:
            EditError: It fits none of these, or two that differ (a [batch, d_model] for one
                position of as many rows as positions).
        """
        value = value.to(x.device, x.dtype)
        part = self.read(x, visibility)
        selections = self._selections(x, visibility)
        single = {at for at, index in selections if index.shape[-1] == 1}
        readings = [
            value.reshape(view).expand_as(part) for view in _views(value.shape, part.shape, single)
        ]
        if selections and value.shape in (x.shape, (1, *x.shape[1:]), x.shape[1:]):
            readings.append(self.read(value.expand_as(x), visibility))
        said = (
            f"{what} at {self.ref.name!r}: the value has shape {tuple(value.shape)}; the selected "
            f"part has {tuple(part.shape)}, the whole site {tuple(x.shape)} {self.ref.kind.axes}"
        )
        if not readings:
            raise EditError(said)
        for other in readings[1:]:
            if not torch.allclose(readings[0], other, rtol=0, atol=0, equal_nan=True):
                raise EditError(
                    f"{said}: it fits in two ways; give it all axes of the part, and name what is "
                    "selected in ascending order"
                )
        return readings[0]


def _views(value: Sequence[int], part: Sequence[int], single: set[int]) -> set[tuple[int, ...]]:
    """Return the shapes, with as many axes as the part, in which a value may be meant."""
    kept = tuple(n for at, n in enumerate(part) if at not in single)
    value, part = tuple(value), tuple(part)
    ones = (1,) * len(part)
    views = set()
    if value in ((), (1,)):
        views.add(ones)
    if len(value) == len(part) and all(a in (1, b) for a, b in zip(value, part, strict=True)):
        views.add(value)
    if value == kept:
        views.add(part)
    if value in (kept[1:], part[1:]):
        views.add((1, *part[1:]))
    if value == part[-1:]:
        views.add((*ones[1:], *value))
    return views


def _listed(value: Index, size: int, axis: str, site: str) -> list[int]:
    if value is None:
        return []
    found: list[int] = []
    for index in listed(value):
        number = whole(index)
        if number is None or not -size <= number < size:
            raise SiteError(
                f"{axis} {index!r} does not exist at site {site!r}, which has {size} "
                f"(0 to {size - 1})"
            )
        found.append(number % size)
    if not found:
        raise SiteError(f"{axis} [] selects nothing at site {site!r}")
    if len(set(found)) < len(found):
        raise SiteError(f"{axis} {value!r} names one of site {site!r} twice")
    return found


def _once(columns: Tensor, argument: str, site: str) -> Tensor:
    """Return columns [batch, n] in which no row names a column twice."""
    ordered = columns.sort(dim=1).values
    if bool(((ordered[:, 1:] == ordered[:, :-1]) & (ordered[:, 1:] >= 0)).any()):
        raise SiteError(f"{argument} name one position of site {site!r} twice")
    return columns


def _take(x: Tensor, axis: int, index: Tensor) -> Tensor:
    if index.ndim == 1:
        return x.index_select(axis, index)
    return x.gather(axis, along(index, x, axis))


def _write(x: Tensor, new: Tensor, selections: Sequence[tuple[int, Tensor]]) -> Tensor:
    if not selections:
        return new.expand_as(x)
    (axis, index), rest = selections[0], selections[1:]
    safe = index.clamp(min=0)
    inner = _write(_take(x, axis, safe), new, rest)
    if index.ndim == 1:
        return x.index_copy(axis, index, inner)
    if not bool((index < 0).any()):
        return x.scatter(axis, along(index, x, axis), inner)
    for column in range(index.shape[1]):
        # Some rows hold this position in the KV cache: they keep what they have.
        one = along(safe[:, column : column + 1], x, axis)
        inside = along(index[:, column : column + 1] >= 0, x, axis)
        value = torch.where(inside, inner.narrow(axis, column, 1), x.gather(axis, one))
        x = x.scatter(axis, one, value)
    return x
