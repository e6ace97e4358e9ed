"""Experiment: texts run to a site once, and from there again under every intervention."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from neoscope.edits import Edit, transform
from neoscope.errors import ProbeError
from probes.data.places import Place
from probes.running import last_logits, read_batches, start_layer, streams
from probes.use.controls import Change

Array = NDArray[Any]
ChangeOf = Callable[[int], Change]
"""The change of each batch, by its number."""


@dataclass(frozen=True, eq=False)
class Measured:
    """What an intervention did to the next-token distribution after each text."""

    values: dict[str, Array]
    """By measure, [texts]; see :class:`probes.use.Effect`."""


class Experiment:
    """Texts at a place of a model, and the logits that follow."""

    def __init__(
        self,
        model: Any,
        place: Place,
        texts: Any,
        *,
        answers: Any = None,
        wrong: Any = None,
        positions: Any = None,
        batch_size: int = 32,
        prepend_bos: bool = False,
    ) -> None:
        """Run the texts as they are.

        Raises:
            ProbeError: Texts or answers do not fit.
            SiteError: The model has no such place.
        """
        self.model, self.place, self.positions = model, place, positions
        self.batches = read_batches(model, texts, batch_size=batch_size, prepend_bos=prepend_bos)
        self.n_texts: int = self.batches[-1].rows.stop
        if wrong is not None and answers is None:
            raise ProbeError("wrong= without answers=: give both, or answers alone")
        self._answers = self._words(answers, "answers")
        self._wrong = self._words(wrong, "wrong")
        self._check_words()
        self._start = start_layer(model, place.layer, place.site)
        self._streams = streams(model, self.batches, self._start)
        self._clean = [
            last_logits(model, batch, stream, self._start).log_softmax(-1)
            for batch, stream in zip(self.batches, self._streams, strict=True)
        ]

    @property
    def measures(self) -> tuple[str, ...]:
        """Names of what is measured; the last says most."""
        if self._answers is None:
            return ("kl",)
        return ("kl", "log_prob" if self._wrong is None else "logit_diff")

    def states(self) -> list[Tensor]:
        """Return what stands at the place, at the chosen positions, batch by batch."""
        found = []
        for batch, stream in zip(self.batches, self._streams, strict=True):
            with torch.inference_mode():
                _, cache = self.model.run_with_cache(
                    batch.ids if stream is None else stream,
                    batch.mask,
                    sites=self.place.site,
                    layers=self.place.layer,
                    positions=self.positions,
                    start_at_layer=None if stream is None else self._start,
                    return_type=None,
                )
            x = next(iter(cache.values()))
            head = self.place.head
            found.append(x if head is None else x[:, :, head : head + 1])
        return found

    def vectors(self) -> Array:
        """Return the states of all real tokens as rows, [tokens, features] float64."""
        rows = []
        for batch, x in zip(self.batches, self.states(), strict=True):
            flat = x.flatten(2).double()
            whole = self.positions is None
            rows.append(flat[batch.mask] if whole else flat.flatten(0, 1))
        return np.asarray(torch.cat(rows).cpu().numpy())

    def measure(self, change_of: ChangeOf) -> Measured:
        """Run all texts with a change at the place."""
        parts: list[dict[str, Tensor]] = []
        for i, (batch, stream) in enumerate(zip(self.batches, self._streams, strict=True)):
            logits = last_logits(self.model, batch, stream, self._start, [self._edit(change_of(i))])
            parts.append(self._compare(logits.log_softmax(-1), i))
        return Measured(
            {name: np.asarray(torch.cat([p[name] for p in parts]).cpu()) for name in self.measures}
        )

    def _edit(self, change: Change) -> Edit:
        where = {"head": self.place.head, "positions": self.positions}
        given = {name: value for name, value in where.items() if value is not None}
        return transform(self.place.site, self.place.layer, change, **given)

    def _compare(self, logs: Tensor, i: int) -> dict[str, Tensor]:
        clean, rows = self._clean[i].double(), self.batches[i].rows
        new = logs.double()
        found = {"kl": (clean.exp() * (clean - new)).sum(-1).clamp_min(0.0)}
        if self._answers is not None:
            moved = new - clean
            said = moved.gather(1, self._answers[rows].to(moved.device)[:, None])[:, 0]
            if self._wrong is None:
                found["log_prob"] = said
            else:
                other = moved.gather(1, self._wrong[rows].to(moved.device)[:, None])[:, 0]
                found["logit_diff"] = said - other
        return found

    def _check_words(self) -> None:
        if self._answers is None or self._wrong is None:
            return
        same = (self._answers == self._wrong).nonzero().flatten().tolist()
        if same:
            token = int(self._answers[same[0]])
            raise ProbeError(
                f"text {same[0]}: the answer and the wrong word are the same, token {token} "
                f"({len(same)} of {self.n_texts} texts); nothing could change their difference"
            )

    def _words(self, words: Any, argument: str) -> Tensor | None:
        if words is None:
            return None
        one = isinstance(words, str | int | np.integer)
        listed = [words] * self.n_texts if one else list(words)
        if len(listed) != self.n_texts:
            raise ProbeError(f"there are {self.n_texts} texts but {len(listed)} {argument}")
        return torch.tensor([_token(self.model, word, argument) for word in listed])


def _token(model: Any, word: Any, argument: str) -> int:
    if not isinstance(word, str):
        number, size = int(word), model.config.d_vocab
        if not 0 <= number < size:
            raise ProbeError(f"{argument}: token id {number} is outside the vocabulary of {size}")
        return number
    ids = model.tokenize(word).ids[0].tolist()
    if len(ids) != 1:
        raise ProbeError(
            f"{argument}: {word!r} is {len(ids)} tokens; give words of one token (in running text "
            "they begin with a space), or token ids"
        )
    return int(ids[0])


def same_lengths(a: Sequence[Any], b: Sequence[Any]) -> bool:
    """Whether two lists of batches hold texts of equal lengths, text by text."""
    return all(
        x.mask.shape == y.mask.shape and bool((x.mask == y.mask).all())
        for x, y in zip(a, b, strict=True)
    )
