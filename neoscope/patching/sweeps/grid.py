"""Grid: the cross of layers, heads, positions, keys and units that a sweep patches."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Int
from torch import Tensor

from neoscope.config import NeoConfig
from neoscope.errors import PatchingError, SiteError
from neoscope.indices import listed, whole
from neoscope.patching.engine.cells import BY_HEAD, SQUARE, Cell, last_axis, read_site
from neoscope.patching.prompts.pairs import Prompts
from neoscope.patching.results.axes import Axis
from neoscope.sites import check_layer

Columns = Int[Tensor, "pairs n"]
_UNITS = {"pre": "neuron", "post": "neuron"}


@dataclass(frozen=True, eq=False)
class Grid:
    """Cells in the order of their axes, the last axis running fastest."""

    cells: tuple[Any, ...]
    """Of sites, or of paths."""
    axes: tuple[Axis, ...]

    @property
    def shape(self) -> tuple[int, ...]:
        """Cells along each axis."""
        return tuple(len(axis) for axis in self.axes)


def make_grid(
    config: NeoConfig,
    prompts: Prompts,
    site: str,
    *,
    layers: Any = None,
    heads: Any = None,
    positions: Any = None,
    keys: Any = None,
    units: Any = None,
) -> Grid:
    """Return the cells of a sweep; see :func:`neoscope.patching.sweep` for the arguments.

    Raises:
        SiteError: A site, layer, head, position or unit does not exist.
        PatchingError: An argument is not understood.
    """
    site = read_site(site)
    found = [
        _layers(site, layers, config),
        _heads(site, heads, config),
        places(prompts, positions, "positions", "pos"),
        _keys(site, prompts, keys),
        _units(site, units, config),
    ]
    cells = tuple(
        Cell(site, layer, head, columns, unit, key)
        for layer, head, columns, key, unit in itertools.product(*(choice for _, choice in found))
    )
    return Grid(cells, tuple(axis for axis, _ in found if axis is not None))


Choice = tuple[Axis | None, Sequence[Any]]


def _layers(site: str, layers: Any, config: NeoConfig) -> Choice:
    if site == "embed":
        if layers is not None:
            raise SiteError(f"layers={layers!r}: site 'embed' stands before all layers")
        return None, [None]
    if isinstance(layers, str) and not _says(layers, "each"):
        raise SiteError(f"layers={layers!r}; expected numbers, or None for each by itself")
    each = layers is None or _says(layers, "each")
    wanted = range(config.n_layers) if each else listed(layers)
    found = [check_layer(layer, config.n_layers, site) for layer in wanted]
    return _axis("layer", found, "layers"), found


def _heads(site: str, heads: Any, config: NeoConfig) -> Choice:
    if site not in BY_HEAD:
        if heads is not None:
            raise SiteError(
                f"heads={heads!r}: site {site!r} is not by head; those that are: "
                f"{', '.join(sorted(BY_HEAD))}"
            )
        return None, [None]
    if _says(heads, "each"):
        heads = None
    if isinstance(heads, str):
        if heads != "all":
            raise SiteError(f"heads={heads!r}; expected 'all' (at once), numbers, or None for each")
        return None, [None]
    found = []
    for head in range(config.n_heads) if heads is None else listed(heads):
        number = whole(head)
        if number is None or not -config.n_heads <= number < config.n_heads:
            raise SiteError(
                f"heads: {head!r} does not exist; the model has heads 0 to {config.n_heads - 1}"
            )
        found.append(number % config.n_heads)
    return _axis("head", found, "heads"), found


def _keys(site: str, prompts: Prompts, keys: Any) -> Choice:
    if keys is None:
        return None, [None]
    if site not in SQUARE:
        raise SiteError(f"keys={keys!r}: site {site!r} has no source positions; pattern has")
    return places(prompts, None if _says(keys, "each") else keys, "keys", "key")


def _units(site: str, units: Any, config: NeoConfig) -> Choice:
    if units is None:
        return None, [None]
    if site in SQUARE:
        raise SiteError(f"units={units!r}: the last axis of {site!r} is source positions; use keys")
    size = last_axis(site, config)
    found = []
    for unit in range(size) if _says(units, "each") else listed(units):
        number = whole(unit)
        if number is None or not -size <= number < size:
            raise SiteError(f"units: {unit!r} does not exist; {site!r} has units 0 to {size - 1}")
        found.append(number % size)
    return _axis(_UNITS.get(site, "unit"), found, "units"), found


def _axis(name: str, labels: Sequence[int | str], argument: str) -> Axis:
    if not labels:
        raise SiteError(f"{argument}=[] selects nothing")
    twice = [label for i, label in enumerate(labels) if label in labels[:i]]
    if twice:
        raise SiteError(f"{argument} names {twice[0]} twice (negative numbers count from the end)")
    return Axis(name, tuple(labels))


def _says(value: Any, word: str) -> bool:
    return isinstance(value, str) and value == word


# ---- positions --------------------------------------------------------------------------------


def places(prompts: Prompts, positions: Any, argument: str, name: str) -> Choice:
    """Return the axis and the columns of each place: see :func:`neoscope.patching.sweep`.

    Args:
        prompts: The pairs.
        positions: ``"each"`` (or None), ``"all"`` at once, several spans, or named groups.
        argument: Named in errors.
        name: Of the axis.

    Raises:
        SiteError: A position does not exist in some pair, or nothing is selected.
        PatchingError: It is not understood.
    """
    if _says(positions, "all"):
        return None, [None]
    if _says(positions, "each"):
        positions = None
    if isinstance(positions, str):
        raise PatchingError(
            f"{argument}={positions!r}; expected 'all' (at once), 'each' (by itself), "
            "positions, slices, or a mapping of names to positions"
        )
    if isinstance(positions, Mapping):
        named = {str(group): _group(prompts, where, argument) for group, where in positions.items()}
        if not named:
            raise SiteError(f"{argument}={{}} selects nothing")
        return Axis("tokens", tuple(named)), list(named.values())
    labels = prompts.labels()
    if positions is None:
        pad = prompts.n_columns - torch.tensor(prompts.lengths)
        columns = [
            torch.where(column >= pad, column, -1)[:, None] for column in range(prompts.n_columns)
        ]
        return Axis(name, labels, prompts.agree), columns
    if isinstance(positions, slice) or (isinstance(positions, Tensor) and positions.ndim == 2):
        columns = list(_group(prompts, positions, argument).split(1, dim=1))
    else:
        columns = [_group(prompts, where, argument) for where in listed(positions)]
        if not columns:
            raise SiteError(f"{argument}=[] selects nothing")
    said = list(range(len(columns))) if isinstance(positions, slice | Tensor) else listed(positions)
    return _labelled(prompts, columns, said, labels, name, argument), columns


def _labelled(
    prompts: Prompts,
    columns: Sequence[Tensor],
    said: Sequence[Any],
    labels: Sequence[str],
    name: str,
    argument: str,
) -> Axis:
    differs = prompts.differs
    out, agree = [], []
    for where, text in zip(columns, said, strict=True):
        one = where.shape[1] == 1 and bool((where == where[0, 0]).all())
        out.append(labels[int(where[0, 0])] if one else _span_label(text))
        agree.append(not bool(differs.gather(1, where.clamp(min=0)).any()))
    if len(set(out)) < len(out):
        raise SiteError(f"{argument} names one position twice: {out}")
    return Axis(name, tuple(out), tuple(agree))


def _span_label(said: Any) -> str:
    if isinstance(said, slice):
        ends = ["" if end is None else str(end) for end in (said.start, said.stop)]
        return ":".join(ends)
    return f"#{said}" if whole(said) is not None else str(said)


def _group(prompts: Prompts, where: Any, argument: str) -> Columns:
    """Columns of a group of tokens; -1 fills up pairs that have fewer of them."""
    nested = isinstance(where, list | tuple) and any(isinstance(x, list | tuple) for x in where)
    if not nested:
        found = prompts.columns(where, argument)
        if not found.shape[1]:
            raise SiteError(f"{argument}={where!r} selects nothing")
        return found
    if len(where) != len(prompts):
        raise PatchingError(
            f"{argument}: a group lists positions for {len(where)} pairs; there are {len(prompts)}"
        )
    rows = []
    for pair, own in enumerate(where):
        one = prompts.take([pair])
        rows.append(one.columns(list(own), argument)[0] if len(own) else torch.zeros(0).long())
    widest = max(len(row) for row in rows)
    if not widest:
        raise SiteError(f"{argument}: a group has no token in any pair")
    out = torch.full((len(rows), widest), -1)
    for pair, row in enumerate(rows):
        out[pair, : len(row)] = row
    return out
