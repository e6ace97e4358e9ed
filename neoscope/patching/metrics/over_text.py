"""Metrics of all metric positions: divergence from a reference run, and loss on the text itself."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from jaxtyping import Float, Int
from torch import Tensor

from neoscope.errors import PatchingError, nearest
from neoscope.patching.metrics.metric import Metric, full
from neoscope.patching.prompts.pairs import Prompts

if TYPE_CHECKING:
    from neoscope.model import HookedGPTNeo

_SIDES = ("clean", "corrupted")


@dataclass(frozen=True, eq=False, repr=False)
class Divergence(Metric):
    """KL(reference run || this run), in nats, averaged over the metric positions."""

    reference: str | None = "clean"
    logs: Float[Tensor, "pairs P vocab"] | None = None
    """Log-probabilities of the reference run."""
    weights: Float[Tensor, "pairs P"] | None = None
    """Share of each metric position in the average; 0 for padding."""

    name, unit = "kl", "nats"

    def bind(
        self,
        model: HookedGPTNeo,
        prompts: Prompts,
        columns: Int[Tensor, "pairs P"],
        reference_logits: Float[Tensor, "pairs P vocab"] | None = None,
        *,
        direction: str = "denoise",
    ) -> Divergence:
        """Return a copy that knows the reference run; see :meth:`Metric.bind`."""
        if self.reference == "corrupted" and prompts.corrupted is None:
            raise PatchingError(
                "kl(reference='corrupted') needs corrupted prompts; give corrupted="
            )
        if reference_logits is None:
            raise PatchingError(f"kl needs the logits of the {self.reference} run to be bound")
        logs = full(reference_logits.detach()).log_softmax(-1)
        return replace(self, logs=logs, weights=_weights(prompts.mask.gather(1, columns)))

    def from_logits(
        self, logits: Float[Tensor, "n P vocab"], pairs: Int[Tensor, "n"]
    ) -> Float[Tensor, "n"]:
        """Return divergences; see :meth:`Metric.from_logits`."""
        if self.logs is None or self.weights is None:
            raise PatchingError("kl is not bound to prompts yet: call bind first")
        own = full(logits).log_softmax(-1)
        reference = self.logs[pairs.to(self.logs.device)].to(logits.device)
        divergence = (reference.exp() * (reference - own)).sum(-1)
        weights = self.weights.to(divergence)[pairs.to(logits.device)]
        return (divergence * weights).sum(-1)


@dataclass(frozen=True, eq=False, repr=False)
class Loss(Metric):
    """Negative log-probability of the tokens of a text, in nats, averaged over metric positions."""

    of: str = "base"
    targets: Int[Tensor, "pairs P"] | None = None
    """The token that comes next at each metric position."""
    weights: Float[Tensor, "pairs P"] | None = None
    """Share of each metric position in the average; 0 where nothing comes next, and for padding."""

    name, unit = "loss", "nats"
    positions = "all"

    def bind(
        self,
        model: HookedGPTNeo,
        prompts: Prompts,
        columns: Int[Tensor, "pairs P"],
        reference_logits: Float[Tensor, "pairs P vocab"] | None = None,
        *,
        direction: str = "denoise",
    ) -> Loss:
        """Return a copy that knows the tokens; see :meth:`Metric.bind`."""
        ids = prompts.base(direction) if self.of == "base" else prompts.ids(self.of)
        following = (columns + 1).clamp(max=prompts.n_columns - 1)
        counted = prompts.mask.gather(1, columns) & (columns + 1 < prompts.n_columns)
        empty = (~counted.any(dim=1)).nonzero().flatten().tolist()
        if empty:
            raise PatchingError(
                f"the loss of pair {empty[0]} has no next token at its metric positions; nothing "
                "comes after a prompt's last token: use metric_positions='all', and prompts of two "
                "tokens at least"
            )
        return replace(self, targets=ids.gather(1, following), weights=_weights(counted))

    def from_logits(
        self, logits: Float[Tensor, "n P vocab"], pairs: Int[Tensor, "n"]
    ) -> Float[Tensor, "n"]:
        """Return losses; see :meth:`Metric.from_logits`."""
        if self.targets is None or self.weights is None:
            raise PatchingError("loss is not bound to prompts yet: call bind first")
        pairs, logits = pairs.to(logits.device), full(logits)
        targets = self.targets.to(logits.device)[pairs]
        own = logits.gather(2, targets[:, :, None])[:, :, 0]
        nats = logits.logsumexp(dim=-1) - own
        return (nats * self.weights.to(nats)[pairs]).sum(-1)


def _weights(counted: Tensor) -> Float[Tensor, "pairs P"]:
    if not bool(counted.any(dim=1).all()):
        raise PatchingError("a pair has nothing but padding at its metric positions")
    return counted.double() / counted.sum(1, keepdim=True)


def kl(reference: str = "clean") -> Metric:
    """Return the metric KL(reference || patched), in nats, averaged over the metric positions.

    It is 0 for the reference run itself, where its gradient is 0 too.

    Args:
        reference: ``"clean"`` or ``"corrupted"``: whose predictions are the truth.

    Raises:
        PatchingError: It is neither.
    """
    if reference not in _SIDES:
        raise PatchingError(
            f"kl(reference={reference!r}); expected 'clean' or 'corrupted'"
            f"{nearest(str(reference), _SIDES)}"
        )
    return Divergence(reference)


def loss(of: str = "base") -> Metric:
    """Return the metric next-token loss on a prompt's own tokens, in nats a token.

    Metric positions are all of the text unless others are given.

    Args:
        of: Whose tokens: ``"base"`` for the prompt that is run and patched, ``"clean"`` or
            ``"corrupted"``.

    Raises:
        PatchingError: It is none of these.
    """
    if of not in ("base", *_SIDES):
        raise PatchingError(
            f"loss(of={of!r}); expected 'base', 'clean' or 'corrupted'"
            f"{nearest(str(of), ('base', *_SIDES))}"
        )
    return Loss(of)
