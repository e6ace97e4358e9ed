"""The scores that tell kinds of attention heads apart: names, units, formulas, sources.

``A[i, j]`` is a head's attention from query ``i`` to key ``j``, both counted in real tokens from 0.
Every score of a pattern counts the queries from the second token on: the first has no choice.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from neoscope.config import NeoConfig
from neoscope.errors import AnalysisError, nearest

OLSSON = "Olsson et al. 2022"


@dataclass(frozen=True)
class Kind:
    """One score of a head."""

    name: str
    unit: str
    family: str
    """What it is measured on: ``"target"`` (attention to certain keys), ``"row"`` (the shape of the
    attention), ``"position"`` (queries and keys on random tokens) or ``"weight"``."""
    formula: str
    source: str
    beyond: bool = False
    """Whether it counts only keys that no local layer sees."""

    @property
    def of_pattern(self) -> bool:
        """Whether an attention pattern is all it needs."""
        return self.family in ("target", "row")

    def nearest_key(self, window: int | None) -> int:
        """How far back the nearest key lies that the score can be about."""
        if self.beyond:
            return window or 0
        return int(self.name in _BEFORE)


_SHARE = "share of attention"
_BEFORE = ("previous_token", "duplicate_token", "induction", "first_token")
"""About keys before the query, never the query itself."""
HEAD_SCORES: dict[str, Kind] = {
    kind.name: kind
    for kind in (
        Kind("previous_token", _SHARE, "target", "mean of A[i, i-1]", OLSSON),
        Kind(
            "duplicate_token",
            _SHARE,
            "target",
            "mean over queries whose token came before, inside the window, of the sum of A[i, j] "
            "over these j; on repeats A[i, i-T]",
            "Wang et al. 2022 (IOI)",
        ),
        Kind(
            "duplicate_token_beyond",
            _SHARE,
            "target",
            "the same over keys beyond the window, which local heads cannot see",
            "Wang et al. 2022 (IOI)",
            beyond=True,
        ),
        Kind(
            "induction",
            _SHARE,
            "target",
            "mean over queries whose token came before of the sum of A[i, j+1] over these j, for "
            "keys j+1 before the query and inside the window; on repeats A[i, i-(T-1)]",
            OLSSON,
        ),
        Kind(
            "induction_beyond",
            _SHARE,
            "target",
            "the same over keys beyond the window, which local heads cannot see",
            OLSSON,
            beyond=True,
        ),
        Kind(
            "first_token",
            _SHARE,
            "target",
            "mean of A[i, 0] over the queries that see the first token",
            "Xiao et al. 2023 (attention sinks)",
        ),
        Kind("entropy", "nats", "row", "mean of -sum_j A[i, j] log A[i, j]", "Clark et al. 2019"),
        Kind(
            "relative_entropy",
            "share of the most",
            "row",
            "mean of the entropy over log of the number of keys seen: 1 is even attention",
            "Clark et al. 2019",
        ),
        Kind(
            "mean_distance",
            "tokens",
            "row",
            "mean of sum_j A[i, j] (i - j)",
            "Vig and Belinkov 2019",
        ),
        Kind(
            "position_share",
            "share of variance",
            "position",
            "|P|^2 / (|P|^2 + E|S - P|^2): S the logits q_i k_j and P the product of the mean q at "
            "position i and the mean k at position j, over random tokens that come twice and stand "
            "once at every position; both less their mean over the keys that a query sees",
            "neoscope",
        ),
        Kind("content_share", "share of variance", "position", "1 - position_share", "neoscope"),
        Kind(
            "copying",
            "sum Re / sum |.|",
            "weight",
            "sum of Re(lambda) / sum of |lambda| over the eigenvalues of the full OV circuit, "
            "W_E W_V W_O W_U with both embeddings centred over words and the gains folded in",
            "Elhage et al. 2021",
        ),
        Kind(
            "copying_top5",
            "share of words",
            "weight",
            "share of words whose own logit is among the five highest that the same circuit gives",
            "Wang et al. 2022 (IOI copy score, without the MLP)",
        ),
    )
}
"""Every score of a head, with its unit, what it is about, and who defined it."""


def threshold(config: NeoConfig) -> int | None:
    """Return the distance from which local heads see nothing; None where no layer is local."""
    return config.window_size if "local" in config.kinds else None


def wanted(scores: Any, config: NeoConfig, default: Sequence[str]) -> Chosen:
    """Return the kinds that a request means, in the order of the table.

    Args:
        scores: Names; None for ``default``.
        config: Where no layer is local, there is no "beyond".
        default: What is measured unasked.

    Raises:
        AnalysisError: There is no such score, none is asked for, or it means nothing here.
    """
    local = threshold(config) is not None
    if scores is None:
        names = [name for name in default if local or not HEAD_SCORES[name].beyond]
        return tuple(HEAD_SCORES[name] for name in HEAD_SCORES if name in names)
    if not isinstance(scores, Sequence):
        raise AnalysisError(
            f"scores={scores!r}; expected names: {', '.join(HEAD_SCORES)}, one or a list of them"
        )
    names = [scores] if isinstance(scores, str) else list(scores)
    for name in names:
        found = check(name)
        if found.beyond and not local:
            raise AnalysisError(
                f"{name!r} is about keys beyond the window of local layers; all layers of this "
                f"model are global: ask for {name.removesuffix('_beyond')!r}"
            )
    if not names:
        raise AnalysisError(f"scores=[] asks for nothing; there are {', '.join(HEAD_SCORES)}")
    return tuple(kind for kind in HEAD_SCORES.values() if kind.name in names)


Chosen = tuple[Kind, ...]


def check(name: object) -> Kind:
    """Return the score of a name.

    Raises:
        AnalysisError: There is none.
    """
    if not isinstance(name, str) or name not in HEAD_SCORES:
        raise AnalysisError(
            f"no head score is called {name!r}{nearest(str(name), HEAD_SCORES)}; known: "
            f"{', '.join(HEAD_SCORES)}"
        )
    return HEAD_SCORES[name]
