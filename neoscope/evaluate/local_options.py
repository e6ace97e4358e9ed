"""What local tasks are made of beside their kind: the file's rows, and how answers are read."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from neoscope.errors import ArgumentError, EvaluationError
from neoscope.evaluate.arguments import check_number, check_text
from neoscope.evaluate.local_rows import place_word

_WITHOUT_SHOTS = ("minimal_pairs", "perplexity")


class LocalRows:
    """Gives lm_eval the rows of a file, and can say where one stands in it."""

    def __init__(self, path: Path, rows: Sequence[dict[str, Any]], lines: Sequence[int]) -> None:
        """Keep the rows.

        Args:
            path: The file.
            rows: As its kind of task has them.
            lines: Where each stands, from 1.
        """
        self.path, self.rows, self.lines = path, list(rows), list(lines)
        self._word = place_word(path)

    def __call__(self, **metadata: Any) -> Any:
        """Return the rows as a dataset."""
        from datasets import Dataset, DatasetDict

        return DatasetDict({"test": Dataset.from_list(self.rows)})

    def where(self, example: int) -> str:
        """Return where a row stands."""
        return f"{self.path}, {self._word} {self.lines[example]}"


@dataclass(frozen=True)
class Answering:
    """How answers are generated, found and compared; the arguments of ``local_task``."""

    regex: Any = None
    ignore_case: bool = False
    ignore_punctuation: bool = False
    stop: Any = "\n"
    max_new_tokens: Any = 64

    def check(self) -> None:
        """Check the values.

        Raises:
            ArgumentError: One means nothing.
        """
        check_text(self.regex, "regex")
        check_number(self.max_new_tokens, "max_new_tokens", 1)
        stops = [self.stop] if isinstance(self.stop, str) else self.stop
        good = isinstance(stops, Iterable) and all(isinstance(x, str) and x for x in stops)
        if self.max_new_tokens is None:
            raise ArgumentError("max_new_tokens=None is no whole number from 1")
        if not good:
            raise ArgumentError(f"stop={self.stop!r:.60} must be a text or several, none empty")
        try:
            re.compile(self.regex or "")
        except re.error as error:
            raise ArgumentError(
                f"regex={self.regex!r:.60} is no regular expression: {error}"
            ) from error

    def config(self) -> dict[str, Any]:
        """Return lm_eval's settings."""
        stops = [self.stop] if isinstance(self.stop, str) else list(self.stop)
        found: list[dict[str, Any]] = [{"function": "take_first"}]
        if self.regex is not None:
            found.insert(0, {"function": "regex", "regex_pattern": self.regex})
        else:
            found.insert(0, {"function": "remove_whitespace"})
        return {
            "output_type": "generate_until",
            "generation_kwargs": {
                "until": stops, "do_sample": False, "max_gen_toks": int(self.max_new_tokens)
            },
            "filter_list": [{"name": "none", "filter": found}],
            "metric_list": [
                {"metric": "exact_match", "aggregation": "mean", "higher_is_better": True,
                 "ignore_case": self.ignore_case, "ignore_punctuation": self.ignore_punctuation}
            ],
        }  # fmt: skip


def check_options(path: Path, kind: str, num_fewshot: int | None, answering: Answering) -> None:
    """Refuse options that this kind of task would ignore.

    Raises:
        EvaluationError: One is given.
        ArgumentError: One means nothing.
    """
    answering.check()
    if num_fewshot and kind in _WITHOUT_SHOTS:
        raise EvaluationError(f"{path} holds {kind}, which take no solved examples (num_fewshot)")
    if kind == "generate":
        return
    given = [
        field.name for field in dataclasses.fields(Answering)
        if getattr(answering, field.name) != field.default
    ]  # fmt: skip
    if given:
        raise EvaluationError(
            f"{path} holds {kind}; {given[0]} is for generated answers (kind generate)"
        )
