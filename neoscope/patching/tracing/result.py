"""TraceResult: what a causal trace measured, draw by draw, with its effects averaged over draws."""

from __future__ import annotations

import os
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from neoscope.errors import PatchingError
from neoscope.patching.results import file as result_file
from neoscope.patching.results import saved, statistics
from neoscope.patching.results.axes import Axis
from neoscope.patching.results.result import PatchingResult
from neoscope.patching.results.statistics import Array
from neoscope.patching.tracing.subjects import ROLES, role_of

_SETTINGS = ("sigma", "noise", "centred", "window", "subject")


@dataclass(frozen=True, eq=False, repr=False)
class TraceResult(PatchingResult):
    """Indirect effects of restored states: a :class:`PatchingResult` whose base run is noised.

    ``clean`` is the metric in the run without noise, ``corrupted`` in the noised run, ``patched``
    in the noised run with a state restored; the latter two are averages over the draws of noise.
    So ``mean`` is the average indirect effect, and ``stderr``, ``interval`` and ``p_value`` are
    over prompts, not over draws.
    """

    drawn: NDArray[Any] = field(kw_only=True)
    """The metric with a state restored, ``[draws, pairs, *axes]``."""
    noised: NDArray[Any] = field(kw_only=True)
    """The metric in the noised run, ``[draws, pairs]``."""
    sigma: float = field(kw_only=True)
    """Standard deviation of embedding entries that noise was measured in."""
    noise: float = field(kw_only=True)
    """Standard deviation of the noise, in ``sigma``."""
    centred: bool = field(kw_only=True)
    """Whether ``sigma`` is about the mean embedding."""
    window: int | None = field(kw_only=True)
    """Layers that were restored at once; None for one."""
    subject: tuple[tuple[int, ...], ...] = field(kw_only=True)
    """Positions of each prompt's subject."""

    def __post_init__(self) -> None:
        """Check that all parts fit together.

        Raises:
            PatchingError: They do not.
        """
        super().__post_init__()
        n, shape = len(self.noised), self.patched.shape
        if self.drawn.shape != (n, *shape) or self.noised.shape != (n, shape[0]) or not n:
            raise PatchingError(
                f"drawn has shape {self.drawn.shape} and noised {self.noised.shape}; expected "
                f"[draws, pairs, *axes] and [draws, pairs] beside {shape}"
            )

    @property
    def draws(self) -> int:
        """How many draws of noise there were."""
        return len(self.noised)

    @property
    def total(self) -> Array:
        """Total effect of each prompt, ``[pairs]``: clean minus noised, averaged over draws."""
        assert self.clean is not None and self.corrupted is not None
        return np.asarray(self.clean, np.float64) - np.asarray(self.corrupted, np.float64)

    @property
    def total_effect(self) -> float:
        """Mean total effect over prompts."""
        return float(self.total.mean())

    @property
    def total_stderr(self) -> float:
        """Standard error of the total effect over prompts; NaN for one."""
        return float(statistics.stderr(self.total[:, None])[0])

    @property
    def effects_by_draw(self) -> Array:
        """Indirect effects of each draw, ``[draws, pairs, *axes]``."""
        noised = self.noised.reshape(*self.noised.shape, *[1] * len(self.axes))
        return np.asarray(self.drawn - noised, np.float64)

    def by_role(self) -> TraceResult:
        """Return effects by the part that a token plays, as in ROME's figures.

        Each position was restored by itself; what stands in one row is the average over a prompt's
        tokens of that role (NaN where it has none), so that prompts of different length and with
        subjects at different places can be compared.

        Raises:
            PatchingError: Not every position was traced by itself.
        """
        names = [axis.name for axis in self.axes]
        lengths = [len(row) for row in self.clean_strings]
        at = names.index("pos") if "pos" in names else -1
        if at < 0 or len(self.axes[at]) != max(lengths, default=0):
            raise PatchingError(
                f"roles need every position by itself; the axes are {names}. Trace with "
                "positions='each'"
            )
        roles = [
            [*[None] * (max(lengths) - n), *role_of(own, n)]
            for own, n in zip(self.subject, lengths, strict=True)
        ]
        play = np.array([[[r == role for r in row] for role in ROLES] for row in roles], float)

        def averaged(x: NDArray[Any], skip: int) -> NDArray[Any]:
            return _by_role(np.moveaxis(x, (skip - 1, at + skip), (0, -1)), play, at + skip, skip)

        assert self.ran is not None
        axes = [*self.axes[:at], Axis("role", ROLES), *self.axes[at + 1 :]]
        ran = np.repeat(self.ran.any(at, keepdims=True), len(ROLES), at)
        return replace(
            self,
            axes=tuple(axes),
            patched=averaged(self.patched, 1),
            components={name: averaged(x, 1) for name, x in self.components.items()},
            drawn=averaged(self.drawn, 2),
            ran=ran,
        )

    def select(self, **where: Any) -> TraceResult:
        """Return a part of the grid; see :meth:`PatchingResult.select`.

        Args:
            where: For each named axis a label or index, a list of them, or a slice.
        """
        return _traced(self._plain().select(**where))

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write everything, draws included, to ``.json`` or ``.parquet``.

        Args:
            path: An older result there is replaced; any other file is not.

        Returns:
            Where it stands.

        Raises:
            PatchingError: Another suffix, or it cannot be written.
        """
        return self._plain().save(path)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> TraceResult:
        """Read what :meth:`save` wrote; the result equals the one that was saved.

        Args:
            path: A ``.json`` or ``.parquet`` file.

        Raises:
            PatchingError: There is no such file, or it is damaged or something else, which
                :func:`neoscope.patching.load` may be able to read.
        """
        with saved.reading(path, "TraceResult") as source:
            return _traced(PatchingResult(**result_file.load(source, "TraceResult")))

    def __repr__(self) -> str:
        """Return what was measured, the baselines and the three largest effects."""
        head, *rest = super().__repr__().splitlines()
        window = f", {self.window} layers at once" if self.window else ""
        said = f"{self.noise:g} × σ = {self.noise * self.sigma:.4g}, {self.draws} draws{window}"
        head = head.replace("PatchingResult", "TraceResult", 1)
        return "\n".join([head, f"noise {said}; total effect {self.total_effect:.4g}", *rest])

    def _plain(self) -> PatchingResult:
        """The same with each draw as a component, so that it can be saved and cut as any result."""
        own = {f.name: getattr(self, f.name) for f in fields(PatchingResult)}
        draws = {f"draw {i}": x for i, x in enumerate(self.drawn)}
        noised = {f"draw {i}": {"corrupted": x} for i, x in enumerate(self.noised)}
        settings = {name: getattr(self, name) for name in _SETTINGS}
        settings["subject"] = [list(row) for row in self.subject]
        own["components"] = {**self.components, **draws}
        own["base_components"] = {**self.base_components, **noised}
        own["details"] = {**self.details, **settings, "kind": saved.TRACE, "draws": self.draws}
        return PatchingResult(**own)


def _by_role(x: NDArray[Any], play: NDArray[Any], at: int, skip: int) -> NDArray[Any]:
    """Average [pairs, ..., pos] by [pairs, role, pos], with axes put back."""
    middle = [1] * (x.ndim - 2)
    seen = play.any(1).reshape(len(x), *middle, -1)
    count = play.sum(-1).reshape(len(x), *middle, -1)
    total = np.einsum("k...p,krp->k...r", np.where(seen, x, 0.0), play)
    mean = np.divide(total, count, out=np.full(total.shape, np.nan), where=count > 0)
    return np.moveaxis(mean, (0, -1), (skip - 1, at))


def _traced(plain: PatchingResult) -> TraceResult:
    """Undo ``_plain``."""
    own = {f.name: getattr(plain, f.name) for f in fields(PatchingResult)}
    details = dict(plain.details)
    del details["kind"]
    names = [f"draw {i}" for i in range(details.pop("draws"))]
    settings = {name: details.pop(name) for name in _SETTINGS}
    settings["subject"] = tuple(tuple(row) for row in settings["subject"])
    drawn = np.stack([plain.components[name] for name in names])
    noised = np.stack([plain.base_components[name]["corrupted"] for name in names])
    own["details"] = details
    for field_name in ("components", "base_components"):
        own[field_name] = {k: v for k, v in own[field_name].items() if k not in names}
    return TraceResult(**own, **settings, drawn=drawn, noised=noised)
