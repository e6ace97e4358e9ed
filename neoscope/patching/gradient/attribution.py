"""Attribution patching: the effect of every cell of a site, guessed from one gradient.

The score of a cell is (donor - base) times the gradient of the metric in the base run (Nanda 2023;
Kramár et al. 2024, 2403.00745): a first-order guess at what exact patching would measure, for all
cells at the price of one. It fails where the model bends between the two runs, above all in
attention that is sharp; :meth:`~.result.AttributionResult.audit` says by how much.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from neoscope.errors import PatchingError
from neoscope.model import HookedGPTNeo
from neoscope.patching.engine.progress import EndsEarly, Progress, Reporting
from neoscope.patching.gradient.at_star import at_star, check_options, traced_sites
from neoscope.patching.gradient.gradients import Trace, run
from neoscope.patching.gradient.integrated import check_path, integrated, nodes
from neoscope.patching.gradient.problem import Problem, read_problem, warn_if_flat
from neoscope.patching.gradient.products import Scored
from neoscope.patching.gradient.result import AttributionResult
from neoscope.patching.gradient.sums import Sums, read_sums
from neoscope.patching.metrics.metric import full
from neoscope.patching.prompts.pairs import read_prompts
from neoscope.patching.sweeps.grid import make_grid


def attribution(
    model: HookedGPTNeo,
    clean: Any,
    corrupted: Any,
    metric: Any,
    site: str = "z",
    *,
    layers: Any = None,
    heads: Any = None,
    positions: Any = "each",
    keys: Any = None,
    units: Any = None,
    direction: str = "denoise",
    steps: int | None = None,
    rule: str | None = None,
    path: str | None = None,
    qk_fix: bool = False,
    grad_drop: bool = False,
    metric_positions: Any = None,
    batch_tokens: int | None = None,
    progress: bool | Callable[[Progress], None] = True,
    prepend_bos: bool = False,
) -> AttributionResult:
    """Guess the effect of patching each cell of a site, from gradients.

    Args:
        model: The model.
        clean: A prompt or several, as texts or ids.
        corrupted: As many, each as long in tokens as its clean one.
        metric: What is measured, such as :func:`neoscope.patching.logit_diff`.
        site: ``embed``, ``resid_pre``, ``resid_mid``, ``resid_post``, ``attn_out``, ``mlp_out``,
            ``z``, ``result``, ``q``, ``k``, ``v``, ``attn_scores``, ``pattern``, ``pre``, ``post``.
        layers: One or several; default each.
        heads: Of sites by head: one or several; ``"all"`` at once; default each.
        positions: As for ``sweep``: ``"each"``, ``"all"`` at once, one, several, or a mapping of
            names. The default is each in ``sweep``, ``every``, ``attribution`` and ``trace``, all
            in ``ablate`` and ``path_patch``.
        keys: Source positions of patterns and scores: as ``positions``, or ``"each"``; default all
            at once.
        units: Indices of the site's last axis, such as neurons of ``post``: one, several or
            ``"each"``; default all at once.
        direction: ``"denoise"``: the gradient of the corrupted run, times the change to the clean
            one; ``"noise"`` the other way round. A score guesses metric(patched) - metric(base).
        steps: Integrate the gradient along a path from base to donor in so many steps; None: take
            it in the base run alone.
        rule: With steps: ``"left"`` (the default), ``"midpoint"`` or ``"trapezoid"``; see
            :func:`~.integrated.nodes`.
        path: With steps: ``"inputs"`` (the default): token embeddings move together; ``"site"``:
            each layer of the site moves by itself.
        qk_fix: AtP*, for q and k: compute the softmax anew and linearise after it. With
            ``positions="all"`` all positions are put in together.
        grad_drop: AtP*: mean of absolute scores with one layer's gradient dropped at a time.
            Scores are then magnitudes.
        metric_positions: Where the metric reads; default the last token.
        batch_tokens: Tokens (padding counted) of one pass; None for about 1 GB of activations
            (4 GB on a GPU).
        progress: True for a bar after two seconds, False for none, or a function that is given a
            :class:`Progress`.
        prepend_bos: For texts: put the beginning-of-text token first.

    Returns:
        Scores ``[pairs, *axes]``, in the metric's unit, with their statistics. A keyboard interrupt
        returns the pairs that are done, the others NaN, once there are some.

    Raises:
        PatchingError: Prompts, metric or options do not fit.
        SiteError: A site, layer, head, position or unit does not exist.

    Example:
        >>> import neoscope as ns
        >>> from neoscope.patching.metrics import logit_diff
        >>> model = ns.HookedGPTNeo.from_config(
        ...     ns.NeoConfig(n_layers=2, d_model=8, n_heads=2, n_ctx=16, d_vocab=10))
        >>> attribution(model, [[1, 2, 3]], [[1, 4, 3]], logit_diff(5, 6)).mean.shape
        (2, 2, 3)
    """
    prompts = read_prompts(model, clean, corrupted, prepend_bos=prepend_bos)
    grid = make_grid(
        model.config,
        prompts,
        site,
        layers=layers,
        heads=heads,
        positions=positions,
        keys=keys,
        units=units,
    )
    sums = read_sums(grid, prompts)
    check_options(sums, model.config.n_layers, qk_fix=qk_fix, grad_drop=grad_drop)
    options = _path_options(steps, rule, path)
    if steps is not None and (qk_fix or grad_drop):
        raise PatchingError(
            "steps= integrates gradients, qk_fix and grad_drop mend a single one: choose one"
        )
    problem = read_problem(
        model,
        prompts,
        metric,
        direction=direction,
        metric_positions=metric_positions,
        batch_tokens=batch_tokens,
    )
    if steps is None or nodes(steps, options["rule"])[0] == (0.0,):
        warn_if_flat(problem, "with steps=5")
    method = _method(qk_fix, grad_drop, **options)
    work = _Work(problem, sums, options, qk_fix, grad_drop, method)
    return work.run(batch_tokens, progress)


def _path_options(steps: int | None, rule: str | None, path: str | None) -> dict[str, Any]:
    """Return how gradients are integrated, with what is left out filled in."""
    if steps is None:
        for name, value in (("rule", rule), ("path", path)):
            if value is not None:
                raise PatchingError(
                    f"{name}={value!r} says how gradients are integrated, and without steps= they "
                    "are not; give steps=, such as steps=5"
                )
        return {"steps": None, "rule": "left", "path": "inputs"}
    chosen = {"rule": "left" if rule is None else rule, "path": "inputs" if path is None else path}
    check_path(steps, **chosen)
    return {"steps": steps, **chosen}


def _method(qk_fix: bool, grad_drop: bool, steps: int | None, rule: str, path: str) -> str:
    if steps is not None:
        return f"integrated gradients ({path}, {steps} steps, {rule})"
    fixes = [name for name, on in (("QK fix", qk_fix), ("GradDrop", grad_drop)) if on]
    return f"AtP* ({', '.join(fixes)})" if fixes else "attribution patching"


@dataclass(frozen=True, eq=False)
class _Work:
    """What is asked, and the scores of the pairs that are done, in their order."""

    problem: Problem
    sums: Sums
    options: dict[str, Any]
    qk_fix: bool
    grad_drop: bool
    method: str
    done: list[tuple[Scored, Tensor, Tensor]] = field(default_factory=list)
    """Scores and base run of a chunk of pairs; values and components of its donor run."""

    @property
    def integrates(self) -> bool:
        return self.options["steps"] is not None

    @property
    def n_done(self) -> int:
        """Pairs."""
        return sum(len(values) for _, values, _ in self.done)

    def run(
        self, batch_tokens: int | None, progress: bool | Callable[[Progress], None]
    ) -> AttributionResult:
        """Score chunk after chunk; a keyboard interrupt ends with the pairs that are done."""
        n, sums = len(self.problem.prompts), self.sums
        sites = traced_sites(sums.traced, qk_fix=self.qk_fix)
        a_pair = 1
        if self.integrates:
            sites = [sums.traced, "embed"]
            a_pair = len(nodes(self.options["steps"], self.options["rule"])[0])
            a_pair *= len(sums.layers or (None,)) if self.options["path"] == "site" else 1
        layers = list(sums.layers) or None
        report = Reporting(progress, n * a_pair, self.result)
        with EndsEarly(lambda: self.n_done, n, "pairs"), report:
            for pairs in self.problem.chunks(batch_tokens):
                donor = run(self.problem, pairs, sites, layers=layers, which=self.problem.donor)
                found = self._scored(pairs, donor, batch_tokens, report)
                self.done.append((found, donor.values, donor.components))
                if not self.integrates:
                    report.update(len(pairs))
        return self.result()

    def _scored(
        self, pairs: Tensor, donor: Trace, batch_tokens: int | None, report: Reporting
    ) -> Scored:
        if not self.integrates:
            fixes = {"qk_fix": self.qk_fix, "grad_drop": self.grad_drop}
            return at_star(self.problem, self.sums, pairs, donor, **fixes)
        return integrated(
            self.problem,
            self.sums,
            pairs,
            donor,
            **self.options,
            batch_tokens=batch_tokens,
            ran=report.update,
        )

    def result(self) -> AttributionResult:
        """Return what is known; pairs that are not done are NaN."""
        if not self.done:
            raise PatchingError("no pair is done yet")
        problem, sums = self.problem, self.sums
        n = len(problem.prompts)
        sides = {
            problem.base: [(found.values, found.components) for found, _, _ in self.done],
            problem.donor: [(values, parts) for _, values, parts in self.done],
        }
        values = {side: _numbers([value for value, _ in known], n) for side, known in sides.items()}
        parts = {side: _numbers([part for _, part in known], n) for side, known in sides.items()}
        return AttributionResult(
            values=_numbers([found.scores for found, _, _ in self.done], n),
            clean=values["clean"],
            corrupted=values["corrupted"],
            components={
                name: {side: found[:, i] for side, found in parts.items()}
                for i, name in enumerate(problem.metric.component_names)
            },
            axes=sums.grid.axes,
            ran=sums.movable,
            site=sums.site,
            direction=problem.direction,
            method=self.method,
            magnitudes=self.grad_drop,
            metric=problem.metric.name,
            unit=problem.metric.unit,
            model=str(problem.model.cfg.model_name),
            clean_strings=problem.prompts.clean_strings,
            corrupted_strings=problem.prompts.corrupted_strings,
            complete=self.n_done == n,
            problem=problem,
            sums=sums,
        )


def _numbers(parts: Sequence[Tensor], n: int) -> np.ndarray:
    """Join what chunks gave, and fill up with NaN to n rows."""
    found: np.ndarray = full(torch.cat(list(parts))).cpu().numpy()
    if len(found) == n:
        return found
    rest = np.full((n - len(found), *found.shape[1:]), np.nan, found.dtype)
    return np.concatenate([found, rest])
