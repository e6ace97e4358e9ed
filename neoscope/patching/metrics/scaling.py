"""A metric on the scale on which the corrupted runs are 0 and the clean runs are 1."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from jaxtyping import Float, Int
from torch import Tensor

from neoscope.errors import PatchingError
from neoscope.patching.metrics.custom import as_metric
from neoscope.patching.metrics.metric import Metric
from neoscope.patching.prompts.pairs import Prompts
from neoscope.patching.results.span import check_span

if TYPE_CHECKING:
    from neoscope.model import HookedGPTNeo


@dataclass(frozen=True, eq=False, repr=False)
class Normalised(Metric):
    """``(metric - mean corrupted) / (mean clean - mean corrupted)``: one scale for all pairs."""

    inner: Metric
    minimum: float | None = None
    zero: float | None = None
    """The mean corrupted baseline."""
    span: float | None = None
    """The mean clean baseline minus the mean corrupted one."""

    unit = "clean - corrupted"
    needs_baselines = True

    def __post_init__(self) -> None:
        """Take over what the engine must know of the metric inside."""
        for field in ("component_names", "needs_vocab", "joint", "reads_last", "reference",
                      "positions", "differentiable", "ids"):  # fmt: skip
            object.__setattr__(self, field, getattr(self.inner, field))
        object.__setattr__(self, "name", f"normalised {self.inner.name}")

    @property
    def raw(self) -> Metric:
        """The metric inside, with which the baselines are measured."""
        return self.inner

    def bind(
        self,
        model: HookedGPTNeo,
        prompts: Prompts,
        columns: Int[Tensor, "pairs P"],
        reference_logits: Float[Tensor, "pairs P vocab"] | None = None,
        *,
        direction: str = "denoise",
    ) -> Normalised:
        """Return a copy whose metric inside is bound; see :meth:`Metric.bind`."""
        if prompts.corrupted is None:
            raise PatchingError(
                f"{self.name} needs clean and corrupted prompts: its scale lies between them"
            )
        inner = self.inner.bind(model, prompts, columns, reference_logits, direction=direction)
        return replace(self, inner=inner)

    def settle(
        self,
        clean: Float[Tensor, "pairs"] | None,
        corrupted: Float[Tensor, "pairs"] | None,
    ) -> Normalised:
        """Return a copy that knows its scale; see :meth:`Metric.settle`.

        Raises:
            PatchingError: The baselines are too close to one another to divide by.
        """
        if clean is None or corrupted is None:
            raise PatchingError(f"{self.name} needs the baselines of clean and corrupted runs")
        ours, theirs = (x.detach().double().cpu().numpy() for x in (clean, corrupted))
        span = check_span(ours, theirs, self.inner.unit, self.minimum)
        return replace(self, zero=float(theirs.mean()), span=span)

    def rescaled(self, values: Float[Tensor, "*n"]) -> Float[Tensor, "*n"]:
        """Return values of the metric inside on this scale.

        Args:
            values: Values of :attr:`raw`.
        """
        if self.zero is None or self.span is None:
            raise PatchingError(f"{self.name} does not know its baselines yet: call settle first")
        return (values - self.zero) / self.span

    def from_picked(
        self, picked: Float[Tensor, "n P k"], pairs: Int[Tensor, "n"]
    ) -> Float[Tensor, "n"]:
        """Return the metric on its scale; see :meth:`Metric.from_picked`."""
        return self.rescaled(self.inner.from_picked(picked, pairs))

    def from_logits(
        self, logits: Float[Tensor, "n P vocab"], pairs: Int[Tensor, "n"]
    ) -> Float[Tensor, "n"]:
        """Return the metric on its scale; see :meth:`Metric.from_logits`."""
        return self.rescaled(self.inner.from_logits(logits, pairs))


def normalised(metric: Any, *, minimum: float | None = None) -> Metric:
    """Return a metric scaled so that the corrupted baseline's mean is 0 and the clean one's is 1.

    One scale holds for all pairs (a ratio of means): dividing pair by pair would let those with a
    tiny difference rule the mean.

    Args:
        metric: A metric, or a function of logits.
        minimum: The smallest difference of the baselines' means that is divided by; see
            :func:`neoscope.patching.results.span.check_span` for the default.

    Raises:
        PatchingError: It is no metric.
    """
    inner = as_metric(metric)
    if isinstance(inner, Normalised):
        raise PatchingError(f"{inner.name} is normalised already")
    return Normalised(inner, minimum)
