"""DasResult: a subspace that was searched for, how well it carries its variable, and controls."""

from __future__ import annotations

import os
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Float
from torch import Tensor

from neoscope.errors import PatchingError
from neoscope.patching.prompts.reading import plain
from neoscope.patching.results import saved, tensor_file
from neoscope.patching.results.result import PatchingResult
from neoscope.patching.sweeps.sweeping import sweep

if TYPE_CHECKING:
    from pandas import DataFrame

    from neoscope.model import HookedGPTNeo

_FORMAT = "neoscope das 1"


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
    """As given: one for all pairs, or [pairs, 1]."""
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

    def to_dataframe(self) -> DataFrame:
        """Return one row for each subspace that was patched: ``subspace``, ``accuracy``, ``pairs``.

        ``accuracy`` is a share of pairs; ``pairs`` is how many it was measured on.
        """
        import pandas as pd

        test = self.n_held_out or self.n_train
        rows: list[tuple[str, float, int]] = [("searched", self.accuracy, test)]
        rows.append(("searched, its own pairs", self.train_accuracy, self.n_train))
        if self.controls is not None:
            for name, accuracy in asdict(self.controls).items():
                rows.append((name, accuracy, self.n_train if name == "arbitrary" else test))
        return pd.DataFrame(rows, columns=["subspace", "accuracy", "pairs"])

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write it as one ``.safetensors`` file, whole or not at all.

        Args:
            path: An older search there is replaced; any other file is not.

        Returns:
            Where it stands.

        Raises:
            PatchingError: Another suffix, or it cannot be written.
        """
        said = {f.name: getattr(self, f.name) for f in fields(self) if f.name != "basis"}
        said["controls"] = None if self.controls is None else asdict(self.controls)
        said["position"] = plain(self.position)
        return tensor_file.write(path, _FORMAT, {"basis": self.basis.numpy()}, said)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> DasResult:
        """Read what :meth:`save` wrote.

        Args:
            path: A ``.safetensors`` file.

        Raises:
            PatchingError: There is no such file, or it is damaged or something else, which
                :func:`neoscope.patching.load` may be able to read.
        """
        with saved.reading(path, "DasResult") as source:
            said, arrays = tensor_file.read(source, _FORMAT)
            controls, position = said.pop("controls"), said.pop("position")
            return cls(
                basis=torch.from_numpy(arrays["basis"]),
                controls=None if controls is None else DasControls(**controls),
                position=position if isinstance(position, int) else torch.tensor(position),
                **said | {"losses": tuple(said["losses"])},
            )

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
