"""Writes: what was read and put back changes no bit; a perturbation moves what follows, only."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from neoscope.cache import ActivationCache
from neoscope.contract_identities import relative
from neoscope.contract_report import Check, tolerance
from neoscope.edits import replace, transform
from neoscope.model import HookedGPTNeo
from neoscope.sites import SiteRef


@dataclass(frozen=True)
class Subject:
    """A model under test, and one undisturbed run of it with every site recorded."""

    model: HookedGPTNeo
    tokens: Tensor
    seed: int

    @functools.cached_property
    def undisturbed(self) -> tuple[Tensor, ActivationCache]:
        """Logits and cache of the run that perturbed ones are compared with."""
        logits, cache = self.model.run_with_cache(self.tokens)
        return logits, cache


def check(subject: Subject, twin: Subject, ref: SiteRef) -> list[Check]:
    """Check one site, whose switch is on.

    Args:
        subject: The model.
        twin: One of the same shape with random weights. Where the model's own weights happen to be
            zero downstream nothing can move; the twin then shows that the path is there.
        ref: The site.
    """
    model, tokens = subject.model, subject.tokens
    kind = "" if ref.layer is None else model.config.kinds[ref.layer]
    row = partial(_row, ref, kind)
    read, value = _observe(model, tokens, ref)
    again = model.run_with_edits(tokens, [replace(ref.name, value=value)])
    changed = float((read != again).sum())
    moved, spilled, left, torn = _perturb(subject, ref)
    limit = tolerance(model.dtype)
    structural = _cannot_move(model, ref)
    return [
        row("write-back", changed == 0, changed, 0.0),
        _live(row, "moves what follows", moved, lambda: _perturb(twin, ref)[0], structural),
        row("leaves upstream alone", spilled == 0, spilled, 0.0),
        row("leaves the left alone", left == 0, left, 0.0),
        row("stream still adds up", torn <= limit, torn, limit),
        _live(row, "gradient", _gradient(subject, ref), lambda: _gradient(twin, ref), structural),
    ]


def _row(
    ref: SiteRef, kind: str, what: str, passed: bool, error: float, limit: float, note: str = ""
) -> Check:
    return Check(what, ref.name, kind, passed, error, limit, note)


def _live(
    row: partial[Check], what: str, own: float, twin: Callable[[], float], structural: bool
) -> Check:
    finite = own == own and own != float("inf")
    if structural:
        return row(what, own < 1e-5, own, 1e-5, "a window of one key leaves nothing to move")
    if finite and own > 0:
        return row(what, True, own, 0.0)
    dead = finite and twin() > 0
    return row(what, dead, own, 0.0, "these weights ignore it; a random twin moves" if dead else "")


def _cannot_move(model: HookedGPTNeo, ref: SiteRef) -> bool:
    """With a window of one key the softmax is one whatever the scores are."""
    only_scores = ref.kind.short in ("q", "k", "attn_scores", "q_input", "k_input")
    return only_scores and ref.layer is not None and model.config.window(ref.layer) == 1


def _observe(model: HookedGPTNeo, tokens: Tensor, ref: SiteRef) -> tuple[Tensor, Tensor]:
    """Return the logits of a run that looks at the site, and what stood there."""
    kept: list[Tensor] = []

    def look(x: Tensor) -> Tensor:
        kept.append(x.clone())
        return x

    logits = model.run_with_edits(tokens, [transform(ref.name, function=look)])
    return logits, kept[0]


def _perturb(subject: Subject, ref: SiteRef) -> tuple[float, float, float, float]:
    """Return how far the logits moved, how many values moved upstream and to the left.

    And, last, by how much the residual stream of the perturbed run fails to add up: a write that
    reaches some readers of a site and not others moves the logits, but tears the stream.
    """
    model, tokens = subject.model, subject.tokens
    position = tokens.shape[1] // 2

    def push(x: Tensor) -> Tensor:
        generator = torch.Generator().manual_seed(subject.seed)
        noise = torch.randn(x.shape, generator=generator).to(x.device, x.dtype)
        size = x[torch.isfinite(x)].float().std().clamp(min=1e-3).to(x.dtype)
        # A scale is a divisor: keep it positive.
        return x + size * (noise.abs() if ref.kind.short.endswith("scale") else noise)

    before, cache = subject.undisturbed
    edit = transform(ref.name, positions=position, function=push)
    after, moved = model.run_with_cache(tokens, edits=[edit])
    order, n_layers = ref.order(model.config.n_layers), model.config.n_layers
    left = float((before[:, :position] != after[:, :position]).sum())
    spilled = 0.0
    for name, a in cache.items():
        b = moved[name]
        if cache.ref(name).order(n_layers) < order:
            spilled += float((a != b).sum())
        axis = 2 if "query" in cache.axes(name) else 1
        left += float((a.narrow(axis, 0, position) != b.narrow(axis, 0, position)).sum())
    far = float((after[:, position:] - before[:, position:]).abs().max())
    return far, spilled, left, _torn(moved, ref, n_layers)


def _torn(cache: ActivationCache, ref: SiteRef, n_layers: int) -> float:
    """The largest relative error of the residual stream's sums, without the written site's."""
    sums: list[tuple[tuple[str, ...], int, str, int]] = [
        (("embed", "pos_embed"), 0, "resid_pre", 0)
    ]
    for i in range(n_layers):
        sums.append((("resid_pre", "attn_out"), i, "resid_mid", i))
        sums.append((("resid_mid", "mlp_out"), i, "resid_post", i))
        if i + 1 < n_layers:
            sums.append((("resid_post",), i, "resid_pre", i + 1))
    worst = 0.0
    for parts, i, total, at in sums:
        if (total, at) == (ref.kind.short, ref.layer):
            continue
        values = [cache[part] if part.endswith("embed") else cache[part, i] for part in parts]
        worst = max(worst, relative(functools.reduce(torch.add, values), cache[total, at]))
    return worst


def _gradient(subject: Subject, ref: SiteRef) -> float:
    """Return the norm of the gradient of the logits' spread at the site; infinite if not finite."""
    leaf: list[Tensor] = []

    def begin(x: Tensor) -> Tensor:
        leaf.append(x.detach().clone().requires_grad_(True))
        return leaf[0]

    with torch.enable_grad():
        edit = transform(ref.name, function=begin)
        logits = subject.model.run_with_edits(subject.tokens, [edit])
        target = logits.float().log_softmax(-1)[:, -1, 0].sum()
        if not target.requires_grad:
            return 0.0
        (grad,) = torch.autograd.grad(target, leaf, allow_unused=True)
    if grad is None:
        return 0.0
    finite = grad[torch.isfinite(leaf[0])].float()
    return float(finite.norm()) if bool(torch.isfinite(finite).all()) else float("inf")
