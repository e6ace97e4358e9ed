"""PathPlan: paths to measure, checked against the model's graph."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Int
from numpy.typing import NDArray
from torch import Tensor

from neoscope.config import NeoConfig
from neoscope.errors import PatchingError, nearest
from neoscope.patching.circuits.graph import Graph
from neoscope.patching.engine.plan import Batch
from neoscope.patching.paths.reduction import PathCell, PathReduction
from neoscope.patching.paths.senders import Group, SenderWalk, layer_of
from neoscope.patching.sources.source import Source

Columns = Int[Tensor, "pairs n"]
MLPS = ("frozen", "recomputed")
Sets = tuple[tuple[str, ...], tuple[str, ...]]
"""Senders and receivers of one cell."""


class PathPlan:
    """Cells of paths; senders that cells share are carried up once."""

    def __init__(
        self,
        config: NeoConfig,
        paths: Sequence[tuple[tuple[str, ...], tuple[str, ...], Columns | None]],
        source: Source,
        *,
        recompute: bool,
    ) -> None:
        """Number the groups of senders.

        Args:
            config: The model's shape.
            paths: Senders, receivers, and where the senders are (None for all positions).
            source: Where the senders' new values come from.
            recompute: Whether MLPs on the way respond.
        """
        self.source, self._recompute = source, recompute
        groups: dict[tuple[tuple[str, ...], int], tuple[int, Columns | None]] = {}
        last, cells = config.n_layers - 1, []
        for senders, receivers, columns in paths:
            key = (senders, id(columns))
            number, _ = groups.setdefault(key, (len(groups), columns))
            layers = {last if name == "logits" else layer_of(name) for name in receivers}
            cells.append(PathCell(number, receivers, tuple(sorted(layers)), columns))
        self.cells: Sequence[PathCell] = cells
        self._groups = [(senders, columns) for (senders, _), (_, columns) in groups.items()]
        named = {name for senders, _ in self._groups for name in senders}
        reading = {name for cell in cells for name in cell.receivers if name.startswith("m")}
        self.kept = sorted({_site(name) for name in named | reading}, key=str)
        self.first = 0
        self._walk: tuple[Batch, SenderWalk] | None = None

    @property
    def held(self) -> int:
        """Copies of a batch's tokens that are held."""
        return len(self._groups)

    def changes(self, batch: Batch, numbers: NDArray[np.int64]) -> PathReduction:
        """Return what some of the cells write."""
        if self._walk is None or self._walk[0] is not batch:
            groups = [Group(senders, _where(columns, batch)) for senders, columns in self._groups]
            walk = SenderWalk(batch.base, batch.values, groups, recompute=self._recompute)
            self._walk = (batch, walk)
        return PathReduction(batch.base, self._walk[1], [self.cells[n] for n in numbers])


def check_mlps(mlps: str) -> bool:
    """Return whether MLPs on the way are recomputed.

    Raises:
        PatchingError: The word means nothing.
    """
    if mlps not in MLPS:
        raise PatchingError(
            f"mlps={mlps!r}; expected 'frozen' (MLPs between sender and receiver write what they "
            "wrote) or 'recomputed' (they respond to the sender)"
        )
    return mlps == "recomputed"


def named_sets(graph: Graph, wanted: object, *, senders: bool) -> list[tuple[str, ...]]:
    """Return sets of senders or receivers, each a tuple of names.

    Args:
        graph: The model's.
        wanted: None for each; a name; several, of which a tuple is one set; or a kind:
            ``"heads"``, ``"mlps"``, and for receivers ``"q"``, ``"k"``, ``"v"``.
        senders: Whether senders are meant.

    Raises:
        PatchingError: A name does not exist, or the logits are in a set with others.
    """
    known = graph.senders if senders else graph.receivers
    kinds = {
        "heads": [n for n in known if n.startswith("a")],
        "mlps": [n for n in known if n.startswith("m")],
    }
    if not senders:
        kinds |= {kind: [n for n in known if n.endswith(f"<{kind}>")] for kind in ("q", "k", "v")}
    if wanted is None:
        return [(name,) for name in known]
    if isinstance(wanted, str):
        return [(n,) for n in kinds[wanted]] if wanted in kinds else [_set(graph, wanted, senders)]
    items = list(wanted) if isinstance(wanted, Sequence) else None
    if not items:
        role = "senders" if senders else "receivers"
        raise PatchingError(f"{role}={wanted!r} names none; the first are {', '.join(known[:3])}")
    found = [_set(graph, item, senders) for item in items]
    twice = next((names for i, names in enumerate(found) if names in found[:i]), None)
    if twice:
        role = "senders" if senders else "receivers"
        raise PatchingError(f"{role} names {'+'.join(twice)} twice")
    return found


def _set(graph: Graph, item: object, senders: bool) -> tuple[str, ...]:
    names = (
        (item,) if isinstance(item, str) else tuple(item) if isinstance(item, tuple) else (item,)
    )
    known = graph.senders if senders else graph.receivers
    for name in names:
        if name not in known:
            role = "sender" if senders else "receiver"
            inputs = graph.inputs(str(name)) if name in graph.nodes and not senders else ()
            hint = f"; it reads at {', '.join(inputs)}" if inputs else nearest(str(name), known)
            raise PatchingError(
                f"{name!r} is no {role}{hint}; {role}s are {', '.join(known[:4])}, ..."
            )
    if "logits" in names and len(names) > 1:
        raise PatchingError(
            "the logits are read last: a set of receivers cannot hold them and others"
        )
    return tuple(str(name) for name in names)


def _site(name: str) -> tuple[str, int | None]:
    if name == "embed":
        return ("embed", None)
    return ("z" if name.startswith("a") else "mlp_out", layer_of(name))


def _where(columns: Columns | None, batch: Batch) -> Tensor | None:
    if columns is None:
        return None
    own = columns[batch.rows]
    where = torch.zeros(batch.base.mask.shape, dtype=torch.bool)
    pair, slot = ((own >= 0) & (own < where.shape[1])).nonzero().unbind(1)
    where[pair, own[pair, slot]] = True
    return where & batch.base.mask
