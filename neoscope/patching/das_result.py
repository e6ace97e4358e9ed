"""DasResult: a subspace that was searched for, how well it carries its variable, and controls."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from jaxtyping import Float
from torch import Tensor

from neoscope.errors import PatchingError
from neoscope.patching.result import PatchingResult
from neoscope.patching.sweeping import sweep

if TYPE_CHECKING:
    from neoscope.model import HookedGPTNeo


@dataclass(frozen=True)
class DasControls:
    """Interchange accuracies that a searched subspace is to be compared with.

    The search fits arbitrary mappings, and finds effects in untrained models too (Arora et al.
    2024, arXiv 2402.12560): run it on such a model as well.
    """

    nothing: float
    """Nothing is patched."""
    whole: float
    """All of the site at the position is patched: what a subspace can at most hope for."""
    random: float
    """A random subspace of the same dimension is patched."""
    placebo: float
    """A random subspace is moved in as far as the searched one is."""
    arbitrary: float
    """Of a subspace searched for arbitrary targets, on the pairs that it was searched on: what the
    method finds where there is nothing. Compare with ``train_accuracy``."""


@dataclass(frozen=True, eq=False, repr=False)
class DasResult:
    """A subspace of a site whose interchange makes the model answer as a causal model says."""

    basis: Float[Tensor, "d dim"]
    """Orthonormal directions along the site's last axis, on the CPU; for ``subspace=``."""
    site: str
    layer: int | None
    position: Any
    """As given."""
    direction: str
    """Which prompt was patched, as in a sweep."""
    accuracy: float
    """Share of held-out pairs (of all, if none was held out) whose likeliest of the answers is the
    target when the subspace is interchanged."""
    train_accuracy: float
    """The same of the pairs that it was searched on."""
    losses: tuple[float, ...]
    """Mean cross-entropy over answers in nats, epoch by epoch."""
    controls: DasControls | None
    """None where they were not asked for."""
    n_train: int
    n_held_out: int
    seed: int
    model: str
    fingerprint: str
    """Hash of the model's config and weights."""

    @property
    def dim(self) -> int:
        """Dimensions of the subspace."""
        return int(self.basis.shape[1])

    def patch(
        self, model: HookedGPTNeo, clean: Any, corrupted: Any, metric: Any, **options: Any
    ) -> PatchingResult:
        """Patch the subspace in other prompts: a :func:`sweep` of one cell at its own place.

        Args:
            model: The model that it was searched in.
            clean: As for :func:`neoscope.patching.sweep`.
            corrupted: One for each clean prompt.
            metric: What is measured.
            options: More of its arguments; they go before the place of the search.

        Raises:
            PatchingError: It is another model.
        """
        if model.fingerprint() != self.fingerprint:
            raise PatchingError(
                f"the subspace was searched in {self.model} ({self.fingerprint}), and "
                f"{model.cfg.model_name} ({model.fingerprint()}) is another model"
            )
        own: dict[str, Any] = {
            "site": self.site,
            "positions": [self.position] if isinstance(self.position, int) else self.position,
            "direction": self.direction,
            "subspace": self.basis,
        }
        own |= {} if self.layer is None else {"layers": self.layer}
        return sweep(model, clean, corrupted, metric, **(own | options))

    def __repr__(self) -> str:
        """Return place, accuracy and controls."""
        layer = "" if self.layer is None else f" of layer {self.layer}"
        lines = [
            f"DasResult: {self.dim} of {len(self.basis)} dimensions at {self.site}{layer}",
            f"  position {self.position}, {self.direction}",
            f"  accuracy {self.accuracy:.3f} on {self.n_held_out} held-out pairs"
            if self.n_held_out
            else "  no pair was held out",
            f"  accuracy {self.train_accuracy:.3f} on {self.n_train} pairs it was searched on",
        ]
        if self.controls is not None:
            c = self.controls
            lines.append(
                f"  nothing {c.nothing:.3f}, whole site {c.whole:.3f}, random subspace "
                f"{c.random:.3f}, placebo {c.placebo:.3f}; arbitrary targets {c.arbitrary:.3f}"
            )
        return "\n".join(lines)
