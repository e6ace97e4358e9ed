"""TokenLosses: how surprising every token of some texts was, and what was expected instead."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float, Int

from neoscope.analysis.result import Result, counted
from neoscope.errors import AnalysisError

if TYPE_CHECKING:
    import pandas as pd

_SHOWN = 20


@dataclass(frozen=True, eq=False, repr=False)
class TokenLosses(Result):
    """One row a token of every text, in order; surprisal and entropy in nats, ranks from 1.

    What is said of a token is what the model said before it saw it. The first token of a text,
    which nothing predicts, has NaN, rank 0 and no top token.
    """

    model: str
    text: Int[np.ndarray, " token"]
    position: Int[np.ndarray, " token"]
    ids: Int[np.ndarray, " token"]
    tokens: tuple[str, ...]
    surprisal: Float[np.ndarray, " token"]
    """-log p of the token."""
    entropy: Float[np.ndarray, " token"]
    """Of the distribution in which the token was looked up."""
    rank: Int[np.ndarray, " token"]
    """Of the token; 1 is the likeliest."""
    top_tokens: tuple[str, ...]
    """The likeliest instead."""
    top_probability: Float[np.ndarray, " token"]
    n_words: Int[np.ndarray, " text"]
    """Words of each text as far as it was read, split at white space as lm-evaluation-harness does;
    0 where ids were given."""
    n_bytes: Int[np.ndarray, " text"]
    """UTF-8 bytes of each text as far as it was read; 0 where ids were given."""
    complete: bool = True
    """False where reading was interrupted: then these are the texts that were done."""

    @property
    def loss(self) -> float:
        """Mean surprisal in nats over all tokens that have one."""
        return self._total / int((~np.isnan(self.surprisal)).sum())

    @property
    def bits_per_byte(self) -> float:
        """The whole surprisal in bits over the bytes of the texts."""
        total = int(self.n_bytes.sum())
        if not total:
            raise AnalysisError("bits per byte need texts; token ids were given")
        return self._total / math.log(2) / total

    @property
    def perplexity(self) -> float:
        """Exp of the mean surprisal of the tokens that are predicted."""
        return math.exp(self.loss)

    @property
    def word_perplexity(self) -> float:
        """Exp of the whole surprisal over the words of the texts.

        lm-evaluation-harness's figure of that name predicts the first token from
        ``<|endoftext|>`` too: for the same one give ``token_losses`` ``prepend_bos=True``.
        """
        total = int(self.n_words.sum())
        if not total:
            raise AnalysisError("word_perplexity needs texts; token ids were given")
        return math.exp(self._total / total)

    @property
    def _total(self) -> float:
        if np.isnan(self.surprisal).all():
            raise AnalysisError("every text is a single token, so that nothing was predicted")
        return float(np.nansum(self.surprisal, dtype=np.float64))

    def heading(self) -> str:
        """Return the counts, the loss and the perplexities."""
        texts, n = counted(len(self.n_words), "text"), counted(len(self.tokens), "token")
        said = f"{n} of {texts} in {self.model}{'' if self.complete else '; interrupted'}"
        if np.isnan(self.surprisal).all():
            return f"{said}: nothing is predicted"
        words = f", {self.word_perplexity:.4g} a word" if self.n_words.any() else ""
        return (
            f"{said}: {self.loss:.4g} nats a token, perplexity {self.perplexity:.4g} a token{words}"
        )

    def to_dataframe(self) -> pd.DataFrame:
        """Return one row a token, surprisal in nats and in bits."""
        import pandas as pd

        return pd.DataFrame(
            {
                "text": self.text,
                "position": self.position,
                "token": self.tokens,
                "surprisal": self.surprisal,
                "bits": self.surprisal / math.log(2),
                "entropy": self.entropy,
                "rank": self.rank,
                "top": self.top_tokens,
                "top_probability": self.top_probability,
            }
        )

    def summary(self) -> pd.DataFrame:
        """Return the most surprising tokens, in nats; ``p_top`` is the top token's probability."""
        table = (
            self.to_dataframe().drop(columns="bits").rename(columns={"top_probability": "p_top"})
        )
        return table.sort_values("surprisal", ascending=False, kind="stable").head(_SHOWN)
