"""Source: where the values of a patch come from."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING

from neoscope.patching.engine.base import Base
from neoscope.patching.prompts.pairs import Prompts
from neoscope.patching.sources.values import Kept, Values

if TYPE_CHECKING:
    from neoscope.model import HookedGPTNeo


class Source(ABC):
    """Where the values of a patch come from."""

    label: str
    """For tables and titles."""

    def prepare(self, model: HookedGPTNeo, prompts: Prompts, direction: str, kept: Kept) -> Source:
        """Do once what concerns all pairs together.

        Args:
            model: The model.
            prompts: All pairs.
            direction: ``"denoise"`` or ``"noise"``.
            kept: The (site, layer) that will be asked for.
        """
        return self

    @abstractmethod
    def bind(self, base: Base, prompts: Prompts, rows: slice, direction: str, kept: Kept) -> Values:
        """Hold the values for some pairs ready.

        Args:
            base: Their unpatched run.
            prompts: These pairs.
            rows: Which of all they are.
            direction: ``"denoise"`` or ``"noise"``.
            kept: The (site, layer) that will be asked for.
        """
