"""AttentionProfile: where heads look over a corpus, by how far back it lies; with standard errors.

A mean over texts of different length is a ratio: (sum over texts of attention) / (sum over texts of
queries). Its standard error is that of a ratio estimator, texts being the units that were drawn
(Cochran 1977, section 6.4).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Bool, Float, Int

from neoscope.analysis.head.result import CANNOT
from neoscope.analysis.result import Result, counted, narrow, wrapped

if TYPE_CHECKING:
    import pandas as pd

ByHead = Float[np.ndarray, "layer head"]


@dataclass(frozen=True, eq=False, repr=False)
class AttentionProfile(Result):
    """Where every head looks, over texts; see :func:`neoscope.analysis.attention_profile`.

    Queries are those from the second token of a text on: the first has no choice.
    """

    model: str
    layers: tuple[int, ...]
    windows: tuple[int | None, ...]
    """Keys that a query sees, layer by layer; None for all."""
    starts: Int[np.ndarray, " band"]
    """The shortest distance of each band: 0, 1, 2, 4, 8 and so on; a band ends where the next
    begins. 0 is the token itself."""
    share: Float[np.ndarray, "layer head band"]
    """Share of all attention that goes to keys in the band; bands sum to 1 for each head. NaN where
    the window hides the whole band."""
    share_stderr: Float[np.ndarray, "layer head band"]
    """Standard error over texts; NaN for a single one."""
    by_distance: Float[np.ndarray, "layer head distance"]
    """Mean attention to the key exactly so far back, over the queries that have one; NaN beyond the
    window."""
    by_distance_stderr: Float[np.ndarray, "layer head distance"]
    first: ByHead
    """Mean attention to the first token, over the queries that see it."""
    first_stderr: ByHead
    n: Int[np.ndarray, " distance"]
    """Queries that have a key so far back."""
    n_texts: int
    """Texts measured, those longer than the context in pieces."""
    n_tokens: int
    prepend_bos: bool
    """Whether a beginning-of-text token was put first."""
    edits: tuple[str, ...]
    """Edits and hooks in force while the model ran."""
    n_short: int
    """Texts of a single token, which have nothing to measure."""
    n_cut: int
    """Texts longer than the context, measured in pieces."""
    complete: bool
    """False where the run was interrupted: of the texts that were done."""

    @property
    def itself(self) -> ByHead:
        """Mean attention of a token to itself."""
        return np.asarray(self.by_distance[..., 0])

    @property
    def itself_stderr(self) -> ByHead:
        """Its standard error over texts."""
        return np.asarray(self.by_distance_stderr[..., 0])

    @property
    def possible(self) -> Bool[np.ndarray, "layer band"]:
        """False where a layer's window hides every key of a band."""
        return self._reaches(self.starts)

    def _reaches(self, distances: Int[np.ndarray, " n"]) -> Bool[np.ndarray, "layer n"]:
        longest = len(self.n)
        windows = np.array([longest if w is None else w for w in self.windows])
        return np.asarray(distances[None] < windows[:, None])

    def bands(self) -> tuple[str, ...]:
        """Return the bands in words: ``"itself"``, ``"1"``, ``"2-3"`` and so on."""
        stops = [*self.starts[1:].tolist(), len(self.n)]
        return tuple(_band(a, b) for a, b in zip(self.starts.tolist(), stops, strict=True))

    def heading(self) -> str:
        """Return what was measured, on what."""
        cut = f" ({self.n_cut} longer than the context, in pieces)" if self.n_cut else ""
        edits = f"; edited: {', '.join(self.edits)}" if self.edits else ""
        part = "" if self.complete else "; interrupted"
        return (
            f"Attention of {self.model!r} by distance, on {counted(self.n_texts, 'text')}, "
            f"{counted(self.n_tokens, 'token')}{cut}: share of attention{edits}{part}"
        )

    def to_dataframe(self) -> pd.DataFrame:
        """Return a row for each head and band, and one for the first token.

        ``keys`` says which keys (``"first token"``, ``"itself"``, ``"2-3"``); ``from`` and ``to``
        are distances in tokens; ``share`` is NaN and ``possible`` False beyond the window. The
        first token lies in one of the bands too.
        """
        import pandas as pd

        stops = np.append(self.starts[1:], len(self.n)) - 1
        frames = []
        for i, layer in enumerate(self.layers):
            for head in range(self.share.shape[1]):
                table = pd.DataFrame(
                    {
                        "keys": ["first token", *self.bands()],
                        "from": pd.array([None, *self.starts.tolist()], dtype="Int64"),
                        "to": pd.array([None, *stops.tolist()], dtype="Int64"),
                        "share": [self.first[i, head], *self.share[i, head]],
                        "stderr": [self.first_stderr[i, head], *self.share_stderr[i, head]],
                        "possible": [True, *self.possible[i]],
                    }
                )
                table.insert(0, "layer", layer)
                table.insert(1, "head", head)
                frames.append(table)
        return pd.concat(frames, ignore_index=True)

    def summary(self) -> pd.DataFrame:
        """Return a row for each head and a column for each band, in words."""
        import pandas as pd

        rows = []
        for i, layer in enumerate(self.layers):
            for head, values in enumerate(self.share[i]):
                row = {"head": f"{layer}.{head}", "first": f"{self.first[i, head]:.2f}"}
                said = [
                    f"{x:.2f}" if can else CANNOT
                    for x, can in zip(values, self.possible[i], strict=True)
                ]
                rows.append(row | dict(zip(self.bands(), said, strict=True)))
        return pd.DataFrame(rows[:20])

    def __str__(self) -> str:
        """Return the heading and the heads, the first twenty of them."""
        left = self.share.shape[0] * self.share.shape[1] - 20
        more = f"\n... {counted(left, 'more head')}: to_dataframe()" if left > 0 else ""
        return f"{wrapped(self.heading())}\n{narrow(self.summary())}{more}"


def _band(start: int, stop: int) -> str:
    if start == 0:
        return "itself"
    return str(start) if stop - start == 1 else f"{start}-{stop - 1}"


def band_starts(longest: int) -> Sequence[int]:
    """Return where bands begin: 0, 1 and the powers of two below a number of tokens.

    Args:
        longest: Tokens of the longest text.
    """
    return [0, *(1 << i for i in range((max(longest, 1) - 1).bit_length()))]
