"""SVD reading: the singular vectors of a head's circuit, as the tokens that they read and write.

Reference: Millidge and Black 2022, *The Singular Value Decompositions of Transformer Weight
Matrices are Highly Interpretable*.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, SupportsIndex

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from neoscope.analysis.given import whole_number
from neoscope.analysis.reading import GivenModel, as_model
from neoscope.analysis.result import Result, narrow, wrapped
from neoscope.analysis.weights.circuits import (
    embedding,
    ov_circuit,
    qk_circuit,
    read_head,
    unembedding,
)
from neoscope.analysis.words import vocabulary
from neoscope.errors import AnalysisError, nearest

if TYPE_CHECKING:
    import pandas as pd


_ROOM = 26
"""Letters that each side's tokens have where a reading is printed: two fit into 80 columns."""
_SIDES = {"ov": ("reads", "writes"), "qk": ("query", "key")}


@dataclass(frozen=True, eq=False, repr=False)
class SvdReading(Result):
    """The singular vectors of a head; see :func:`neoscope.analysis.svd_reading`."""

    model: str
    circuit: str
    """``"ov"`` or ``"qk"``."""
    layer: int
    head: int
    sides: tuple[str, ...]
    """What left and right vectors are: ``("reads", "writes")`` or ``("query", "key")``."""
    singular_values: Float[np.ndarray, "d_head"]
    """All of them, largest first."""
    ids: Int[np.ndarray, "vector side sign top"]
    """Token ids: ``side`` 0 left and 1 right, ``sign`` 0 positive and 1 negative; a head pairs
    tokens of one sign with those of the same sign."""
    scores: Float[np.ndarray, "vector side sign top"]
    """The tokens' centred embeddings (or unembeddings), times the singular vector."""
    tokens: tuple[tuple[tuple[tuple[str, ...], ...], ...], ...]
    """The same ids in words."""

    @property
    def share(self) -> Float[np.ndarray, "d_head"]:
        """Each singular value's share of the squared Frobenius norm."""
        squares = self.singular_values**2
        return np.asarray(squares / max(float(squares.sum()), np.finfo(float).tiny))

    def heading(self) -> str:
        """Return whose singular vectors these are."""
        return (
            f"{self.circuit.upper()} circuit of head {self.layer}.{self.head}: "
            f"{len(self.ids)} of {len(self.singular_values)} singular vectors, "
            f"{self.share[: len(self.ids)].sum():.0%} of the squared norm ({self.model})"
        )

    def to_dataframe(self) -> pd.DataFrame:
        """Return a row a token.

        Columns are ``vector``, ``singular_value``, ``share``, ``side``, ``sign``, ``rank``,
        ``token``, ``id`` and ``score``.
        """
        import pandas as pd

        where = np.argwhere(np.ones(self.ids.shape, dtype=bool))
        vector, side, sign, rank = where.T
        return pd.DataFrame(
            {
                "vector": vector,
                "singular_value": self.singular_values[vector],
                "share": self.share[vector],
                "side": [self.sides[i] for i in side],
                "sign": np.where(sign == 0, "+", "-"),
                "rank": rank,
                "token": [self.tokens[a][b][c][d] for a, b, c, d in where.tolist()],
                "id": self.ids.reshape(-1),
                "score": self.scores.reshape(-1),
            }
        )

    def summary(self) -> pd.DataFrame:
        """Return a row a vector and sign, with the first of its tokens."""
        import pandas as pd

        rows = []
        for vector, sign in np.ndindex(len(self.ids), 2):
            row: dict[str, Any] = {
                "vector": f"{vector} {'+-'[sign]}",
                "value": self.singular_values[vector],
                "share": self.share[vector],
            }
            for side, name in enumerate(self.sides):
                row[name] = _some(self.tokens[vector][side][sign])
            rows.append(row)
        return pd.DataFrame(rows[:20])

    def __str__(self) -> str:
        """Return the heading and a row a vector and sign, in 80 columns."""
        return f"{wrapped(self.heading())}\n{narrow(self.summary())}"


