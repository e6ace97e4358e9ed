"""A user's own function of logits as a metric, with what it returns checked."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from neoscope.errors import PatchingError
from neoscope.patching.metrics.metric import Metric, full
from neoscope.patching.prompts.pairs import Prompts

if TYPE_CHECKING:
    from neoscope.model import HookedGPTNeo


@dataclass(frozen=True, eq=False, repr=False)
class Custom(Metric):
    """A function of logits [pairs, positions, vocab] that returns one number a pair."""

    function: Callable[..., Any]
    n_pairs: int | None = None

    joint = True

    def __post_init__(self) -> None:
        """Name the metric after the function."""
        name = getattr(self.function, "__name__", type(self.function).__name__)
        object.__setattr__(self, "name", str(name))

    def bind(
        self,
        model: HookedGPTNeo,
        prompts: Prompts,
        columns: Int[Tensor, "pairs P"],
        reference_logits: Float[Tensor, "pairs P vocab"] | None = None,
        *,
        direction: str = "denoise",
    ) -> Custom:
        """Return a copy that knows the number of pairs; see :meth:`Metric.bind`."""
        return replace(self, n_pairs=len(prompts))

    def from_logits(
        self, logits: Float[Tensor, "n P vocab"], pairs: Int[Tensor, "n"]
    ) -> Float[Tensor, "n"]:
        """Return what the function says of all pairs of one cell; see :meth:`Metric.from_logits`.

        Raises:
            PatchingError: It does not return one finite number a pair.
        """
        logits = full(logits)
        n, said = len(logits), self._said(logits)
        try:
            values = said if isinstance(said, Tensor) else torch.as_tensor(said)
        except (TypeError, ValueError, RuntimeError):
            raise PatchingError(
                f"the metric {self.name} returned {type(said).__name__}; expected a tensor of one "
                f"number a pair, [{n}]"
            ) from None
        if values.is_complex():
            raise PatchingError(f"the metric {self.name} returned complex numbers; expected real")
        if values.ndim == 0 and n == 1:
            values = values[None]
        if tuple(values.shape) != (n,):
            raise PatchingError(self._shape_message(values, logits))
        values = values.to(logits.device)
        values = values if values.dtype == torch.float64 else values.to(logits.dtype)
        bad = (~values.isfinite()).nonzero().flatten().tolist()
        if bad:
            more = f" (and {len(bad) - 1} more)" if bad[1:] else ""
            raise PatchingError(
                f"the metric {self.name} returned {values[bad[0]].item()} for pair {bad[0]}{more}; "
                "expected finite numbers"
            )
        return values

    def _said(self, logits: Tensor) -> Any:
        """Call the function; one that leaves torch is told so where gradients are needed."""
        try:
            return self.function(logits)
        except RuntimeError as error:
            if not (logits.requires_grad and "numpy()" in str(error)):
                raise
            raise PatchingError(
                f"the metric {self.name} has no gradient: it makes numpy arrays of the logits, and "
                "gradients need it in torch from logits to result; write it with torch alone, or "
                "use neoscope.patching.sweep, which needs no gradient"
            ) from error

    def _shape_message(self, values: Tensor, logits: Tensor) -> str:
        hint = ""
        if values.ndim == 0:
            hint = "; keep the axis of pairs: no .mean(), .sum() or .item() over it"
        elif values.shape[:2] == logits.shape[:2]:
            hint = "; choose a position, such as logits[:, -1, token]"
        return (
            f"the metric {self.name} returned shape {list(values.shape)} for logits "
            f"{list(logits.shape)} [pairs, positions, vocab]; expected [{len(logits)}], one number "
            f"a pair{hint}"
        )


def as_metric(metric: Any) -> Metric:
    """Return a metric as it is, and a function of logits as one.

    Args:
        metric: A :class:`Metric`, or a function from logits [pairs, positions, vocab] at the metric
            positions (the last token's, an axis of length one, unless others are asked for) to one
            number a pair. It is called once a cell, with all pairs in order.

    Raises:
        PatchingError: It is neither.

    Example:
        >>> as_metric(lambda logits: logits[:, -1, 3] - logits[:, -1, 5]).joint
        True
    """
    if isinstance(metric, Metric):
        return metric
    if isinstance(metric, type) or not callable(metric):
        raise PatchingError(
            f"metric={metric!r} is no metric; give one, such as patching.logit_diff(' Mary', "
            "' John'), or a function of logits [pairs, positions, vocab]"
        )
    home, name = getattr(metric, "__module__", None), getattr(metric, "__name__", "")
    if str(home).startswith("neoscope.patching.metrics") and name.isidentifier():
        raise PatchingError(
            f"metric={name} is what makes a metric; call it, as in patching.{name}(...)"
        )
    return Custom(metric)
