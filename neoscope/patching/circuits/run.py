"""Circuit runs: the exact metric when all edges outside a circuit carry the corrupted run's value.

Each receiver reads its input in the corrupted run, plus, for each of its edges in the circuit,
what the sender writes in this run less what it writes in the corrupted run; the embeddings are the
clean ones. Only columns from the first difference on are run, and only receivers and heads that
the circuit has edges into; all else is the corrupted run's own. Many circuits run side by side.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from numpy.typing import NDArray
from torch import Tensor

from neoscope.attention import fused_attention
from neoscope.errors import PatchingError
from neoscope.patching.circuits.graph import Graph
from neoscope.patching.engine.base import Base, refuse_edited
from neoscope.patching.engine.memory import rows_at_once
from neoscope.patching.engine.progress import EndsEarly, Report, Reporting
from neoscope.patching.engine.reading import at_columns, read_baselines, read_values, unpatched
from neoscope.patching.gradient.tail import mlp
from neoscope.patching.metrics import Metric, as_metric, metric_columns
from neoscope.patching.prompts.pairs import Prompts
from neoscope.visibility import Visibility

if TYPE_CHECKING:
    from neoscope.model import HookedGPTNeo

_WRITTEN = ("z", "mlp_out")
Values = NDArray[np.float64]
Chosen = Bool[Tensor, "circuit sender receiver"]


@dataclass(frozen=True, eq=False)
class CircuitRuns:
    """The metric in runs of circuits, and in the unpatched runs."""

    values: Values
    """[circuits, pairs]; NaN where an interrupted run did not come to."""
    clean: Values
    """[pairs]"""
    corrupted: Values
    """[pairs]"""
    metric: str
    unit: str

    @property
    def done(self) -> NDArray[np.bool_]:
        """[pairs]: which have the first circuit's run, and with it a result."""
        return np.asarray(np.isfinite(self.values[0]))

    @property
    def complete(self) -> bool:
        """Whether every circuit ran in every pair."""
        return bool(np.isfinite(self.values).all())


