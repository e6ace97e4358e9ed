"""What a contract check found, one row a check."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

import torch

from neoscope.errors import ContractError

if TYPE_CHECKING:
    import pandas


@dataclass(frozen=True)
class Check:
    """One thing that was checked."""

    what: str
    """``"read identity"``, ``"write-back"``, ``"moves what follows"``, ..."""
    site: str
    """Full site name, or the equation that was checked."""
    kind: str
    """``"global"`` or ``"local"`` for a site of such a layer, else ``""``."""
    passed: bool
    error: float
    """What was measured; see ``limit``."""
    limit: float
    """What it may be at most (at least, for ``"moves what follows"`` and ``"gradient"``)."""
    note: str = ""


@dataclass(frozen=True)
class ContractReport:
    """All checks of one model."""

    model: str
    dtype: str
    checks: tuple[Check, ...]

    @property
    def ok(self) -> bool:
        """Whether every check passed."""
        return not self.failures

    @property
    def failures(self) -> tuple[Check, ...]:
        """The checks that did not pass."""
        return tuple(check for check in self.checks if not check.passed)

    def summary(self) -> list[tuple[str, int, int, float, float]]:
        """Return (what, checked, failed, worst error, limit) for each kind of check."""
        rows = []
        for what in dict.fromkeys(check.what for check in self.checks):
            of = [check for check in self.checks if check.what == what]
            at_least = what in ("moves what follows", "gradient")
            measured = [c.error for c in of if not c.note] or [c.error for c in of]
            worst = min(measured) if at_least else max(measured)
            rows.append((what, len(of), sum(not c.passed for c in of), worst, of[0].limit))
        return rows

    def raise_if_failed(self) -> None:
        """Raise if a check failed.

        Raises:
            ContractError: Names the first failures.
        """
        if not self.ok:
            first = "; ".join(f"{c.what} at {c.site}: {c.error:.3g}" for c in self.failures[:3])
            raise ContractError(f"{self.model} breaks the site contract: {first}")

    def to_dataframe(self) -> pandas.DataFrame:
        """Return one row a check."""
        import pandas

        return pandas.DataFrame([asdict(check) for check in self.checks])

    def __repr__(self) -> str:
        """Return one line: what was checked, and how it went."""
        went = "holds" if self.ok else f"BROKEN, {len(self.failures)} failed"
        return f"ContractReport({self.model}, {self.dtype}: {len(self.checks):,} checks, {went})"

    def __str__(self) -> str:
        """Return a short table."""
        lines = [
            f"site contract of {self.model} ({self.dtype}): {'holds' if self.ok else 'BROKEN'}"
        ]
        for what, n, failed, worst, limit in self.summary():
            verdict = "ok" if not failed else f"{failed} FAILED"
            lines.append(
                f"  {what:<28}{n:>5} checked  worst {worst:<9.2g} limit {limit:<8.2g} {verdict}"
            )
        for note in dict.fromkeys(check.note for check in self.checks if check.note):
            n = sum(check.note == note for check in self.checks)
            lines.append(f"  note: {n} x {note}")
        lines += [f"  FAILED {c.what} at {c.site}: {c.error:.3g} {c.note}" for c in self.failures]
        return "\n".join(lines)


def tolerance(dtype: torch.dtype, *, whole_run: bool = False) -> float:
    """Return the largest allowed error, relative to the largest value.

    Args:
        dtype: What the model computes in.
        whole_run: Whether two runs of the whole model are compared, whose kernels may round
            differently in every layer, rather than the two sides of one equation.
    """
    if dtype in (torch.float32, torch.float64):
        return 1e-5
    return (16 if whole_run else 4) * torch.finfo(dtype).eps
