"""The question of an attribution: which tokens' logits, row by row, as ids and as words."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from neoscope.analysis.words import vocabulary
from neoscope.errors import AnalysisError, PatchingError
from neoscope.patching.metrics.words import MissingSpaceWarning, answer_ids
from neoscope.unseen import levels_to_caller

if TYPE_CHECKING:
    from neoscope.model import HookedGPTNeo


@dataclass(frozen=True)
class Question:
    """The answer's logit of each row, or how far it is above the wrong answer's."""

    answer: Int[Tensor, "row"]
    wrong: Int[Tensor, "row"] | None
    answers: tuple[str, ...]
    """The answer of each row in words; ``"#17"`` without a tokenizer."""
    wrongs: tuple[str, ...]
    """The same for the wrong answers; empty where there are none."""

    def direction(self, model: HookedGPTNeo, dtype: torch.dtype) -> Float[Tensor, "row d_model"]:
        """Return the rows of the unembedding, their difference where there are two."""
        rows = model.unembed.rows.detach()
        found: Tensor = rows[self.answer.to(rows.device)].to(dtype)
        if self.wrong is not None:
            found = found - rows[self.wrong.to(rows.device)].to(dtype)
        return found


def read_question(
    model: HookedGPTNeo,
    answer: Any,
    wrong: Any,
    n_rows: int,
    strings: Sequence[Sequence[str]] = (),
) -> Question:
    """Read answers: words or ids, one for all rows or one for each.

    Args:
        model: Its tokenizer reads words.
        answer: Whose logit.
        wrong: Whose logit is subtracted; None for none.
        n_rows: Rows of the batch.
        strings: The tokens of each row, where they are known: an answer after a space needs none.

    Raises:
        AnalysisError: Not one for each row, no single token, an id outside the vocabulary, or an
            answer that is also the wrong one.
    """
    spaced = any(row[-1][-1:].isspace() for row in strings if row)
    ids = _ids(model, answer, n_rows, "answer", spaced)
    answers = tuple(vocabulary(ids.tolist(), model.tokenizer))
    if wrong is None:
        return Question(ids, None, answers, ())
    others = _ids(model, wrong, n_rows, "wrong", spaced)
    same = (ids == others).nonzero().flatten().tolist()
    if same:
        raise AnalysisError(
            f"answer and wrong are the same token, {answers[same[0]]!r}, in row {same[0]}: their "
            "logits never differ"
        )
    return Question(ids, others, answers, tuple(vocabulary(others.tolist(), model.tokenizer)))


def _ids(
    model: HookedGPTNeo, given: Any, n_rows: int, argument: str, spaced: bool
) -> Int[Tensor, "row"]:
    try:
        ids = answer_ids(model, given, n_rows, argument)
    except PatchingError as error:
        # Patching asks of pairs of prompts; here there is one text a row.
        said = str(error).replace(f"{n_rows} pairs", f"{n_rows} rows").replace("pair", "row")
        raise AnalysisError(said) from error
    if isinstance(given, str) and not spaced:
        _warn_of_missing_space(model, given, int(ids[0]), argument)
    return ids


def _warn_of_missing_space(model: HookedGPTNeo, word: str, found: int, argument: str) -> None:
    if model.tokenizer is None or not word[0].isalnum():
        return
    inside = model.tokenizer(f" {word}", add_special_tokens=False)["input_ids"]
    if len(inside) == 1 and inside[0] not in (found, model.tokenizer.unk_token_id):
        warnings.warn(
            f"{argument}={word!r} has no space before it, but a word inside a text does: "
            f"{' ' + word!r} is another token ({inside[0]})",
            MissingSpaceWarning,
            stacklevel=levels_to_caller(sys._getframe()),
        )
