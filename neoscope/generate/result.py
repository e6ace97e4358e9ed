"""What generation returns: text, token ids, or a small record of both with log-probabilities."""

from __future__ import annotations

import dataclasses
import html
import json
import os
import textwrap
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from neoscope.errors import GenerationError
from neoscope.files import atomic

if TYPE_CHECKING:
    import pandas as pd

_MOST_ROWS = 20
_WIDTH = 80


@dataclass(frozen=True, eq=False, repr=False)
class Generated:
    """Generated texts, token by token."""

    model: str
    """The model's name."""
    prompts: tuple[str | None, ...]
    """Of each row; None where token ids were given and there is no tokenizer."""
    continuations: tuple[str | None, ...]
    """What was generated after each prompt, special tokens left out."""
    tokens: tuple[tuple[int, ...], ...]
    """Ids of the new tokens of each row, an end-of-text token included."""
    strings: tuple[tuple[str, ...], ...]
    """The same as text; empty without a tokenizer."""
    log_probs: tuple[tuple[float, ...], ...] | None
    """Of each new token under the model (edits in force), in nats, before temperature and other
    processors; None of a beam search."""
    scores: tuple[float, ...] | None
    """Beam search's score of each row: summed log-probability over length ** length_penalty."""
    stopped: tuple[str, ...]
    """Why each row ended: ``"eos"``, ``"length"``, ``"context"`` (the model's is full),
    ``"stop_string"``, ``"time"`` or ``"criterion"``."""

    @property
    def texts(self) -> tuple[str | None, ...]:
        """Prompts and what follows them."""
        pairs = zip(self.prompts, self.continuations, strict=True)
        return tuple(None if a is None or b is None else a + b for a, b in pairs)

    def heading(self) -> str:
        """Return one line."""
        n, new = len(self.tokens), sum(map(len, self.tokens))
        return (
            f"{n} text{'s' * (n != 1)} by {self.model}: {new} new tokens, log-probabilities in nats"
        )

    def to_dataframe(self) -> pd.DataFrame:
        """Return one row a new token: row, step, id, text, log-probability (nats)."""
        import pandas as pd

        rows = [
            {
                "row": row,
                "step": step,
                "id": token,
                "token": self.strings[row][step] if self.strings else None,
                "log_prob": self.log_probs[row][step] if self.log_probs is not None else None,
            }
            for row, tokens in enumerate(self.tokens)
            for step, token in enumerate(tokens)
        ]
        return pd.DataFrame(rows, columns=["row", "step", "id", "token", "log_prob"])

    def summary(self) -> pd.DataFrame:
        """Return one row a text."""
        import pandas as pd

        rows = [
            {"text": text, "tokens": len(tokens), "stopped": why}
            for text, tokens, why in zip(self.texts, self.tokens, self.stopped, strict=True)
        ]
        return pd.DataFrame(rows).head(_MOST_ROWS)

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write a JSON file, whole; :meth:`load` reads it.

        Raises:
            GenerationError: It cannot be written.
        """
        target = Path(path)
        try:
            with atomic(target) as temporary:
                text = json.dumps({"generated": dataclasses.asdict(self)}, ensure_ascii=False)
                temporary.write_text(text + "\n", encoding="utf-8")
        except OSError as error:
            raise GenerationError(f"cannot write {target}: {error.strerror or error}") from error
        return target

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Generated:
        """Read what :meth:`save` wrote.

        Raises:
            GenerationError: There is no such file, or it holds something else.
        """
        try:
            fields = json.loads(Path(path).read_text(encoding="utf-8"))["generated"]
            return cls(**{name: _tuples(value) for name, value in fields.items()})
        except OSError as error:
            raise GenerationError(f"cannot read {path}: {error.strerror or error}") from error
        except (KeyError, TypeError, ValueError) as error:
            raise GenerationError(f"{path} holds no generated texts: {error!r}") from error

    def __repr__(self) -> str:
        """Return the heading."""
        return self.heading()

    def __str__(self) -> str:
        """Return the heading, then each text with its number and why it ended, in 80 columns."""
        lines = textwrap.wrap(self.heading(), _WIDTH)
        for row, (text, tokens) in enumerate(zip(self.texts, self.tokens, strict=True)):
            if row == _MOST_ROWS:
                lines.append(f"... {len(self.tokens) - row} more: texts")
                break
            shown = f"tokens {' '.join(map(str, tokens))}" if text is None else text
            lines += _numbered(f"{row + 1}. ", shown)
            count = f"{len(tokens)} new token{'s' * (len(tokens) != 1)}"
            lines.append(f"   [{count}, ended by {self.stopped[row]}]")
        return "\n".join(lines)

    def _repr_html_(self) -> str:
        """Return the same for a notebook; text is escaped."""
        table = self.summary().to_html(escape=True, index=False)
        return f"<p>{html.escape(self.heading())}</p>{table}"


def _numbered(number: str, text: str) -> list[str]:
    """Return a text's lines, wrapped, with a number before the first."""
    wrapper = textwrap.TextWrapper(_WIDTH - len(number), replace_whitespace=False)
    lines = [part for line in text.expandtabs().splitlines() for part in wrapper.wrap(line) or [""]]
    return [
        ((" " * len(number) if i else number) + line).rstrip()
        for i, line in enumerate(lines or [""])
    ]


def _tuples(value: Any) -> Any:
    return tuple(_tuples(item) for item in value) if isinstance(value, list) else value
