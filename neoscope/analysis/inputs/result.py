"""InputAttribution: which tokens of a text move a logit, and how complete the account is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float

from neoscope.analysis.given import whole_number
from neoscope.analysis.result import Result, counted

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True, eq=False, repr=False)
class InputAttribution(Result):
    """Input attribution; see :func:`neoscope.analysis.input_attribution`.

    Values are logits, or the difference of two; a saliency is logits for a unit of length of the
    token's embedding.
    """

    model: str
    edited: bool
    """Whether edits or hooks were in force."""
    method: str
    baseline: str
    """What stands for a token's absence: ``"zero"``, ``"mean"``, or a token; "" where the method
    compares with nothing."""
    steps: int
    """Of the integral; 0 where there is none."""
    answers: tuple[str, ...]
    """Whose logit, for each text."""
    wrongs: tuple[str, ...]
    """Whose logit is subtracted; empty where none is."""
    positions: tuple[int, ...]
    """Where each text is read, its real tokens counted from 0."""
    strings: tuple[tuple[str, ...], ...]
    """The tokens of each text; ``"#17"`` without a tokenizer."""
    values: Float[np.ndarray, "row pos"]
    """One for each token up to the position; NaN after it, which the logit cannot depend on."""
    logit: Float[np.ndarray, "row"]
    """Of the text itself."""
    baseline_logit: Float[np.ndarray, "row"]
    """With every token replaced by the baseline; NaN where the method compares with nothing."""
    complete: bool = True
    """False where Ctrl-C left the later texts out."""

    @property
    def convergence_delta(self) -> Float[np.ndarray, "row"]:
        """``sum of values - (logit - baseline_logit)``: 0 for a complete account.

        Integrated gradients tend to it as ``steps`` grow; no other method here promises it.
        """
        return np.asarray(np.nansum(self.values, 1) - (self.logit - self.baseline_logit))

    def heading(self) -> str:
        """Return what was attributed to what."""
        n = len(self.values)
        sides = [side for side in (self.answers, self.wrongs) if side]
        names = [repr(side[0]) if len(set(side)) == 1 else "the answers" for side in sides]
        against = f" against {self.baseline!r}" if self.baseline else ""
        gap = float(np.abs(self.convergence_delta).max())
        delta = "" if np.isnan(gap) else f", convergence delta {gap:.2g}"
        edited = ", edited" if self.edited else ""
        return (
            f"{self.method.replace('_', ' ')}{against}: {' - '.join(names)}, "
            f"{float(self.logit.mean()):.4g} logits in {counted(n, 'text')}{delta} "
            f"({self.model}{edited}){'' if self.complete else '; interrupted'}"
        )

    def to_dataframe(self) -> pd.DataFrame:
        """Return ``text`` (which), ``position``, ``token`` and ``attribution``, by token."""
        import pandas as pd

        places = [(row, at) for row, end in enumerate(self.positions) for at in range(end + 1)]
        return pd.DataFrame(
            {
                "text": [row for row, _ in places],
                "position": [at for _, at in places],
                "token": [self.strings[row][at] for row, at in places],
                "attribution": [float(self.values[place]) for place in places],
            }
        )

    def top(self, k: int = 10) -> pd.DataFrame:
        """Return the ``k`` tokens that move it most, in either direction.

        Raises:
            AnalysisError: ``k`` is below 1.
        """
        number = whole_number(k, "k")
        table = self.to_dataframe()
        order = np.argsort(-np.abs(table["attribution"].to_numpy()), kind="stable")[:number]
        return table.iloc[order].reset_index(drop=True)
