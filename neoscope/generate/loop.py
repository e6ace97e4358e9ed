"""Greedy search and sampling: one token a row and step, as transformers' ``_sample`` takes them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import torch
from jaxtyping import Float, Int
from torch import Tensor

from neoscope.errors import GenerationError
from neoscope.generate.prompts import Prompts
from neoscope.generate.screen import Screen
from neoscope.generate.steps import Steps
from neoscope.generate.text import Grown, begin, endings

if TYPE_CHECKING:
    from torch import FloatTensor, LongTensor

    from neoscope.generate.options import Plan
    from neoscope.model import HookedGPTNeo


class Chooser:
    """From a hidden state to the next token of each row."""

    def __init__(
        self,
        model: HookedGPTNeo,
        plan: Plan,
        generator: torch.Generator | None,
        screen: Screen | None,
        *,
        log_probs: bool,
    ) -> None:
        """Remember how tokens are chosen.

        Args:
            model: Its unembedding is used.
            plan: Processors, and whether tokens are drawn.
            generator: Where draws come from; None is torch's own.
            screen: Finds the greedy token faster; only where nobody needs all logits.
            log_probs: Whether to return log-probabilities too.
        """
        self._model, self._plan, self._generator = model, plan, generator
        self._screen, self._log_probs = screen, log_probs

    def __call__(
        self, hidden: Float[Tensor, "row d_model"], ids: Int[Tensor, "row pos"]
    ) -> tuple[Int[Tensor, " row"], Float[Tensor, " row"] | None]:
        """Return the next tokens, and their log-probabilities under the model if asked for.

        Raises:
            GenerationError: Processors have ruled out every token, or logits are not finite.
        """
        if self._screen is not None and self._screen.helps:
            found = self._screen.argmax(hidden, self._model.unembed.rows)
            if found is not None:
                return found, None
        logits = self._model.unembed(hidden).float()
        normalised = logits.log_softmax(-1) if self._log_probs else None
        scores = self._plan.processors(cast("LongTensor", ids), cast("FloatTensor", logits))
        tokens = self._draw(scores) if self._plan.samples else scores.argmax(-1)
        if normalised is None:
            return tokens, None
        return tokens, normalised.gather(1, tokens[:, None])[:, 0]

    def _draw(self, scores: Tensor) -> Tensor:
        probabilities = scores.softmax(-1)
        try:
            return torch.multinomial(probabilities, 1, generator=self._generator)[:, 0]
        except RuntimeError as error:
            raise GenerationError(
                f"no token can be drawn: {error}; processors have ruled out every token, or the "
                "model's logits are not finite"
            ) from error


def generate(
    prompts: Prompts, steps: Steps, choose: Chooser, plan: Plan, *, streamer: Any = None
) -> Grown:
    """Add tokens until every row has ended.

    Args:
        prompts: Where to start.
        steps: Runs the model.
        choose: Picks tokens.
        plan: When to stop.
        streamer: Gets the prompts, then every step's tokens, as transformers' streamers do.
    """
    rows = torch.arange(len(prompts.ids), device=prompts.ids.device)
    rows = rows.repeat_interleave(plan.copies)
    text = begin(prompts, rows, plan)
    at, going = text.start, torch.ones_like(rows, dtype=torch.bool)
    if streamer is not None:
        try:
            streamer.put(text.ids[:, :at].cpu())
        except ValueError as error:  # one that takes a single text only
            raise GenerationError(str(error)) from error
    hidden, said = steps.first(prompts, rows), []
    while True:
        tokens, log_probs = choose(hidden, text.ids[:, :at])
        text.ids[:, at] = torch.where(going, tokens, plan.pad)
        text.real[:, at] = going
        if log_probs is not None:
            said.append(torch.where(going, log_probs, 0.0))
        at += 1
        if streamer is not None:
            streamer.put(text.ids[:, at - 1].cpu())
        ended, why = endings(plan, text.ids[:, :at])
        _note(text, going & ended, why)
        going = going & ~ended
        if not bool(going.any()):
            break
        fed = text.ids[:, :at]
        if not bool(going.all()):  # a pad token may lie outside the embedding
            fed = fed.masked_fill(~text.real[:, :at], 0)
        hidden = steps.next(fed, text.real[:, :at])
    if streamer is not None:
        streamer.end()
    text.ids, text.real = text.ids[:, :at], text.real[:, :at]
    text.log_probs = torch.stack(said, 1) if said else None
    return text


def _note(text: Grown, ending: Tensor, why: list[tuple[str, Tensor]]) -> None:
    """Write down why rows end, where they do."""
    if not bool(ending.any()):
        return
    for row in ending.nonzero().flatten().tolist():
        text.stopped[row] = next(name for name, hits in why if bool(hits[row]))