def run_circuits(
    model: HookedGPTNeo,
    prompts: Prompts,
    metric: Any,
    circuits: NDArray[np.bool_],
    *,
    metric_positions: Any = None,
    batch_tokens: int | None = None,
    progress: bool | Report = False,
) -> CircuitRuns:
    """Run circuits and measure the metric.

    Args:
        model: Without hooks or edits in force.
        prompts: Pairs; the corrupted ones give the value of every edge outside a circuit.
        metric: A metric, or a function of logits; it needs no gradient.
        circuits: [circuits, senders, receivers], True at the edges of each.
        metric_positions: Where the metric reads; None for the last token, or what it asks for.
        batch_tokens: Tokens that run at once, padding counted; None for about 1 GB (4 GB on a GPU).
        progress: True for a bar after two seconds, False for none, or a function. A keyboard
            interrupt returns the runs that are done, once there are some.

    Raises:
        PatchingError: There are no corrupted prompts, hooks or edits are in force, the metric does
            not fit, or ``batch_tokens`` does not hold one prompt.
    """
    refuse_edited(model)
    if prompts.corrupted is None:
        raise PatchingError("a circuit needs both runs: give corrupted prompts beside the clean")
    wanted = as_metric(metric)
    wish = wanted.positions if metric_positions is None else metric_positions
    columns = metric_columns(prompts, wish)
    with torch.inference_mode():
        rows = _rows(model, prompts, wanted, batch_tokens)
        size = len(prompts) if wanted.joint else min(rows, len(prompts))
        split = torch.arange(len(prompts)).split(size)
        sides = [
            torch.cat([unpatched(model, prompts, columns, pairs, side) for pairs in split])
            for side in ("clean", "corrupted")
        ]
        known = read_baselines(model, wanted, prompts, columns, *sides)
        assert known.clean is not None and known.corrupted is not None
        values = np.full((len(circuits), len(prompts)), np.nan)
        runs = CircuitRuns(
            values,
            _array(known.clean),
            _array(known.corrupted),
            known.metric.name,
            known.metric.unit,
        )
        report = Reporting(progress, values.size, lambda: replace(runs, values=values.copy()))
        with EndsEarly(lambda: int(np.isfinite(values).sum()), values.size, "runs"), report:
            for pairs in split:
                start = _Start.of(model, prompts, columns, pairs)
                step = max(1, rows // len(pairs))
                for i in range(0, len(circuits), step):
                    chosen = torch.from_numpy(circuits[i : i + step]).to(model.device)
                    hidden = _Run(start, chosen).hidden()
                    at = pairs.to(model.device).repeat(len(chosen))
                    found, _ = read_values(model, known.metric, hidden, at)
                    values[i : i + step, pairs.numpy()] = _array(found).reshape(len(chosen), -1)
                    report.update(len(at))
    return runs


def _rows(model: HookedGPTNeo, prompts: Prompts, metric: Metric, batch_tokens: int | None) -> int:
    """How many prompts, of whatever circuits, run at once."""
    c, graph = model.config, Graph.of(model.config)
    token = len(graph.senders) + 4 * 3 * c.n_heads + 10
    return rows_at_once(
        batch_tokens,
        prompts.n_columns,
        4 * c.d_model * token * prompts.n_columns,
        model.device,
        together=len(prompts) if metric.joint else 1,
        metric=metric.name,
    )


def _array(x: Tensor) -> Values:
    found: Values = x.detach().double().cpu().numpy()
    return found


@dataclass(frozen=True, eq=False)
class _Start:
    """What all circuits of some pairs start from."""

    base: Base
    embed: Float[Tensor, "pairs pos d_model"]
    """What the clean embeddings are more than the corrupted, in the tail."""
    first: int
    """The tail's first column."""
    columns: Int[Tensor, "pairs read"]

    @classmethod
    def of(cls, model: HookedGPTNeo, prompts: Prompts, columns: Tensor, pairs: Tensor) -> _Start:
        ids, mask = (x[pairs].to(model.device) for x in (prompts.ids("corrupted"), prompts.mask))
        sites = [(site, layer) for layer in range(model.config.n_layers) for site in _WRITTEN]
        base = Base(model, ids, mask, sites=sites)
        clean = model(prompts.ids("clean")[pairs].to(model.device), mask, stop_at_layer=0)
        first = int(prompts.first_difference[pairs].min())
        embed = (clean - base("resid_pre", 0))[:, first:]
        return cls(base, embed, first, columns[pairs].to(model.device))

    def __call__(self, site: str, layer: int) -> Tensor:
        """What stood at a site of the corrupted run, in the tail."""
        return self.base(site, layer)[:, self.first :]


class _Run:
    """One batch of circuits; rows are circuit by circuit, in each pair by pair."""

    def __init__(self, start: _Start, chosen: Chosen) -> None:
        self.start, self.base, self.chosen = start, start.base, chosen
        self.graph = Graph.of(self.base.config)
        self.pairs, self.width, self.d = start.embed.shape
        shape = (len(chosen), len(self.graph.senders), self.pairs, self.width, self.d)
        self.delta = start.embed.new_zeros(shape)
        """What each sender writes here less what it writes in the corrupted run."""
        self.delta[:, 0] = start.embed
        self.visibility = Visibility(
            len(chosen) * self.pairs,
            self.width,
            start.embed.device,
            n_past=start.first,
            mask=self.base.mask.repeat(len(chosen), 1),
        )

    def hidden(self) -> Float[Tensor, "rows read d_model"]:
        """Return the stream after the last block where the metric reads."""
        for layer in range(self.graph.n_layers):
            self._attention(layer)
            self._mlp(layer)
        stream = self.base.stream(self.graph.n_layers)
        out = at_columns(stream, self.start.columns).repeat(len(self.chosen), 1, 1)
        added = self._added(len(self.graph.senders), [len(self.graph.receivers) - 1])
        if added is None:
            return out
        columns = (self.start.columns - self.start.first).repeat(len(self.chosen), 1)
        inside = (columns >= 0)[..., None]
        return out + at_columns(added[:, 0].flatten(0, 1), columns.clamp(min=0)) * inside

    def _added(
        self, n: int, receivers: Sequence[int]
    ) -> Float[Tensor, "circuit receiver pairs pos d_model"] | None:
        """What the first n senders add to receivers' inputs; None if no circuit has such edges."""
        edges = self.chosen[:, :n, list(receivers)]
        senders = edges.any(dim=2).any(dim=0).nonzero().flatten()
        if not len(senders):
            return None
        weight = edges[:, senders].to(self.delta.dtype).transpose(1, 2)
        delta = self.delta[:, :n] if len(senders) == n else self.delta[:, senders]
        added: Tensor = torch.bmm(weight, delta.flatten(2))
        return added.unflatten(2, (self.pairs, self.width, self.d))  # type: ignore[no-any-return]

    def _attention(self, layer: int) -> None:
        n, place = self.graph.before(layer), self.graph.attention(layer)
        attn, ln = self.base.block(layer).attn, self.base.block(layer).ln1
        has = self.chosen[:, :n, place].any(dim=1).any(dim=0).nonzero().flatten()
        added = self._added(n, [place.start + i for i in has.tolist()])
        if added is None:
            return
        x = F.layer_norm(self.start("resid_pre", layer) + added, (self.d,), ln.w, ln.b, ln.eps)
        weight = attn.weight_qkv.unflatten(0, (-1, attn.d_head))[has]
        new = torch.einsum("crbpd,red->crbpe", x, weight)
        qkv = torch.stack([self.start(site, layer) for site in "qkv"], dim=2)
        qkv = qkv.flatten(2, 3).permute(2, 0, 1, 3)  # [receiver, pairs, pos, d_head]
        qkv = qkv.expand(len(self.chosen), -1, -1, -1, -1).clone()
        qkv[:, has] = new
        heads = (has % attn.n_heads).unique()
        q, k, v = qkv.unflatten(1, (3, -1))[:, :, heads].transpose(2, 3).unbind(1)
        rows = [each.flatten(0, 1) for each in (q, k, v)]  # [rows, head, pos, d_head]
        for i, site in ((1, "k"), (2, "v")):
            past = self.base(site, layer)[:, : self.start.first, heads].transpose(1, 2)
            rows[i] = torch.cat([past.repeat(len(self.chosen), 1, 1, 1), rows[i]], dim=2)
        z = fused_attention(rows[0], rows[1], rows[2], self.visibility, attn.window)
        z = z.unflatten(0, (len(self.chosen), self.pairs))
        change = z - self.start("z", layer)[:, :, heads].transpose(1, 2)
        self.delta[:, n + heads] = torch.einsum("cbhpe,hed->chbpd", change, attn.W_O[heads])

    def _mlp(self, layer: int) -> None:
        n = self.graph.before(layer) + self.graph.n_heads
        added = self._added(n, [self.graph.mlp(layer)])
        if added is not None:
            written = mlp(self.base.block(layer), self.start("resid_mid", layer) + added[:, 0])
            self.delta[:, n] = written - self.start("mlp_out", layer)