def _some(tokens: Sequence[str]) -> str:
    """Return the first tokens, as many as there is room for beside the other side's."""
    shown: list[str] = []
    for token in tokens:
        if len(" ".join([*shown, repr(token)])) > _ROOM:
            break
        shown.append(repr(token))
    return " ".join(shown) or f"{tokens[0]!r:.{_ROOM}}"


def svd_reading(
    model: GivenModel,
    layer: SupportsIndex,
    head: SupportsIndex,
    *,
    circuit: str = "ov",
    k: int | None = None,
    top: int | None = None,
    fold_ln: bool = True,
) -> SvdReading:
    """Read a head's circuit by its singular vectors.

    A left vector is projected on the token embeddings (what the head reads, or asks from), a right
    one on the unembedding (``"ov"``: what it writes) or the embeddings (``"qk"``: what it looks
    for). Both lose their mean over the vocabulary first: GPT-Neo's shared offset would put the same
    tokens on top of every vector. It is a reading of the weights alone: what a deep head reads is
    no longer the embeddings.

    Args:
        model: Whose weights.
        layer: From the front, or from the back if negative.
        head: Of that layer; the same.
        circuit: ``"ov"`` or ``"qk"``.
        k: How many singular vectors, those of the largest values; None for 5, or all there are.
        top: How many tokens of each side and sign; None for 10, or the vocabulary.
        fold_ln: As for :func:`ov_circuit`.

    Raises:
        AnalysisError: No such layer, head or circuit, or ``k`` or ``top`` out of range.

    Example:
        >>> import neoscope as ns
        >>> from neoscope.analysis import svd_reading
        >>> found = svd_reading(ns.load("induction"), 1, 0, k=1, top=1)
        >>> found.tokens[0][0][0] == found.tokens[0][1][0]  # it writes what it reads
        True
    """
    if circuit not in _SIDES:
        hint = nearest(str(circuit), _SIDES)
        raise AnalysisError(f"circuit={circuit!r} is neither 'ov' nor 'qk'{hint}")
    model = as_model(model, "svd_reading")
    place = read_head(model, layer, head)
    k = _at_most("k", k, 5, model.config.d_head)
    top = _at_most("top", top, 10, model.config.d_vocab)
    make = ov_circuit if circuit == "ov" else qk_circuit
    left, values, right = make(model, *place, fold_ln=fold_ln).svd()
    table = embedding(model, center=True)
    other = unembedding(model, fold_ln=fold_ln, center=True).T if circuit == "ov" else table
    on = (table @ left[:, :k].to(table), other @ right[:, :k].to(other))
    # A pair of singular vectors may be negated: let the larger entries on the right be positive.
    flip = torch.where(on[1].amax(0) >= -on[1].amin(0), 1.0, -1.0).to(table)
    found = [_extremes(x * flip, top) for x in on]
    scores, ids = (torch.stack(x, dim=1).cpu().numpy() for x in zip(*found, strict=True))
    words = vocabulary(ids.reshape(-1).tolist(), model.tokenizer)
    return SvdReading(
        model=model.cfg.model_name,
        circuit=circuit,
        layer=place[0],
        head=place[1],
        sides=_SIDES[circuit],
        singular_values=values.double().cpu().numpy(),
        ids=ids,
        scores=scores,
        tokens=_nested(np.array(words, dtype=object).reshape(ids.shape).tolist()),
    )


def _at_most(name: str, given: Any, usual: int, most: int) -> int:
    """Return how many are asked for; where nobody said, the usual number as far as there is."""
    return min(usual, most) if given is None else whole_number(given, name, most=most)


def _extremes(
    on: Float[Tensor, "d_vocab vector"], top: int
) -> tuple[Float[Tensor, "vector sign top"], Int[Tensor, "vector sign top"]]:
    """Return the largest and the smallest entries of each column, the outermost first."""
    high, low = on.T.topk(top), (-on.T).topk(top)
    values = torch.stack([high.values, -low.values], dim=1)
    return values, torch.stack([high.indices, low.indices], dim=1)


def _nested(value: Any) -> Any:
    return tuple(_nested(item) for item in value) if isinstance(value, list) else value
