"""LensResult: what every layer would say, how far that is from the output, and how far to trust it.

References: nostalgebraist 2020 (logit lens); Belrose et al. 2023, arXiv:2303.08112 (tuned lens,
calibration, and the logit lens's failure on GPT-Neo, figure 1).
"""

from __future__ import annotations

import html
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float, Int

from neoscope.analysis.lens.words import as_text, grid
from neoscope.analysis.result import Result, counted, narrow, wrapped
from neoscope.errors import AnalysisError, nearest

if TYPE_CHECKING:
    import pandas as pd

_CAVEAT = (
    "On GPT-Neo the plain logit lens is known to fail (Belrose et al. 2023, figure 1): early rows "
    "are often one constant token. Trust a row as far as its KL and its bias are small, or train "
    "an analysis.TunedLens."
)
_CALIBRATED = "how far each row is from the output: nats, the bias in bits"


@dataclass(frozen=True, eq=False, repr=False)
class LensResult(Result):
    """What each row (a layer, a component) says at each token, and its calibration.

    Tokens are the real ones of all texts, one after another. Entropy, KL and cross-entropy are in
    nats, the bias in bits; ranks count from 1. Printed, it shows
    :meth:`calibration`, and the likeliest tokens of the first text.
    """

    lens: str
    """``"logit"``, ``"mean-corrected logit"``, ``"tuned"`` or ``"debiased"``."""
    site: str
    model: str
    labels: tuple[str, ...]
    """One for each row: ``"embed"`` or the layer; ``"2.1"`` for head 1 of layer 2."""
    layers: Int[np.ndarray, " row"]
    """-1 for embeddings."""
    heads: Int[np.ndarray, " row"]
    """-1 for what is no head."""
    text: Int[np.ndarray, " token"]
    position: Int[np.ndarray, " token"]
    ids: Int[np.ndarray, " token"]
    """The token that stands there; -1 where the cache does not know."""
    tokens: tuple[str, ...]
    next_ids: Int[np.ndarray, " token"]
    """The token that follows; -1 for none."""
    top_ids: Int[np.ndarray, "row token k"]
    top_logits: Float[np.ndarray, "row token k"]
    """As the model's own unembedding gives them."""
    top_probability: Float[np.ndarray, "row token k"]
    entropy: Float[np.ndarray, "row token"]
    kl: Float[np.ndarray, "row token"]
    """KL(the model's output || this row)."""
    cross_entropy: Float[np.ndarray, "row token"]
    """-log p of the next token; NaN where there is none."""
    next_rank: Int[np.ndarray, "row token"]
    """Rank of the next token; 0 where there is none."""
    bias: Float[np.ndarray, " row"]
    """KL in bits between the mean over tokens of the output's probabilities and that of the
    row's: what the lens gets wrong whatever the text is."""
    agreement: Float[np.ndarray, " row"]
    """Share of tokens at which the row's first token is that of the model's output."""
    target_ids: Int[np.ndarray, " target"]
    target_probability: Float[np.ndarray, "row token target"]
    target_rank: Int[np.ndarray, "row token target"]
    word_ids: Int[np.ndarray, " word"]
    """Every id among the top tokens, the targets and the next tokens, in order."""
    words: tuple[str, ...]
    """What they stand for."""

    @property
    def plain(self) -> bool:
        """Whether nothing was trained, so that the caveat holds."""
        return self.lens not in ("tuned", "debiased")

    def heading(self) -> str:
        """Return what was read."""
        texts, n = counted(len(np.unique(self.text)), "text"), counted(len(self.tokens), "token")
        rows = counted(len(self.labels), "row")
        return f"{self.lens} lens of {self.site} in {self.model}: {rows} x {n} of {texts}"

    @property
    def caveat(self) -> str:
        """What to keep in mind; empty for a lens that was trained."""
        return _CAVEAT if self.plain else ""

    def word(self, token_id: int) -> str:
        """Return what one of the ids in this result stands for."""
        place = int(np.searchsorted(self.word_ids, token_id))
        if place == len(self.word_ids) or self.word_ids[place] != token_id:
            raise AnalysisError(f"token id {token_id} is not in this result")
        return self.words[place]

    @property
    def top_tokens(self) -> Any:
        """Strings of the top tokens, an object array [row, token, k]."""
        words = np.array(self.words, object)
        return words[np.searchsorted(self.word_ids, self.top_ids)]

    def row(self, label: str | int) -> int:
        """Return the number of a row by its label, a layer's by the layer.

        Args:
            label: ``"embed"``, ``3`` or ``"3"``.

        Raises:
            AnalysisError: There is no such row.
        """
        if str(label) not in self.labels:
            hint = nearest(str(label), self.labels)
            raise AnalysisError(
                f"this lens has no row {str(label)!r}{hint}; rows: {', '.join(self.labels)}"
            )
        return self.labels.index(str(label))

    def calibration(self) -> pd.DataFrame:
        """Return how far each row is from the model's output, over all tokens.

        Columns: ``layer``, ``kl`` and ``cross_entropy`` (nats, means), ``bias_bits``, ``agreement``
        (share of tokens where its first token is the output's) and ``entropy`` (nats, mean).
        """
        import pandas as pd

        known = self.next_ids >= 0
        loss = self.cross_entropy[:, known].mean(1) if known.any() else np.nan
        return pd.DataFrame(
            {
                "layer": self.labels,
                "kl": self.kl.mean(1),
                "cross_entropy": loss,
                "bias_bits": self.bias,
                "agreement": self.agreement,
                "entropy": self.entropy.mean(1),
            }
        )

    def to_dataframe(self) -> pd.DataFrame:
        """Return one row for every row of the lens and token, with its top tokens."""
        import pandas as pd

        rows, n, k = self.top_ids.shape
        following = [self.word(i) if i >= 0 else "" for i in self.next_ids.tolist()]
        flat = {
            "layer": np.repeat(np.array(self.labels, object), n),
            "text": np.tile(self.text, rows),
            "position": np.tile(self.position, rows),
            "token": np.tile(np.array(self.tokens, object), rows),
            "next": np.tile(np.array(following, object), rows),
            "entropy": self.entropy.ravel(),
            "kl": self.kl.ravel(),
            "cross_entropy": self.cross_entropy.ravel(),
            "next_rank": self.next_rank.ravel(),
        }
        top = self.top_tokens
        for i in range(k):
            flat[f"top_{i + 1}"] = top[:, :, i].ravel()
            flat[f"p_{i + 1}"] = self.top_probability[:, :, i].ravel()
        for i, target in enumerate(self.target_ids):
            word = self.word(int(target))
            flat[f"rank of {word!r}"] = self.target_rank[:, :, i].ravel()
            flat[f"p of {word!r}"] = self.target_probability[:, :, i].ravel()
        return pd.DataFrame(flat)

    def summary(self) -> pd.DataFrame:
        """Return the calibration: whether the rest can be believed."""
        return self.calibration()

    def __str__(self) -> str:
        """Return heading, calibration, the likeliest tokens and the caveat, in 80 columns."""
        said, words = grid(self)
        more = f"top {self.top_ids.shape[2]} of every row and token: to_dataframe()"
        parts = [
            f"{wrapped(self.heading())}\n{_CALIBRATED}\n{narrow(self.summary())}",
            f"{wrapped(f'{said}; {more}')}\n{as_text(words)}" if words else more,
            wrapped(self.caveat) if self.caveat else "",
        ]
        return "\n\n".join(filter(None, parts))

    def _repr_html_(self) -> str:
        caveat = f"<p>{html.escape(self.caveat)}</p>" if self.caveat else ""
        said, words = grid(self)
        rows = ["".join(f"<td>{html.escape(x)}</td>" for x in row) for row in words]
        lines = "".join(f"<tr>{row}</tr>" for row in rows)
        table = f"<p>{said}</p><table>{lines}</table>" if rows else ""
        return f"{super()._repr_html_()}{table}{caveat}"
