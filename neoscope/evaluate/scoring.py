"""Score continuations: the log-probability of each, and whether it is what greedy decoding says."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from neoscope.batching import length_batches
from neoscope.device import is_out_of_memory
from neoscope.errors import ArgumentError, EvaluationError
from neoscope.evaluate.forwards import padded_run, shared_run
from neoscope.evaluate.likelihood import log_normaliser, logits_of
from neoscope.evaluate.sharing import Ids, Member, Unit, apart, batches, n_tokens, units
from neoscope.indices import whole
from neoscope.run import Site

if TYPE_CHECKING:
    from neoscope.model import HookedGPTNeo

Score = tuple[float, bool]
# Edits that treat every row by itself, whatever stands beside it.
_ROW_BY_ROW = ("ablate", "scale", "steer")


@dataclass(frozen=True)
class Request:
    """A continuation of a context, in token ids."""

    context: Sequence[int]
    continuation: Sequence[int]

    def fault(self, n_ctx: int) -> str | None:
        """Return why a model cannot answer it; None if it can."""
        n = len(self.continuation)
        if not len(self.context) or not n:
            return "a request needs at least one token of context and one after it"
        if n > n_ctx:
            return (
                f"a continuation of {n} tokens does not fit into the model's context of "
                f"{n_ctx}; score a shorter one, or the text as rolling perplexity"
            )
        return None

    def shortened(self, n_ctx: int) -> bool:
        """Whether the context is too long and loses its beginning."""
        return len(self.context) + len(self.continuation) > n_ctx + 1

    def cut(self, n_ctx: int) -> tuple[Ids, Ids]:
        """Return what the model reads and the tokens that its last rows are asked about.

        A context that is too long loses its beginning, as in lm-evaluation-harness.

        Raises:
            EvaluationError: The continuation alone is longer than the context window.
        """
        if (fault := self.fault(n_ctx)) is not None:
            raise EvaluationError(fault)
        target = np.asarray(self.continuation, dtype=np.int64)
        both = np.concatenate([np.asarray(self.context, dtype=np.int64), target])
        return both[-(n_ctx + 1) :][:-1], target


class Scorer:
    """Scores requests with one model.

    What several requests begin with is computed once and nothing is padded; only the rows that are
    asked about are unembedded. While hooks or edits are in force, every text is run whole, as they
    may depend on what stands where; one by one, unless every edit treats each row by itself.
    """

    def __init__(
        self, model: HookedGPTNeo, *, batch_tokens: int | None = None, share: bool = True
    ) -> None:
        """Check the budget.

        Args:
            model: The model.
            batch_tokens: About how many tokens are run at once; None for what suits the device.
                When memory runs out it is halved.
            share: Compute common beginnings once. The scores are the same without.

        Raises:
            ArgumentError: ``batch_tokens`` means nothing.
        """
        if batch_tokens is not None and (whole(batch_tokens) or 0) < 1:
            raise ArgumentError(f"batch_tokens={batch_tokens!r} is no whole number above 0")
        self.model, self.share = model, share
        self.batch_tokens = batch_tokens or _default_budget(model)

    def score(
        self, requests: Sequence[Request], tell: Callable[[int], None] | None = None
    ) -> list[Score]:
        """Return, for each request, the log-probability in nats and whether it is greedy.

        Args:
            requests: In any order.
            tell: Called after every batch with the number of requests it answered.

        Raises:
            EvaluationError: A request is empty or too long, or one text does not fit into memory.
        """
        cut = [request.cut(self.model.config.n_ctx) for request in requests]
        asked: dict[bytes, list[int]] = {}
        for number, (ids, _) in enumerate(cut):
            asked.setdefault(ids.tobytes(), []).append(number)
        askers = list(asked.values())
        sequences = [cut[numbers[0]][0] for numbers in askers]
        found: list[Score] = [(0.0, False)] * len(cut)
        left = list(range(len(sequences)))
        with torch.no_grad():
            while left:
                for batch in self._plan([sequences[i] for i in left]):
                    places = [left[member.index] for unit in batch for member in unit]
                    numbers = [number for place in places for number in askers[place]]
                    targets = [[cut[number][1] for number in askers[place]] for place in places]
                    scores = self._tried([sequences[i] for i in left], batch, targets)
                    if scores is None:
                        break
                    for number, score in zip(numbers, scores, strict=True):
                        found[number] = score
                    for place in places:
                        askers[place] = []
                    if tell is not None:
                        tell(len(numbers))
                left = [place for place in left if askers[place]]
        return found

    def _plan(self, sequences: list[Ids]) -> list[list[Unit]]:
        if not self.model.is_edited:
            split = units(sequences, self.batch_tokens) if self.share else apart(sequences)
            return list(batches(split, self.batch_tokens))
        budget = self.batch_tokens if row_by_row(self.model) else 1
        rectangles = length_batches([len(ids) for ids in sequences], budget, padded=True)
        return [[[Member(i, 0, len(sequences[i]))] for i in some] for some in rectangles]

    def _tried(
        self, sequences: list[Ids], batch: list[Unit], targets: list[list[Ids]]
    ) -> list[Score] | None:
        """Run one batch; None, and half the budget, if memory ran out."""
        try:
            run = padded_run if self.model.is_edited else shared_run
            hidden, paths = run(self.model, sequences, batch)
            return _scores(self.model, hidden, paths, targets)
        except (RuntimeError, MemoryError) as error:
            size = sum(map(n_tokens, batch))
            if not is_out_of_memory(error):
                raise
            if self.batch_tokens == 1 or sum(map(len, batch)) == 1:
                raise EvaluationError(
                    f"out of memory on a single text of {size} tokens; use a smaller dtype or model"
                ) from error
        self.batch_tokens = max(1, min(self.batch_tokens, size) // 2)
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        return None


def _scores(
    model: HookedGPTNeo,
    hidden: Tensor,
    paths: Sequence[NDArray[np.int64]],
    targets: Sequence[Sequence[Ids]],
) -> list[Score]:
    """Score the tokens that the last rows of each path are asked about, path after path."""
    pairs = [(path[-len(t) :], t) for path, some in zip(paths, targets, strict=True) for t in some]
    columns = np.concatenate([rows for rows, _ in pairs])
    unique, place = np.unique(columns, return_inverse=True)
    rows = torch.from_numpy(place).to(hidden.device)
    tokens = torch.from_numpy(np.concatenate([t for _, t in pairs])).to(hidden.device)
    asked = hidden[torch.from_numpy(unique).to(hidden.device)]
    normaliser, likeliest = log_normaliser(asked, model.unembed)
    log_p = logits_of(asked, rows, tokens, model.unembed) - normaliser[rows]
    ends = np.cumsum([len(t) for _, t in pairs])
    sums = [float(part.sum()) for part in np.split(log_p.double().cpu().numpy(), ends[:-1])]
    greedy = (likeliest[rows] == tokens).cpu().numpy()
    return list(zip(sums, (bool(part.all()) for part in np.split(greedy, ends[:-1])), strict=True))


def row_by_row(model: HookedGPTNeo) -> bool:
    """Whether no hook is in force, and no edit that could mix rows or wants a row's own shape."""
    hooked = any(isinstance(x, Site) and x.hooked for x in model.hook_dict.values())
    return not hooked and all(edit.label in _ROW_BY_ROW for edit in model._edits)


def _default_budget(model: HookedGPTNeo) -> int:
    if model.device.type != "cpu":
        return 32768
    return 4096 if model.dtype in (torch.bfloat16, torch.float16) else 2048
