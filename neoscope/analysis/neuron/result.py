"""TopActivations: where units are largest and smallest, how they are spread, what they write."""

from __future__ import annotations

import html
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float, Int

from neoscope.analysis.neuron.printing import printed
from neoscope.analysis.result import Result, counted
from neoscope.analysis.words import visible
from neoscope.errors import AnalysisError, nearest

if TYPE_CHECKING:
    import pandas as pd

_SHOWN = 10


@dataclass(frozen=True, eq=False, repr=False)
class TopActivations(Result):
    """Units of one site over a corpus: extreme places in context, spread, and logit effect."""

    model: str
    site: str
    """Full name of the site."""
    units: tuple[str, ...]
    """``"17"``, for heads ``"2.5"`` (head, coordinate), or ``"direction 0"``."""
    top_value: Float[np.ndarray, "unit k"]
    """Largest first; of equal values the place that comes first in the corpus; NaN beyond."""
    top_place: Int[np.ndarray, "unit k"]
    """Into the places below; -1 where there are fewer."""
    bottom_value: Float[np.ndarray, "unit k"]
    """Most negative first."""
    bottom_place: Int[np.ndarray, "unit k"]
    text: tuple[Any, ...]
    """Of each place the id of its text: its row from 0, or what the corpus calls it."""
    position: Int[np.ndarray, " place"]
    """In the text; an added beginning-of-text token counts."""
    token_id: Int[np.ndarray, " place"]
    token: tuple[str, ...]
    before: tuple[str, ...]
    """The text before the token, as far as it is shown."""
    piece: tuple[str, ...]
    """The token as it stands in the text."""
    after: tuple[str, ...]
    mean: Float[np.ndarray, " unit"]
    sd: Float[np.ndarray, " unit"]
    share_positive: Float[np.ndarray, " unit"]
    """Share of tokens where the activation is above zero."""
    low: Float[np.ndarray, " unit"]
    high: Float[np.ndarray, " unit"]
    counts: Int[np.ndarray, "unit bin"]
    """Tokens in each bin; exact."""
    edges: Float[np.ndarray, "unit edge"]
    """Bin i is ``[edges[i], edges[i + 1])``."""
    promoted_id: Int[np.ndarray, "unit token"]
    """Tokens whose logits the unit raises most; none where it writes nothing to the stream."""
    promoted: tuple[tuple[str, ...], ...]
    promoted_effect: Float[np.ndarray, "unit token"]
    """Logits for each unit of activation, before the final LayerNorm divides by its scale."""
    suppressed_id: Int[np.ndarray, "unit token"]
    suppressed: tuple[tuple[str, ...], ...]
    suppressed_effect: Float[np.ndarray, "unit token"]
    n_tokens: int
    n_texts: int
    n_skipped: int
    """Texts that could not be used."""
    context: int
    unique: str | None
    complete: bool
    """False where reading was interrupted: then these are the tokens that were seen."""

    def heading(self) -> str:
        """Return what was read, of which units, and whether all of it."""
        what = self.units[0] if len(self.units) == 1 else f"{len(self.units):,} units"
        name = f"unit {what}" if what[0].isdigit() and len(self.units) == 1 else what
        left = f", {self.n_skipped:,} skipped" if self.n_skipped else ""
        broken = "" if self.complete else "; interrupted: what was seen so far"
        return (
            f"{self.site}, {name} of {self.model} over {counted(self.n_tokens, 'token')} of "
            f"{counted(self.n_texts, 'text')}{left}{broken}"
        )

    def row(self, unit: Any = None) -> int:
        """Return the row of a unit, by its label or number; None for the only one.

        Raises:
            AnalysisError: It was not asked for, or there are several and none is named.
        """
        if unit is None and len(self.units) > 1:
            raise AnalysisError(f"there are {len(self.units):,} units: say which, as unit=...")
        label = self.units[0] if unit is None else str(unit)
        label = label if label in self.units else f"direction {label}"
        if label not in self.units:
            raise AnalysisError(f"unit {unit!r} was not asked for{nearest(str(unit), self.units)}")
        return self.units.index(label)

    def to_dataframe(self) -> pd.DataFrame:
        """Return a row for each place: unit, end (top or bottom), rank, value, text, context."""
        return self._table(range(len(self.units)), ("top", "bottom"))

    def places(self, unit: Any = None, end: str = "top") -> pd.DataFrame:
        """Return the extreme places of one unit; the token is marked: ``the «cat» sat``.

        Args:
            unit: Its label or number; None for the only one.
            end: ``"top"`` or ``"bottom"``.

        Raises:
            AnalysisError: The unit was not asked for, or there is no such end.
        """
        if end not in ("top", "bottom"):
            raise AnalysisError(f"end={end!r}; expected 'top' or 'bottom'")
        return self._table([self.row(unit)], (end,))

    def _table(self, rows: Iterable[int], ends: Sequence[str]) -> pd.DataFrame:
        import pandas as pd

        names = ("unit", "end", "rank", "value", "text", "position", "token", "context")
        columns: dict[str, list[Any]] = {name: [] for name in names}
        for row in rows:
            for end in ends:
                values, where = getattr(self, f"{end}_value"), getattr(self, f"{end}_place")
                # Empty places come last.
                held = [p for p in where[row].tolist() if p >= 0]
                columns["unit"] += [self.units[row]] * len(held)
                columns["end"] += [end] * len(held)
                columns["rank"] += range(1, len(held) + 1)
                columns["value"] += values[row, : len(held)].tolist()
                columns["text"] += [self.text[p] for p in held]
                columns["position"] += self.position[held].tolist()
                columns["token"] += [self.token[p] for p in held]
                columns["context"] += [self.marked(p) for p in held]
        return pd.DataFrame(columns)

    def marked(self, place: int) -> str:
        """Return a place's context with its token between « and »."""
        return f"{self.before[place]}«{self.piece[place]}»{self.after[place]}"

    def statistics(self) -> pd.DataFrame:
        """Return a row for each unit: mean, sd, share above zero, smallest and largest."""
        import pandas as pd

        names = ("mean", "sd", "share_positive", "low", "high")
        return pd.DataFrame({"unit": self.units, **{name: getattr(self, name) for name in names}})

    def histogram(self, unit: Any = None) -> pd.DataFrame:
        """Return the bins of one unit: low, high, tokens; exact."""
        import pandas as pd

        row = self.row(unit)
        low, high = self.edges[row, :-1], self.edges[row, 1:]
        return pd.DataFrame({"low": low, "high": high, "tokens": self.counts[row]})

    def logit_effect(self, unit: Any = None) -> pd.DataFrame:
        """Return the tokens that one unit promotes and suppresses, and by how many logits."""
        import pandas as pd

        row = self.row(unit)
        ends = ("promoted", "suppressed")
        parts = [
            pd.DataFrame(
                {
                    "end": end,
                    "token": list(getattr(self, end)[row]) if getattr(self, end) else [],
                    "id": getattr(self, f"{end}_id")[row],
                    "effect": getattr(self, f"{end}_effect")[row],
                }
            )
            for end in ends
        ]
        return pd.concat(parts, ignore_index=True)

    def summary(self) -> pd.DataFrame:
        """Return the top places of the unit (of several units the first of each), for printing."""
        n = _SHOWN if len(self.units) == 1 else 1
        table = self.to_dataframe()
        chosen = table[(table["end"] == "top") & (table["rank"] <= n)].head(2 * _SHOWN)
        shown = {name: chosen[name].map(visible) for name in ("token", "context")}
        return chosen.drop(columns=["end"]).assign(**shown)

    def __str__(self) -> str:
        """Return the most active and the most negative places in context, and the logit effect.

        Of several units, the most active place of each.
        """
        return printed(self)

    def _repr_html_(self) -> str:
        """Return the statistics and the top places; text is escaped, the token highlighted."""
        rows = []
        for i in range(min(len(self.units), 5)):
            shown = zip(self.top_value[i], self.top_place[i].tolist(), strict=True)
            for value, place in list(shown)[: _SHOWN if len(self.units) == 1 else 3]:
                if place >= 0:
                    before, piece, after = (
                        html.escape(visible(x))
                        for x in (self.before[place], self.piece[place], self.after[place])
                    )
                    unit, where = html.escape(self.units[i]), html.escape(str(self.text[place]))
                    rows.append(
                        f"<tr><td>{unit}</td><td>{value:.4g}</td><td>{where}</td>"
                        f"<td style='text-align:left'>{before}<mark>{piece}</mark>{after}</td></tr>"
                    )
        head = "<tr><th>unit</th><th>value</th><th>text</th><th>context</th></tr>"
        spread = self.statistics().head(5).to_html(escape=True, index=False, float_format="%.4g")
        return f"<p>{html.escape(self.heading())}</p>{spread}<table>{head}{''.join(rows)}</table>"
