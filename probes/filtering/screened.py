"""Screened: which texts a filter let pass, which it withheld, and why."""

from __future__ import annotations

import hashlib
import html
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from probes.filtering.lines import now

if TYPE_CHECKING:
    import pandas


@dataclass(frozen=True)
class Withheld:
    """A text that was withheld.

    Attributes:
        row: Its number among the texts that were screened.
        text: None where it was no string.
        score: Probability of the rejected class; NaN where it could not be scored.
        reason: Why.
    """

    row: int
    text: str | None
    score: float
    reason: str


@dataclass(frozen=True, eq=False)
class Screened:
    """What a filter did with texts.

    Attributes:
        texts: All of them, as given.
        scores: [texts]: probability of the rejected class; NaN where one could not be scored.
        reasons: Number of each text that was withheld, to the reason.
        threshold: Texts that score at least this are withheld.
        reject: The rejected class, as text.
        probe: SHA-256 of the probe's card.
        model: Fingerprint of the model.
    """

    texts: Sequence[Any]
    scores: NDArray[np.float64]
    reasons: Mapping[int, str]
    threshold: float
    reject: str
    probe: str
    model: str

    @property
    def kept(self) -> list[str]:
        """The texts that passed, in their order."""
        return [text for i, text in enumerate(self.texts) if i not in self.reasons]

    @property
    def withheld(self) -> list[Withheld]:
        """The others, in their order."""
        return [
            Withheld(i, _text(self.texts[i]), float(self.scores[i]), self.reasons[i])
            for i in sorted(self.reasons)
        ]

    @property
    def ranked(self) -> list[str]:
        """The texts that passed, the least like the rejected class first."""
        order = np.argsort(self.scores, kind="stable").tolist()
        return [self.texts[i] for i in order if i not in self.reasons]

    def __repr__(self) -> str:
        """Return one line: how many passed."""
        n = len(self.texts)
        unscored = sum(math.isnan(self.scores[i]) for i in self.reasons)
        more = f", {unscored} withheld that could not be scored" if unscored else ""
        return (
            f"Screened({n - len(self.reasons)} of {n} texts kept, {len(self.reasons) - unscored} "
            f"withheld as {self.reject!r} from {self.threshold:.4g}{more})"
        )

    def _repr_html_(self) -> str:
        rows = "".join(
            f"<tr><td>{item.row}</td><td>{item.score:.4f}</td><td>{html.escape(item.reason)}</td>"
            f"<td>{html.escape(item.text or '')}</td></tr>"
            for item in self.withheld[:20]
        )
        head = "<tr><th>row</th><th>score</th><th>reason</th><th>withheld text</th></tr>"
        return str(writable(f"<p>{html.escape(repr(self))}</p><table>{head}{rows}</table>"))

    def to_dataframe(self) -> pandas.DataFrame:
        r"""Return a frame of a row each: ``text``, ``score``, ``kept``, ``reason``.

        Half a surrogate pair in a text is shown as ``\ud83d``.
        """
        import pandas as pd

        n = len(self.texts)
        return pd.DataFrame(
            {
                "text": [writable(text) for text in self.texts],
                "score": self.scores,
                "kept": [i not in self.reasons for i in range(n)],
                "reason": [self.reasons.get(i) for i in range(n)],
            }
        )

    def audit_records(self) -> list[dict[str, Any]]:
        """Return one line of an audit file for each text that was withheld.

        Whatever is no text has ``text`` null, and one ``id`` for all of it; ``row`` tells it apart.
        """
        time = now()
        return [
            {
                "event": "withheld",
                "id": item_id(item.text, self.reject, self.probe),
                "text": item.text,
                "score": None if math.isnan(item.score) else item.score,
                "threshold": self.threshold,
                "class": self.reject,
                "reason": item.reason,
                "row": item.row,
                "probe": self.probe,
                "model": self.model,
                "time": time,
            }
            for item in self.withheld
        ]


def item_id(text: str | None, reject: str, probe: str) -> str:
    """Return what a text is called in an audit: what one filter withheld twice is judged once.

    Another class or another probe gives another name: who let a text pass as harmless to one filter
    did not say so of another.

    Args:
        text: The text; None for what is none.
        reject: The class that it was withheld as.
        probe: SHA-256 of the probe's card.

    Example:
        >>> item_id("Hm.", "toxic", "0") == item_id("Hm.", "toxic", "0"), len(item_id("", "", ""))
        (True, 16)
        >>> item_id("Hm.", "toxic", "0") == item_id("Hm.", "private", "0")
        False
    """
    about = json.dumps([probe, reject]).encode("ascii")
    said = b"\xff" if text is None else text.encode("utf-8", "surrogatepass")
    return hashlib.sha256(about + said).hexdigest()[:16]


def writable(value: Any) -> Any:
    r"""Return a text that UTF-8 can write: half a surrogate pair becomes ``\ud83d``, as letters.

    Args:
        value: Whatever is no text comes back as it is.
    """
    if not isinstance(value, str):
        return value
    return value.encode("utf-8", "backslashreplace").decode("utf-8")


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) else None
