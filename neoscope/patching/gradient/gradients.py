"""Gradients of a metric at any sites, of any pairs of prompts, a bounded number of rows at a time.

:func:`.problem.read_problem` binds a metric to its prompts, and ``Problem.chunks`` says how many
pairs run at once; :func:`trace` runs them and keeps the graph, :func:`run` runs them without one.
No parameter's ``.grad`` is touched, and no gradient of a weight is computed. Only the metric's
positions are unembedded, and of a metric that needs no more only its own tokens.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import torch
from jaxtyping import Float, Int
from torch import Tensor

from neoscope.config import NeoConfig
from neoscope.edit import Edit
from neoscope.errors import PatchingError
from neoscope.indices import Index
from neoscope.patching.engine.reading import at_columns, read_values
from neoscope.patching.gradient.problem import Problem
from neoscope.sites import SiteRef, resolve, select
from neoscope.visibility import Visibility


@dataclass(frozen=True, eq=False)
class Trace:
    """One run: the metric's value of each row, and what stood at the sites asked for."""

    values: Float[Tensor, "rows"]
    """The metric; from :func:`trace`, with its graph."""
    components: Float[Tensor, "rows parts"]
    """The logits behind it, detached."""
    live: Mapping[str, Tensor]
    """By full site name; from :func:`trace`, with their graph."""
    config: NeoConfig = field(repr=False)

    def name(self, site: str, layer: int | None = None) -> str:
        """Full name of a site."""
        return resolve(self.config, site, layer).name

    def at(self, site: str, layer: int | None = None) -> Float[Tensor, "rows *axes"]:
        """What stood at a site, detached."""
        return self.live[self.name(site, layer)].detach()

    def gradients(
        self,
        names: Sequence[str] | None = None,
        *,
        of: Tensor | None = None,
        weights: Tensor | None = None,
        retain: bool = False,
    ) -> dict[str, Tensor]:
        """Return the gradient at sites, by full name; zero where nothing depends on the site.

        Args:
            names: Full site names; None for all that were traced.
            of: What is differentiated: a tensor of this trace; None for each row's metric by what
                stands in that row.
            weights: Gradient with respect to ``of``, in its shape; None for ones.
            retain: Keep the graph for another call.

        Raises:
            PatchingError: The metric does not depend on the logits in a way that has a gradient.
        """
        names = list(self.live) if names is None else list(names)
        of = self.values if of is None else of
        if not of.requires_grad:
            raise PatchingError(
                "the metric has no gradient: what it returned does not hang together with the "
                "logits it was given (argmax, a comparison, .detach() or numpy cut the graph)"
            )
        weights = torch.ones_like(of) if weights is None else weights
        found = torch.autograd.grad(
            of,
            [self.live[name] for name in names],
            weights,
            allow_unused=True,
            retain_graph=retain,
        )
        return {
            name: torch.zeros_like(self.live[name]) if grad is None else grad.detach()
            for name, grad in zip(names, found, strict=True)
        }


def trace(
    problem: Problem,
    pairs: Int[Tensor, "chunk"],
    sites: str | Sequence[str],
    *,
    layers: Index = None,
    which: str | None = None,
    copies: int = 1,
    edits: Sequence[Edit] = (),
    stream: Float[Tensor, "rows pos d_model"] | None = None,
    start_at_layer: int | None = None,
) -> Trace:
    """Run prompts with a graph, from which gradients at the sites can be taken.

    Args:
        problem: Model, prompts and metric.
        pairs: Which pairs; see :meth:`Problem.chunks`.
        sites: Short or full names. A site's tensor is ``[rows, ...]``; the site of a layer in which
            nothing asks for it costs nothing.
        layers: Layers of the short names; None for all.
        which: ``"clean"`` or ``"corrupted"``; None for the base.
        copies: How often the pairs run side by side; rows are copy by copy, in each pair by pair.
        edits: Edits of the run, for all rows (:func:`neoscope.edits.replace` takes one value a
            row).
        stream: With ``start_at_layer``: that layer's ``resid_pre``, for all rows.
        start_at_layer: Begin there.

    Returns:
        Values, components, and live tensors. Call :meth:`Trace.gradients` once, or with
        ``retain=True`` several times, then drop it: it holds the graph.
    """
    with torch.inference_mode(False), torch.enable_grad():
        return _run(problem, pairs, sites, layers, which, copies, edits, stream, start_at_layer)


def run(
    problem: Problem,
    pairs: Int[Tensor, "chunk"],
    sites: str | Sequence[str],
    *,
    layers: Index = None,
    which: str | None = None,
) -> Trace:
    """Run prompts without a graph; arguments as for :func:`trace`, whose numbers it gives."""
    with torch.inference_mode(False), torch.no_grad():
        return _run(problem, pairs, sites, layers, which, 1, (), None, None)


def _run(
    problem: Problem,
    pairs: Tensor,
    sites: str | Sequence[str],
    layers: Index,
    which: str | None,
    copies: int,
    edits: Sequence[Edit],
    stream: Tensor | None,
    start_at_layer: int | None,
) -> Trace:
    model, prompts = problem.model, problem.prompts
    refs = select(model.config, sites, layers, switches=model._switches_on())
    watch = _Watch({ref.name: ref for ref in refs}, torch.is_grad_enabled())
    rows = pairs.repeat(copies)
    mask = prompts.mask[rows].to(model.device)
    what = prompts.ids(which or problem.base)[rows].to(model.device) if stream is None else stream
    out = model(
        what,
        mask,
        start_at_layer=start_at_layer,
        stop_at_layer=model.config.n_layers,
        edits=edits,
        _record=watch,
    )
    read = at_columns(out, problem.columns[rows])
    values, components = read_values(model, problem.metric, read, rows)
    return Trace(values, components.detach(), watch.live, model.config)


@dataclass(frozen=True)
class _Watch:
    """Keeps what passes, with its graph if there is one."""

    wanted: Mapping[str, SiteRef]
    keep_graph: bool
    live: dict[str, Tensor] = field(default_factory=dict)

    def see(self, name: str, x: Tensor, visibility: Visibility) -> Tensor:
        """Keep ``x`` if ``name`` is wanted; return what flows on."""
        if name in self.wanted:
            if self.keep_graph:
                # A node of the site's own: resid_post is also the next layer's resid_pre.
                x = x.view_as(x) if x.requires_grad else x.detach().requires_grad_(True)
            self.live[name] = x
        return x
