"""Metric: one number for each run, from its logits at the metric positions."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING

from jaxtyping import Float, Int
from torch import Tensor

from neoscope.errors import PatchingError
from neoscope.patching.prompts.pairs import Prompts

if TYPE_CHECKING:
    from neoscope.model import HookedGPTNeo


class Metric(ABC):
    """A function from logits to one number for each run of a pair.

    A metric is first bound to prompts (:meth:`bind`), then, once the unpatched runs have been
    read, settled (:meth:`settle`); both return a new one. Nothing here changes afterwards.
    """

    name: str = ""
    unit: str = ""
    """``"logits"``, ``"probability"``, ``"nats"``, ``"rank"``; "" where it is not known."""
    component_names: tuple[str, ...] = ()
    """Whose raw logits are reported beside the metric: a difference alone can mislead."""
    needs_vocab: bool = True
    """False: the logits of :attr:`ids` are all that it needs."""
    joint: bool = False
    """True: it must see all pairs of a cell at once, in order."""
    reads_last: bool = False
    """True: of the metric positions it reads the last alone."""
    reference: str | None = None
    """``"clean"`` or ``"corrupted"``: it compares with that run's logits."""
    positions: str | None = None
    """Metric positions it wants where none are given: ``"all"``, or None for the last."""
    differentiable: bool = True
    needs_baselines: bool = False
    """True: it must be settled on both unpatched runs."""
    ids: Int[Tensor, "pairs k"] | None = None
    """Tokens whose logits are the components, in their order; known once bound."""

    @property
    def raw(self) -> Metric:
        """What the baselines are measured with, before they are known."""
        return self

    @abstractmethod
    def bind(
        self,
        model: HookedGPTNeo,
        prompts: Prompts,
        columns: Int[Tensor, "pairs P"],
        reference_logits: Float[Tensor, "pairs P vocab"] | None = None,
        *,
        direction: str = "denoise",
    ) -> Metric:
        """Return a copy that knows its tokens and its reference.

        Args:
            model: Its tokenizer reads words.
            prompts: What it will be measured on.
            columns: The metric positions, from :func:`metric_columns`.
            reference_logits: Of the unpatched run that :attr:`reference` names.
            direction: Which side is patched: ``"denoise"`` or ``"noise"``.

        Raises:
            PatchingError: It does not fit the prompts; the message says how.
        """

    def settle(
        self,
        clean: Float[Tensor, "pairs"] | None,
        corrupted: Float[Tensor, "pairs"] | None,
    ) -> Metric:
        """Return a copy that knows the baselines, values of :attr:`raw`.

        Args:
            clean: In the unpatched clean runs.
            corrupted: In the unpatched corrupted runs.
        """
        return self

    def rescaled(self, values: Float[Tensor, "*n"]) -> Float[Tensor, "*n"]:
        """Return values of :attr:`raw` as values of this metric, once it is settled.

        Args:
            values: Values of :attr:`raw`.
        """
        return values

    def from_picked(
        self, picked: Float[Tensor, "n P k"], pairs: Int[Tensor, "n"]
    ) -> Float[Tensor, "n"]:
        """Return the metric from the logits of :attr:`ids` alone.

        Args:
            picked: Logits at the metric positions, or at the last of them.
            pairs: Which pair each row is a run of.
        """
        raise PatchingError(f"{self.name} needs the logits of the whole vocabulary")

    @abstractmethod
    def from_logits(
        self, logits: Float[Tensor, "n P vocab"], pairs: Int[Tensor, "n"]
    ) -> Float[Tensor, "n"]:
        """Return the metric of each row.

        Args:
            logits: At the metric positions; for a joint metric all pairs of one cell, in order.
            pairs: Which pair each row is a run of.
        """

    def __repr__(self) -> str:
        """Return its name and unit."""
        return f"<metric {self.name}{f' in {self.unit}' if self.unit else ''}>"


def full(x: Tensor) -> Tensor:
    """Return half-precision values as float32; others as they are.

    Args:
        x: Logits.
    """
    return x.float() if x.element_size() < 4 else x
