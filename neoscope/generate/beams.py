"""Beam search and beam sampling, token for token what transformers' ``_beam_search`` finds.

Reference: ``transformers/generation/utils.py`` (5.23): ``_beam_search`` and its parts, of which
every rule is kept: candidates, when a prompt is done, and how finished beams are ranked.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from neoscope.errors import GenerationError
from neoscope.generate.prompts import Prompts
from neoscope.generate.steps import Steps
from neoscope.generate.text import Grown, endings

if TYPE_CHECKING:
    from torch import FloatTensor, LongTensor

    from neoscope.generate.options import Plan
    from neoscope.model import HookedGPTNeo

_NEVER = -1.0e9
"""The score of what must not be chosen, as in transformers."""
Beams = Int[Tensor, "prompt beam pos"]
Scores = Float[Tensor, "prompt beam"]
Flags = Bool[Tensor, "prompt beam"]


@dataclass
class _Pool:
    """Some beams of each prompt."""

    ids: Beams
    scores: Scores
    ended: Flags
    length: Int[Tensor, "prompt beam"]
    """New tokens of each."""

    def pick(self, index: Int[Tensor, "prompt n"]) -> _Pool:
        """Return the named beams of each prompt."""
        ids = self.ids.gather(1, index[..., None].expand(-1, -1, self.ids.shape[-1]))
        rest = (x.gather(1, index) for x in (self.scores, self.ended, self.length))
        return _Pool(ids, *rest)


class BeamSearch:
    """The state of one search: beams still running, and the best that have ended."""

    def __init__(
        self,
        model: HookedGPTNeo,
        plan: Plan,
        prompts: Prompts,
        generator: torch.Generator | None,
    ) -> None:
        """Begin with one live beam a prompt; its copies score too low to be chosen."""
        self._model, self._plan, self._prompts, self._generator = model, plan, prompts, generator
        n, k = len(prompts.ids), plan.n_beams
        self._start = self._at = prompts.ids.shape[1]
        # A pad token of id 0 counts as none in transformers, and the end of text fills instead.
        fill = plan.pad or (plan.eos[0] if plan.eos else 0)
        ids = prompts.ids.new_full((n, k, plan.max_length), fill)
        ids[:, :, : self._start] = prompts.ids[:, None]
        scores = torch.zeros(n, k, device=ids.device)
        scores[:, 1:] = _NEVER
        flags = torch.zeros(n, k, dtype=torch.bool, device=ids.device)
        none = torch.zeros(n, k, dtype=torch.long, device=ids.device)
        self._running = _Pool(ids, scores, flags, none)
        self._done = _Pool(ids.clone(), torch.full_like(scores, _NEVER), flags, none)
        self._open = torch.ones(n, 1, dtype=torch.bool, device=ids.device)
        """Prompts whose running beams may still win."""
        self._penalty = float(plan.config.length_penalty)
        self._early = plan.config.early_stopping
        self._keep = max(2, 1 + len(plan.eos)) * k
        """Candidates: enough for a full set of beams if every best one ends."""

    def run(self, steps: Steps) -> Grown:
        """Search until no prompt can improve.

        Raises:
            GenerationError: Processors have ruled out every token.
        """
        k = self._plan.n_beams
        rows = torch.arange(len(self._prompts.ids), device=self._open.device).repeat_interleave(k)
        hidden = steps.first(self._prompts, rows)
        real = torch.ones_like(self._running.ids[:, 0], dtype=torch.bool)
        if self._prompts.mask is not None:
            real[:, : self._start] = self._prompts.mask
        while True:
            beam, stops = self._step(hidden)
            if not self._goes_on(stops):
                break
            origin = (rows.view(-1, k)[:, :1] * k + beam).flatten()
            if not torch.equal(origin, torch.arange(len(origin), device=origin.device)):
                steps.pick(origin)
            so_far = self._running.ids[:, :, : self._at].flatten(0, 1)
            hidden = steps.next(so_far, real[rows, : self._at])
        return self._result(real)

    def _step(self, hidden: Tensor) -> tuple[Tensor, Tensor]:
        """Grow all beams by one token; return which beam each came from, and what ended."""
        k = self._plan.n_beams
        n = len(self._running.ids)
        log_probs = self._model.unembed(hidden).float().log_softmax(-1)
        so_far = self._running.ids[:, :, : self._at].flatten(0, 1)
        log_probs = self._plan.processors(
            cast("LongTensor", so_far), cast("FloatTensor", log_probs)
        )
        d_vocab = log_probs.shape[-1]
        total = (log_probs.view(n, k, -1) + self._running.scores[..., None]).view(n, -1)
        scores, index = self._candidates(total)
        beam = index // d_vocab
        grown = self._running.pick(beam)
        grown.ids[:, :, self._at] = index % d_vocab
        stops, _ = endings(self._plan, grown.ids[:, :, : self._at + 1].flatten(0, 1))
        grown.ended, grown.scores = stops.view(n, -1), scores
        grown.length = torch.full_like(index, self._at + 1 - self._start)
        self._finish(grown)
        best = torch.topk(scores + grown.ended.float() * _NEVER, k=k)
        self._running = grown.pick(best.indices)
        self._running.scores = best.values
        self._at += 1
        self._narrow()
        return beam.gather(1, best.indices), grown.ended

    def _candidates(self, total: Float[Tensor, "prompt choices"]) -> tuple[Tensor, Tensor]:
        if not self._plan.samples:
            found = torch.topk(total, k=self._keep)
            return found.values, found.indices
        try:
            index = torch.multinomial(total.softmax(-1), self._keep, generator=self._generator)
        except RuntimeError as error:
            raise GenerationError(f"no token can be drawn: {error}") from error
        return total.gather(1, index), index

    def _finish(self, grown: _Pool) -> None:
        """Let what has just ended compete with what ended before."""
        just = grown.ended.clone()
        just[:, self._plan.n_beams :] = False  # the rest only stands in for beams that ended
        scores = grown.scores / (self._at + 1 - self._start) ** self._penalty
        full = self._done.ended.all(1, keepdim=True) & (self._early is True)
        for never in (full, ~self._open, ~just):
            scores = scores + never.float() * _NEVER
        both = _Pool(
            torch.cat([self._done.ids, grown.ids], 1),
            torch.cat([self._done.scores, scores], 1),
            torch.cat([self._done.ended, just], 1),
            torch.cat([self._done.length, grown.length], 1),
        )
        self._done = both.pick(torch.topk(both.scores, k=self._plan.n_beams).indices)

    def _narrow(self) -> None:
        """Close the prompts whose best running beam can no longer win."""
        reach = self._at - self._start
        if self._early == "never" and self._penalty > 0.0:
            reach = self._plan.max_length - self._start
        best = self._running.scores[:, :1] / reach**self._penalty
        worst = self._done.scores.min(dim=1, keepdim=True).values
        worst = torch.where(self._done.ended, worst, _NEVER)
        self._open = self._open & (best > worst).any(-1, keepdim=True)

    def _goes_on(self, stops: Tensor) -> bool:
        all_done = bool(self._done.ended.all()) and self._early is True
        return bool(self._open.any()) and not all_done and not bool(stops.all())

    def _result(self, real: Tensor) -> Grown:
        kept = self._plan.n_return
        done = self._done
        ids, scores, length = (
            x[:, :kept].flatten(0, 1) for x in (done.ids, done.scores, done.length)
        )
        stop = self._start + int(length.max())
        ids = ids[:, :stop]
        column = torch.arange(stop, device=ids.device)
        mask = real[:, :stop].repeat_interleave(kept, 0) & (column < self._start + length[:, None])
        stopped = []
        for row, n in zip(ids, length.tolist(), strict=True):
            _, why = endings(self._plan, row[None, : self._start + n])
            stopped.append(next((name for name, hit in why if bool(hit)), "length"))
        return Grown(ids, mask, self._start, stopped, scores=scores)
