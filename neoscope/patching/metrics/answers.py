"""Metrics of an answer: its logit, logit difference, probability and rank at the last position.

Zhang & Nanda 2023 (arXiv:2309.16042) recommend the logit difference: it is linear in the logits,
and unlike the probability it sees heads that speak against the answer.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from neoscope.errors import PatchingError
from neoscope.patching.metrics.metric import Metric, full
from neoscope.patching.metrics.words import answer_ids, warn_of_missing_space
from neoscope.patching.prompts.pairs import Prompts

if TYPE_CHECKING:
    from neoscope.model import HookedGPTNeo


@dataclass(frozen=True, eq=False, repr=False)
class AnswerMetric(Metric):
    """What all metrics of an answer share: words become ids when the metric is bound."""

    answers: tuple[Any, ...]
    """As given: for each component a word, an id, or one of either for each pair."""
    ids: Int[Tensor, "pairs k"] | None = None

    reads_last = True

    def bind(
        self,
        model: HookedGPTNeo,
        prompts: Prompts,
        columns: Int[Tensor, "pairs P"],
        reference_logits: Float[Tensor, "pairs P vocab"] | None = None,
        *,
        direction: str = "denoise",
    ) -> AnswerMetric:
        """Return a copy that knows its token ids; see :meth:`Metric.bind`."""
        found = [
            answer_ids(model, given, len(prompts), name)
            for name, given in zip(self.component_names, self.answers, strict=True)
        ]
        for given, name in zip(self.answers, self.component_names, strict=True):
            warn_of_missing_space(model, given, prompts, name)
        if len(found) == 2 and bool((found[0] == found[1]).any()):
            same = (found[0] == found[1]).nonzero().flatten().tolist()
            raise PatchingError(
                f"{' and '.join(self.component_names)} are the same token "
                f"({int(found[0][same[0]])}) in pair {same[0]}; their difference would always be 0"
            )
        return replace(self, ids=torch.stack(found, dim=1))

    def _answer(self, pairs: Int[Tensor, "n"], device: torch.device) -> Int[Tensor, "n 1"]:
        if self.ids is None:
            raise PatchingError(f"{self.name} is not bound to prompts yet: call bind first")
        return self.ids.to(device)[pairs.to(device)][:, :1]


class LogitDiff(AnswerMetric):
    """Logit of the answer minus logit of the wrong answer."""

    name, unit = "logit_diff", "logits"
    component_names = ("answer", "wrong")
    needs_vocab = False

    def from_picked(
        self, picked: Float[Tensor, "n P k"], pairs: Int[Tensor, "n"]
    ) -> Float[Tensor, "n"]:
        """Return the difference; see :meth:`Metric.from_picked`."""
        last = full(picked)[:, -1]
        return last[:, 0] - last[:, 1]

    def from_logits(
        self, logits: Float[Tensor, "n P vocab"], pairs: Int[Tensor, "n"]
    ) -> Float[Tensor, "n"]:
        """Return the difference; see :meth:`Metric.from_logits`."""
        return self.from_picked(picked(self, logits, pairs), pairs)


class Logit(AnswerMetric):
    """Logit of the answer."""

    name, unit = "logit", "logits"
    component_names = ("answer",)
    needs_vocab = False

    def from_picked(
        self, picked: Float[Tensor, "n P k"], pairs: Int[Tensor, "n"]
    ) -> Float[Tensor, "n"]:
        """Return the logit; see :meth:`Metric.from_picked`."""
        return full(picked)[:, -1, 0]

    def from_logits(
        self, logits: Float[Tensor, "n P vocab"], pairs: Int[Tensor, "n"]
    ) -> Float[Tensor, "n"]:
        """Return the logit; see :meth:`Metric.from_logits`."""
        return self.from_picked(picked(self, logits, pairs), pairs)


class LogProb(AnswerMetric):
    """Natural logarithm of the answer's probability."""

    name, unit = "log_prob", "nats"
    component_names = ("answer",)

    def from_logits(
        self, logits: Float[Tensor, "n P vocab"], pairs: Int[Tensor, "n"]
    ) -> Float[Tensor, "n"]:
        """Return log-probabilities; see :meth:`Metric.from_logits`."""
        last = full(logits[:, -1])
        own = last.gather(1, self._answer(pairs, logits.device))[:, 0]
        return own - last.logsumexp(dim=-1)


class Probability(LogProb):
    """The answer's probability."""

    name, unit = "probability", "probability"

    def from_logits(
        self, logits: Float[Tensor, "n P vocab"], pairs: Int[Tensor, "n"]
    ) -> Float[Tensor, "n"]:
        """Return probabilities; see :meth:`Metric.from_logits`."""
        return super().from_logits(logits, pairs).exp()


class Rank(AnswerMetric):
    """How many tokens are likelier than the answer, plus one: 1 is the likeliest."""

    name, unit = "rank", "rank"
    component_names = ("answer",)
    differentiable = False

    def from_logits(
        self, logits: Float[Tensor, "n P vocab"], pairs: Int[Tensor, "n"]
    ) -> Float[Tensor, "n"]:
        """Return ranks; see :meth:`Metric.from_logits`."""
        last = full(logits[:, -1])
        own = last.gather(1, self._answer(pairs, logits.device))
        return (last > own).sum(-1).to(last.dtype) + 1


def picked(
    metric: Metric, logits: Float[Tensor, "n P vocab"], pairs: Int[Tensor, "n"]
) -> Float[Tensor, "n P k"]:
    """Return the logits of a bound metric's own tokens.

    Args:
        metric: Bound; what it reports are ``metric.ids``.
        logits: Of the whole vocabulary.
        pairs: Which pair each row is a run of.
    """
    if metric.ids is None:
        raise PatchingError(f"{metric.name} is not bound to prompts yet: call bind first")
    own = metric.ids.to(logits.device)[pairs.to(logits.device)]
    return logits.gather(2, own[:, None].expand(-1, logits.shape[1], -1))


def logit_diff(answer: Any, wrong: Any) -> Metric:
    """Return the metric logit(answer) - logit(wrong), in logits.

    Args:
        answer: A word of one token (``" Mary"``: inside a text a word begins with a space), a token
            id, or one of either for each pair.
        wrong: The same.

    Example:
        >>> logit_diff(" Mary", " John")
        <metric logit_diff in logits>
    """
    return LogitDiff((answer, wrong))


def logit(answer: Any) -> Metric:
    """Return the metric logit of the answer.

    Args:
        answer: As for :func:`logit_diff`.
    """
    return Logit((answer,))


def probability(answer: Any) -> Metric:
    """Return the metric probability of the answer, which misses heads that speak against it.

    Args:
        answer: As for :func:`logit_diff`.
    """
    return Probability((answer,))


def log_prob(answer: Any) -> Metric:
    """Return the metric log-probability of the answer, in nats.

    Args:
        answer: As for :func:`logit_diff`.
    """
    return LogProb((answer,))


def rank(answer: Any) -> Metric:
    """Return the metric rank of the answer: 1 is the likeliest token. It has no gradient.

    Args:
        answer: As for :func:`logit_diff`.
    """
    return Rank((answer,))
