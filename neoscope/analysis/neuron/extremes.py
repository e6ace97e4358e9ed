"""Extremes: the k largest activations of many units over a stream, exactly, ties by appearance."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from neoscope.analysis.numbers import Array

KeyOf = Callable[[Array], Array]


@dataclass(frozen=True)
class Extremes:
    """The k places of each unit where it is largest so far; taking in more makes a new one.

    Of equal values the place that comes first in the corpus is kept and stands first, in whatever
    order places are shown; memory is k for each unit.
    """

    k: int
    values: Float[np.ndarray, "unit k"]
    """Largest first; -inf where there are not yet so many."""
    order: Int[np.ndarray, "unit k"]
    """The number of the place in the corpus; -1 where there is none."""
    keys: Int[np.ndarray, "unit k"] | None = None
    """Places of one key count once, with the largest of them; None where every place counts."""

    @classmethod
    def empty(cls, n_units: int, k: int, *, keyed: bool = False) -> Extremes:
        """Return the state before anything was seen."""
        none = np.full((n_units, k), -1, np.int64)
        return cls(k, np.full((n_units, k), -np.inf), none, none if keyed else None)

    def updated(
        self,
        values: Float[Tensor, "token unit"],
        order: Int[np.ndarray, " token"],
        key_of: KeyOf | None = None,
    ) -> Extremes:
        """Return the state after some more places.

        Args:
            values: Finite.
            order: Each place's number in the corpus, ascending.
            key_of: Returns the keys of places, given as indexes into ``order``.
        """
        if not len(order):
            return self
        full = bool((self.order >= 0).all())
        if full:
            return self._merged(*self._beating(values, order), order, key_of)
        most = self.k
        while True:
            found = self._merged(*_first(values, most), order, key_of)
            if key_of is None or most >= len(order) or (found.order >= 0).all():
                return found
            most *= 4

    def _beating(
        self, values: Float[Tensor, "token unit"], order: Int[np.ndarray, " token"]
    ) -> tuple[Array, Array, Array]:
        """What would be among the k, as token, unit and value."""
        least = torch.from_numpy(self.values[:, -1]).to(values)
        last = torch.from_numpy(self.order[:, -1]).to(values.device)
        number = torch.from_numpy(order).to(values.device)
        beats = values > least
        if int(order[0]) < int(last.max()):
            beats |= (values == least) & (number[:, None] < last)
        token, unit = beats.nonzero(as_tuple=True)
        return tuple(x.cpu().numpy() for x in (token, unit, values[token, unit]))  # type: ignore[return-value]

    def _merged(
        self,
        token: Array,
        unit: Array,
        value: Array,
        order: Int[np.ndarray, " token"],
        key_of: KeyOf | None,
    ) -> Extremes:
        if not len(token):
            return self
        held_unit, held_place = np.nonzero(self.order >= 0)
        units = np.concatenate([held_unit, unit])
        values = np.concatenate([self.values[held_unit, held_place], value])
        orders = np.concatenate([self.order[held_unit, held_place], order[token]])
        chosen = np.lexsort((orders, -values, units))
        keys = None
        if key_of is not None and self.keys is not None:
            distinct, place = np.unique(token, return_inverse=True)
            keys = np.concatenate([self.keys[held_unit, held_place], key_of(distinct)[place]])
            chosen = chosen[_first_of_each(units[chosen], keys[chosen])]
        rank = _rank(units[chosen])
        chosen, rank = chosen[rank < self.k], rank[rank < self.k]
        new = Extremes.empty(len(self.values), self.k, keyed=keys is not None)
        new.values[units[chosen], rank] = values[chosen]
        new.order[units[chosen], rank] = orders[chosen]
        if keys is None:
            return new
        held = np.full_like(self.order, -1)
        held[units[chosen], rank] = keys[chosen]
        return replace(new, keys=held)


def _first(values: Tensor, most: int) -> tuple[Array, Array, Array]:
    """The largest of each unit, the first of equal ones, as token, unit and value."""
    by_unit, token = values.T.contiguous().sort(dim=1, descending=True, stable=True)
    by_unit, token = by_unit[:, :most], token[:, :most]
    unit = torch.arange(len(token), device=token.device)[:, None].expand_as(token)
    return tuple(x.flatten().cpu().numpy() for x in (token, unit, by_unit))  # type: ignore[return-value]


def _first_of_each(units: Array, keys: Array) -> Array:
    """Where each pair of unit and key stands first, ascending."""
    order = np.lexsort((np.arange(len(units)), keys, units))
    new = np.ones(len(order), bool)
    new[1:] = (np.diff(units[order]) != 0) | (np.diff(keys[order]) != 0)
    return np.sort(order[new])


def _rank(units: Array) -> Array:
    """How many of the same unit stand before each, units being sorted."""
    start = np.searchsorted(units, units, side="left")
    return np.asarray(np.arange(len(units)) - start)
