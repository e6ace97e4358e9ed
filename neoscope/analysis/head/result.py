"""HeadScores: what each head was found to do, how sure that is, and what its window rules out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Bool, Float, Int

from neoscope.analysis.given import whole_number
from neoscope.analysis.head.kinds import HEAD_SCORES, check
from neoscope.analysis.result import Result, counted, narrow, wrapped
from neoscope.errors import AnalysisError, nearest

if TYPE_CHECKING:
    import pandas as pd

CANNOT, NOTHING = "cannot", "-"
_SHORT_UNITS = {"nats": "nats", "tokens": "tokens", "sum Re / sum |.|": "ratio"}
CONFIDENCE = 1.959963984540054
"""Standard errors to each side of an interval of 95 %."""


@dataclass(frozen=True, eq=False, repr=False)
class HeadScores(Result):
    """Scores of every head. What a head cannot do, because its window rules it out, is NaN."""

    model: str
    corpus: str
    """``"repeats"`` of random tokens, ``"texts"`` or ``"cache"``."""
    names: tuple[str, ...]
    """The scores; ``neoscope.analysis.HEAD_SCORES`` has their formulas and sources."""
    layers: tuple[int, ...]
    windows: tuple[int | None, ...]
    """Keys that a query sees, layer by layer; None for all."""
    score: Float[np.ndarray, "kind layer head"]
    """NaN where a head cannot, or nothing was there to measure."""
    stderr: Float[np.ndarray, "kind layer head"]
    """Standard error over texts (of position shares: over squares); NaN where it is not known."""
    possible: Bool[np.ndarray, "kind layer head"]
    """False where the head's window does not reach any key that the score is about."""
    n: Int[np.ndarray, "kind layer head"]
    """Queries counted; 0 for scores of weights, texts for position shares."""
    lead: Float[np.ndarray, " kind"]
    """The highest score minus the next, of two heads on the same texts."""
    lead_stderr: Float[np.ndarray, " kind"]
    n_texts: int
    n_tokens: int
    weighted: str
    """``"attention"``; or ``"norm"``: shares of the norms that attention moves."""
    gaps: tuple[int, ...]
    """Of repeats: tokens from a token to its repetition."""
    lengths: tuple[int, ...]
    """Of repeats: how many tokens come again, for each gap."""
    prepend_bos: bool | None
    """Whether a beginning-of-text token was put first; None where the cache's maker decided."""
    seed: int
    edits: tuple[str, ...]
    """Edits and hooks in force while the model ran."""
    n_short: int
    """Texts of a single token (what was put before counted), which have nothing to measure."""
    n_cut: int
    """Texts longer than the context, measured in pieces."""
    in_context: float | None
    """Loss at position 500 minus loss at 50, nats (Olsson et al. 2022); None where no text has
    that many tokens. Negative: the model makes use of what it has read."""
    in_context_stderr: float | None
    in_context_n: int
    complete: bool
    """False where the run was interrupted: scores are those of the texts that were done."""

    def heading(self) -> str:
        """Return what was measured, on what."""
        families = {HEAD_SCORES[name].family for name in self.names}
        if not self.n_texts:
            sources = {"position": "random tokens", "weight": "weights"}
            what = " from " + " and ".join(sources[one] for one in sorted(families))
        elif self.corpus == "repeats":
            near = next((w for w in self.windows if w is not None), None)
            gaps = " and ".join(
                f"{gap}{'' if near is None else ' beyond' if gap > near else ' inside'}"
                for gap in self.gaps
            )
            said = "" if near is None else f" the window of {near}"
            repeats = counted(self.n_texts, "repeat")
            what = f" on {repeats} of random tokens, gap {gaps}{said}"
        else:
            what = f" on {counted(self.n_texts, 'text')}, {counted(self.n_tokens, 'token')}"
            if self.n_cut:
                what += f" ({self.n_cut} longer than the context, in pieces)"
        weights = ", weighted by norm" if self.weighted == "norm" else ""
        edits = f"; edited: {', '.join(self.edits)}" if self.edits else ""
        part = "" if self.complete else "; interrupted"
        gain = ""
        if self.in_context is not None:
            gain = f"; loss at 500 minus at 50: {self.in_context:.3f} nats"
        return f"Head scores of {self.model!r}{weights}{what}{gain}{edits}{part}"

    def to_dataframe(self) -> pd.DataFrame:
        """Return a row for each score and head, in order.

        Beside the columns of :meth:`top`: ``kind``, ``unit``, and ``low`` to ``high``, the interval
        of 95 %.
        """
        import pandas as pd

        if not self.names:
            return pd.DataFrame()
        return pd.concat([self._rows(name) for name in self.names], ignore_index=True)

    def top(self, kind: str, k: int | None = 5, *, lowest: bool = False) -> pd.DataFrame:
        """Return the heads of highest score; those which cannot have one come last.

        Args:
            kind: Name of a score.
            k: How many; None for all.
            lowest: The lowest instead.

        Returns:
            ``layer``, ``head``, ``score`` and its ``stderr``; ``window`` (keys that the head sees,
            none for all), ``possible`` (False where the window rules the score out, which is then
            NaN and never 0) and ``n`` (queries counted). Of scores that are measured beyond the
            window too, ``beyond_window`` says that score in words, ``"cannot"`` for a local head.

        Raises:
            AnalysisError: That score was not measured, or there is none of this name.
        """
        number = None if k is None else whole_number(k, "k")
        rows = self._rows(kind).drop(columns=["kind", "low", "high", "unit"])
        # NaN stands last whichever way, what is possible before what is not.
        order = ["possible", "score", "layer", "head"]
        rows = rows.sort_values(order, ascending=[False, lowest, True, True], kind="stable")
        twin = f"{kind}_beyond"
        if twin in self.names:
            said = self.words(twin)
            places = zip(rows["layer"], rows["head"], strict=True)
            rows["beyond_window"] = [said[self.layers.index(la)][h] for la, h in places]
        return rows.head(len(rows) if number is None else number).reset_index(drop=True)

    def words(self, kind: str) -> tuple[tuple[str, ...], ...]:
        """Return the scores of one kind as they are shown, ``[layer][head]``.

        ``"cannot"`` where the window rules it out, ``"-"`` where there was nothing to measure.
        """
        i = self._index(kind)
        return tuple(
            tuple(
                CANNOT if not can else NOTHING if np.isnan(x) else f"{x:.3f}"
                for x, can in zip(*rows, strict=True)
            )
            for rows in zip(self.score[i], self.possible[i], strict=True)
        )

    def ranking(self) -> pd.DataFrame:
        """Return the best head of each kind, and how sure it is that it is the best.

        ``lead`` is its distance to the next head on the same texts, ``next`` that head (layer and
        head); ``cannot`` counts the heads whose window rules the score out.
        """
        import pandas as pd

        rows = []
        for i, name in enumerate(self.names):
            best = self.top(name, 2)
            first = best.iloc[0]
            known = int(best["score"].notna().sum())
            second = best.iloc[1] if known > 1 else None
            row = {"kind": name, "layer": pd.NA, "head": pd.NA}
            if known:
                row |= {"layer": int(first["layer"]), "head": int(first["head"])}
            row |= {
                "score": first["score"],
                "stderr": first["stderr"] if known else np.nan,
                "unit": HEAD_SCORES[name].unit,
                "next": "" if second is None else f"{second['layer']}.{second['head']}",
                "lead": self.lead[i],
                "lead_stderr": self.lead_stderr[i],
                "cannot": int((~self.possible[i]).sum()),
            }
            rows.append(row)
        found = pd.DataFrame(rows)
        return found.astype({"layer": "Int64", "head": "Int64"}) if rows else found

    def summary(self) -> pd.DataFrame:
        """Return the ranking in words.

        ``head`` is layer and head of the best, ``"cannot"`` where the window of every head rules
        the score out, and ``"-"`` where there was nothing to measure it on. Units are short.
        """
        table = self.ranking()
        if not len(table):
            return table
        heads = self.score.shape[1] * self.score.shape[2]
        best = zip(table["layer"], table["head"], table["cannot"], table["score"], strict=True)
        table["head"] = [
            CANNOT if n == heads else NOTHING if np.isnan(score) else f"{layer}.{head}"
            for layer, head, n, score in best
        ]
        table["cannot"] = [f"{n} of {heads}" if n else "" for n in table["cannot"]]
        table["unit"] = [_SHORT_UNITS.get(unit, "share") for unit in table["unit"]]
        columns = ["kind", "head", "score", "stderr", "unit", "next", "lead", "cannot"]
        return table[columns]

    def __str__(self) -> str:
        """Return the heading and the ranking."""
        table = self.summary()
        nothing = len(table) and NOTHING in table["head"].tolist()
        note = f"{NOTHING}: there was nothing to measure it on\n" if nothing else ""
        return (
            f"{wrapped(self.heading())}\n{narrow(table)}\n{note}"
            "all heads: to_dataframe(), top(kind), words(kind)"
        )

    def _index(self, kind: str) -> int:
        if kind not in self.names:
            found = check(kind)
            hint = nearest(kind, self.names)
            raise AnalysisError(
                f"{found.name!r} was not measured{hint}; measured: {', '.join(self.names)}"
            )
        return self.names.index(kind)

    def _rows(self, kind: str) -> pd.DataFrame:
        import pandas as pd

        i = self._index(kind)
        n_heads = self.score.shape[2]
        score, stderr = self.score[i].ravel(), self.stderr[i].ravel()
        return pd.DataFrame(
            {
                "kind": kind,
                "layer": np.repeat(self.layers, n_heads),
                "head": np.tile(np.arange(n_heads), len(self.layers)),
                "score": score,
                "stderr": stderr,
                "low": score - CONFIDENCE * stderr,
                "high": score + CONFIDENCE * stderr,
                "unit": HEAD_SCORES[kind].unit,
                "window": pd.array(np.repeat(np.array(self.windows, dtype=object), n_heads),
                                   dtype="Int64"),
                "possible": self.possible[i].ravel(),
                "n": self.n[i].ravel(),
            }
        )  # fmt: skip
