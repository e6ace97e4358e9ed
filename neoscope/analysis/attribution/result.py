"""Attribution: what each component of a model adds to a logit, and how well it adds up."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float, Int

from neoscope.analysis.given import whole_number
from neoscope.analysis.result import Result, counted, narrow, wrapped
from neoscope.errors import AnalysisError

if TYPE_CHECKING:
    import pandas as pd

_SHOWN = 20
_MANY = {
    "head": "all heads",
    "attn_bias": "all attn biases",
    "mlp": "all MLPs",
    "mlp_bias": "all MLP biases",
}


@dataclass(frozen=True, eq=False, repr=False)
class Attribution(Result):
    """Direct logit attribution; see :func:`neoscope.analysis.direct_logit_attribution`.

    Values are logits, or the difference of two.
    """

    model: str
    by: str
    """What the rows of the table are: component, layer, head, mlp, neuron or source."""
    answers: tuple[str, ...]
    """Whose logit, for each row of the batch."""
    wrongs: tuple[str, ...]
    """Whose logit is subtracted; empty where none is."""
    positions: tuple[int, ...]
    """Where each row of the batch is read, its real tokens counted from 0."""
    strings: tuple[tuple[str, ...], ...]
    """The tokens of each row; empty where nobody knows them."""
    kind_names: tuple[str, ...]
    """What ``kind`` counts: embed, pos_embed, head, ..."""
    kind: Int[np.ndarray, "component"]
    layer: Int[np.ndarray, "component"]
    """-1 for what is in no layer, or summed over all."""
    head: Int[np.ndarray, "component"]
    neuron: Int[np.ndarray, "component"]
    source: Int[np.ndarray, "component"]
    """Position of the token that a head's write comes from; -1 where it is not split."""
    values: Float[np.ndarray, "row component"]
    """What each component adds; with ``by="source"``, 0 where a text has no such token."""
    logit: Float[np.ndarray, "row"]
    """The model's own, from what it normalised last."""
    tolerance: float
    """How far ``total`` may be from ``logit``: 1e-4, more in half precision."""

    @property
    def total(self) -> Float[np.ndarray, "row"]:
        """The sum over components."""
        return np.asarray(self.values.sum(1))

    @property
    def residual(self) -> Float[np.ndarray, "row"]:
        """``logit - total``: what no component explains."""
        return np.asarray(self.logit - self.total)

    @property
    def mean(self) -> Float[np.ndarray, "component"]:
        """The mean over the batch."""
        return np.asarray(self.values.mean(0))

    @property
    def heads(self) -> Float[np.ndarray, "layer head"]:
        """The mean of each head, its sources summed.

        Raises:
            AnalysisError: This attribution has no heads.
        """
        mine = self.head >= 0
        if not mine.any():
            raise AnalysisError(
                f"an attribution by {self.by!r} has no heads; ask for by='component', 'head' or "
                "'source'"
            )
        out = np.zeros((int(self.layer.max()) + 1, int(self.head.max()) + 1))
        np.add.at(out, (self.layer[mine], self.head[mine]), self.mean[mine])
        return out

    def check(self, tolerance: float | None = None) -> None:
        """Refuse an attribution that does not add up to the model's own logit.

        Args:
            tolerance: In logits; default the result's own.

        Raises:
            AnalysisError: It does not; the message says by how much, and what may be why.
        """
        limit = self.tolerance if tolerance is None else tolerance
        worst = int(np.abs(self.residual).argmax())
        gap = float(abs(self.residual[worst]))
        if gap <= limit:
            return
        raise AnalysisError(
            f"the components of row {worst} add up to {self.total[worst]:.6g}, but the logit is "
            f"{self.logit[worst]:.6g}: {gap:.3g} apart, more than {limit:.3g}. An edit or a hook "
            "wrote into the residual stream or the final LayerNorm beside the components, or the "
            "cache is another model's. check=False returns the attribution with its residual"
        )

    def labels(self) -> list[str]:
        """Return what each component is called, e.g. ``"head 2.1"`` or ``"neuron 0.17"``."""
        return [self._label(i) for i in range(len(self.kind))]

    def _label(self, i: int) -> str:
        kind, layer = str(self.kind_names[self.kind[i]]), int(self.layer[i])
        if layer < 0:
            return _MANY.get(kind, kind.replace("_bias", " bias"))
        if kind == "source":
            token = self._token(int(self.source[i]))
            said = f" {token!r}" if token else ""
            return f"head {layer}.{self.head[i]} from {self.source[i]}{said}"
        if kind == "mlp":
            return f"MLP {layer}"
        unit = {"head": self.head, "neuron": self.neuron}.get(kind)
        name = kind.replace("_", " ").replace("mlp", "MLP")
        return f"{name} {layer}" if unit is None else f"{name} {layer}.{unit[i]}"

    def _token(self, position: int) -> str:
        """The token at a position where all rows have the same; else ""."""
        found = {row[position] if position < len(row) else "" for row in self.strings}
        return found.pop() if len(found) == 1 else ""

    def heading(self) -> str:
        """Return what was attributed to what, and how well it adds up."""
        n = len(self.values)
        texts = f"{self._where()}{f' of {n} texts, mean' if n > 1 else ''}"
        gap = float(np.abs(self.residual).max())
        sums = (
            f"adds up to {gap:.1g}" if gap <= self.tolerance else f"does NOT add up: {gap:.3g} off"
        )
        return (
            f"direct logit attribution by {self.by}: {self.question()} at {texts}, "
            f"{float(self.logit.mean()):.4g} logits ({sums}; {self.model})"
        )

    def _where(self) -> str:
        """The position, or those of all rows."""
        places = sorted(set(self.positions))
        if len(places) == 1:
            return f"position {places[0]}"
        if self.positions == tuple(len(row) - 1 for row in self.strings):
            return "the last token"
        return f"positions {places[0]} to {places[-1]}"

    def question(self) -> str:
        """Return what is attributed, e.g. ``"' Mary' - ' John'"``."""
        sides = [side for side in (self.answers, self.wrongs) if side]
        names = [repr(side[0]) if len(set(side)) == 1 else "answers" for side in sides]
        if len(names) == 2 and len(set(self.wrongs)) > 1:
            names[1] = "wrong answers"
        return " - ".join(names)

    def to_dataframe(self, *, mean: bool = False) -> pd.DataFrame:
        """Return every component of every row of the batch.

        Args:
            mean: The mean over the batch instead, without ``text``.

        Returns:
            Columns ``text``, ``component``, ``kind``, ``layer``, ``head``, ``neuron``, ``source``
            and ``token`` (those that there are; missing where they mean nothing), and
            ``attribution`` in logits.
        """
        import pandas as pd

        table = pd.DataFrame(
            {"component": self.labels(), "kind": [self.kind_names[k] for k in self.kind]}
        )
        for name in ("layer", "head", "neuron", "source"):
            index = getattr(self, name)
            if (index >= 0).any():
                table[name] = pd.array(index, dtype="Int64")
                table.loc[index < 0, name] = pd.NA
        if "source" in table:
            table["token"] = [self._token(int(i)) if i >= 0 else "" for i in self.source]
        if mean:
            return table.assign(attribution=self.mean)
        parts = []
        for row, values in enumerate(self.values):
            part = table.assign(attribution=values)
            part.insert(0, "text", row)
            if "source" in table and self.strings:
                mine = self.strings[row]
                part["token"] = [mine[i] if 0 <= i < len(mine) else "" for i in self.source]
            parts.append(part)
        return pd.concat(parts, ignore_index=True)

    def top(self, k: int = 10) -> pd.DataFrame:
        """Return the ``k`` components that add most, in either direction, on average.

        Raises:
            AnalysisError: ``k`` is below 1.
        """
        order = np.argsort(-np.abs(self.mean), kind="stable")[: whole_number(k, "k")]
        return self.to_dataframe(mean=True).iloc[order].reset_index(drop=True)

    def summary(self) -> pd.DataFrame:
        """Return the components that add most on average, 20 at most; none that adds nothing."""
        table = self.top(_SHOWN)[["component", "attribution"]]
        return table[: len(self.kind) - self.n_zero]

    @property
    def n_zero(self) -> int:
        """How many components add nothing on average, rounding aside."""
        sizes = np.abs(self.mean)
        return int((sizes <= 1e-9 * sizes.max()).sum())

    def __str__(self) -> str:
        """Return the heading and what adds most, and how many others there are."""
        table, zeros = self.summary(), self.n_zero
        left = len(self.kind) - zeros - len(table)
        more = f"\n... {counted(left, 'more component')}: to_dataframe()" if left else ""
        if zeros:
            others = f"{counted(zeros, 'other is', 'others are')} 0"
            more += f"\n{others}" if len(table) else f"\nall {zeros:,} components are 0"
        shown = f"\n{narrow(table)}" if len(table) else ""
        return f"{wrapped(self.heading())}{shown}{more}"
