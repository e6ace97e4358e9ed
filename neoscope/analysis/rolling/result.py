"""What rollout and flow return: how much of each position is made of each token before it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Bool, Float, Int

from neoscope.analysis.result import Result, counted

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True, eq=False, repr=False)
class Rollout(Result):
    """Attention rollout: the share of each token in each position, after each layer."""

    model: str
    layers: tuple[int, ...]
    """After which layers."""
    values: Float[np.ndarray, "layer batch query key"]
    """Shares; the row of a real query sums to 1. Exactly 0 where ``reachable`` is False."""
    reachable: Bool[np.ndarray, "layer batch query key"]
    """Whether any path leads there: not to the future, beyond the windows or to padding."""
    bandwidth: tuple[int | None, ...]
    """How many tokens back each layer's stream can reach; None where a global layer is passed."""
    start_layer: int
    heads: str
    """How heads were put together, or which."""
    residual: float
    """The weight of what passes a layer by."""
    weighted: str
    """``"attention"``, or ``"norm"``."""
    mask: Bool[np.ndarray, "batch pos"]
    strings: tuple[tuple[str, ...], ...]

    def heading(self) -> str:
        """Return what was computed."""
        reach = self.bandwidth[-1]
        seen = "" if reach is None else f", which reaches {reach} tokens back"
        return (
            f"Attention rollout of {self.model!r} ({counted(len(self.mask), 'text')}) from layer "
            f"{self.start_layer} to layer {self.layers[-1]}{seen}: {_how(self)}; share of a "
            "position"
        )

    def to_dataframe(self) -> pd.DataFrame:
        """Return a row for each layer, text, real query and key at or before it."""
        import pandas as pd

        frames = [
            _table(self, self.values[i], self.reachable[i]).assign(layer=layer)
            for i, layer in enumerate(self.layers)
        ]
        found = pd.concat(frames, ignore_index=True)
        return found[["layer", *(c for c in found.columns if c != "layer")]]

    def summary(self) -> pd.DataFrame:
        """Return, for the last position after the last layer, the tokens of largest share."""
        return _largest(_table(self, self.values[-1], self.reachable[-1]))


@dataclass(frozen=True, eq=False, repr=False)
class AttentionFlow(Result):
    """Attention flow: the most that can flow from a position down to each token."""

    model: str
    last_layer: int
    values: Float[np.ndarray, "batch query key"]
    """Maximum flows, at most 1; exactly 0 where ``reachable`` is False; NaN of queries that were
    not done."""
    reachable: Bool[np.ndarray, "batch query key"]
    queries: Int[np.ndarray, "batch query"]
    """Position of each query, counted in real tokens; -1 for padding."""
    bandwidth: int | None
    start_layer: int
    heads: str
    residual: float
    weighted: str
    scale: int
    """Capacities were counted in units of ``1 / scale`` and rounded down."""
    complete: bool
    """False where the search was interrupted."""
    error: float
    """Most by which a flow can be too small for that."""
    mask: Bool[np.ndarray, "batch pos"]
    strings: tuple[tuple[str, ...], ...]

    def heading(self) -> str:
        """Return what was computed."""
        return (
            f"Attention flow of {self.model!r} ({counted(len(self.mask), 'text')}) from layer "
            f"{self.start_layer} to layer {self.last_layer}: {_how(self)}; maximum flow, exact to "
            f"{self.error:.1g}{'' if self.complete else '; interrupted'}"
        )

    def to_dataframe(self) -> pd.DataFrame:
        """Return a row for each text, query that was asked for and key at or before it."""
        return _table(self, self.values, self.reachable, self.queries)

    def summary(self) -> pd.DataFrame:
        """Return, for the last position, the tokens of largest flow."""
        return _largest(self.to_dataframe())


def _how(result: Any) -> str:
    norm = ", weighted by norm" if result.weighted == "norm" else ""
    return f"heads {result.heads}{norm}, residual {result.residual:g}"


def _table(
    result: Any, values: Any, reachable: Any, queries: np.ndarray | None = None
) -> pd.DataFrame:
    import pandas as pd

    position = np.where(result.mask, result.mask.cumsum(1) - 1, -1)
    asked = position if queries is None else queries
    seen = (asked[:, :, None] >= position[:, None]) & (position >= 0)[:, None]
    text, row, column = seen.nonzero()
    query, key = asked[text, row], position[text, column]
    return pd.DataFrame(
        {
            "text": text,
            "query": query,
            "key": key,
            "query_token": [result.strings[t][i] for t, i in zip(text, query, strict=True)],
            "key_token": [result.strings[t][i] for t, i in zip(text, key, strict=True)],
            "value": values[seen],
            "reachable": reachable[seen],
        }
    )


def _largest(table: pd.DataFrame) -> pd.DataFrame:
    last = table[table["query"] == table.groupby("text")["query"].transform("max")]
    ordered = last.sort_values(["text", "value"], ascending=[True, False], kind="stable")
    shown = ordered.groupby("text").head(10).head(20).drop(columns="reachable")
    return shown if table["text"].nunique() > 1 else shown.drop(columns="text")
