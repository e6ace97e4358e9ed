"""A corpus through a model, a batch at a time: what watched units do at every token, in order."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from jaxtyping import Float, Int
from numpy.typing import NDArray
from torch import Tensor

from neoscope.analysis.given import whole_number
from neoscope.analysis.neuron.ids import are_ids, id_rows
from neoscope.analysis.neuron.units import Watched
from neoscope.batching import length_batches
from neoscope.device import is_out_of_memory
from neoscope.errors import AnalysisError, ExportError
from neoscope.export.encoding import Encoded, encode_ids
from neoscope.export.extractor import Extractor, _default_budget
from neoscope.export.reading import Chunk, count_rows, read_chunks
from neoscope.export.spec import FeatureSpec
from neoscope.packed import Packed
from neoscope.sites import SiteRef
from neoscope.visibility import Visibility

if TYPE_CHECKING:
    from neoscope.model import HookedGPTNeo

_TEXTS_AT_ONCE = 1024
_SLACK = 0.125


@dataclass
class Watcher:
    """Keeps the activations of the watched units that a run passes."""

    what: Watched
    mask: Tensor | None
    keep_graph: bool = False
    values: Tensor | None = None
    wanted: Mapping[str, SiteRef] = field(init=False)

    def __post_init__(self) -> None:
        """Say which site is wanted."""
        self.wanted = {self.what.ref.name: self.what.ref}

    def see(self, name: str, x: Tensor, visibility: Visibility) -> Tensor:
        """Take what is watched, of real tokens alone."""
        if name in self.wanted:
            rows = x[0] if self.mask is None else x[self.mask]
            self.values = self.what.values(rows.flatten(1))
        return x


@dataclass(frozen=True)
class Part:
    """Some texts of the corpus."""

    texts: Sequence[str | None]
    """None where there is a problem; empty where tokens were given as ids."""
    names: Sequence[Any]
    """What each text is called: its row from 0, or what the corpus calls it."""
    row: int
    """How many texts come before it in the corpus."""
    encoded: Encoded
    start: int
    """How many tokens come before it in the corpus."""


@dataclass(frozen=True)
class Batch:
    """What the units do at some tokens."""

    part: Part
    tokens: Int[np.ndarray, " token"]
    """Which of the part's, ascending."""
    values: Float[Tensor, "token unit"]
    ended: int
    """How many texts it ends."""


@dataclass
class Corpus:
    """Texts to be read, and how."""

    model: HookedGPTNeo
    texts: Any
    """Or the token ids of each, as a list of lists."""
    is_ids: bool
    text_column: str
    on_error: str
    spec: FeatureSpec
    extractor: Extractor | None
    """None where tokens were given as ids."""
    batch_tokens: int
    """Most tokens at once; halved where memory runs out."""

    @classmethod
    def open(
        cls,
        model: HookedGPTNeo,
        texts: Any,
        *,
        text_column: str = "text",
        prepend_bos: bool = False,
        truncation: str = "stride",
        on_error: str = "fail",
        batch_tokens: int | None = None,
    ) -> Corpus:
        """Check how texts are to be read; none is read yet.

        Raises:
            AnalysisError: ``on_error`` is neither ``"fail"`` nor ``"skip"``, ``batch_tokens`` is no
                size, or ``prepend_bos`` is asked for of token ids.
            ArgumentError: ``truncation`` means nothing.
            TokenizationError: The model has no tokenizer, or the token ids are none of its.
        """
        if batch_tokens is not None:
            batch_tokens = whole_number(batch_tokens, "batch_tokens")
        if on_error not in ("fail", "skip"):
            raise AnalysisError(f"on_error={on_error!r}; expected 'fail' or 'skip'")
        spec = FeatureSpec(pool="none", truncation=truncation, prepend_bos=prepend_bos)
        if not are_ids(texts):
            extractor = Extractor(model, spec, batch_tokens=batch_tokens)
            budget = extractor.batch_tokens
            return cls(model, texts, False, text_column, on_error, spec, extractor, budget)
        if prepend_bos:
            raise AnalysisError(
                "prepend_bos=True is for texts; of token ids, put the beginning-of-text token's "
                "first"
            )
        rows = id_rows(model, texts)
        budget = batch_tokens or _default_budget(model)
        return cls(model, rows, True, text_column, on_error, spec, None, budget)

    def count(self) -> int | None:
        """Return how many texts there are, or None where that is not known before they are read.

        Raises:
            AnalysisError: The input cannot be read.
        """
        if self.is_ids:
            return len(self.texts)
        try:
            return count_rows(self.texts, text_column=self.text_column, keep=[])
        except ExportError as error:
            raise AnalysisError(str(error)) from error

    def parts(self) -> Iterator[Part]:
        """Yield the corpus in parts, tokenized.

        Raises:
            AnalysisError: It cannot be read or is empty, or, unless such texts are skipped, a text
                cannot be used; names its row.
        """
        start = 0
        for texts, names, row, encoded in self._encoded():
            if encoded.problems and self.on_error == "fail":
                bad = min(encoded.problems)
                raise AnalysisError(
                    f"row {row + bad}: {encoded.problems[bad]}; on_error='skip' leaves such texts "
                    "out"
                )
            yield Part(texts, names, row, encoded, start)
            start += len(encoded.ids)

    def _encoded(self) -> Iterator[tuple[Sequence[str | None], Sequence[Any], int, Encoded]]:
        """Yield texts, their names, the number of the first, and their tokens."""
        if self.extractor is not None:
            for chunk in self._chunks():
                read = self.extractor.encode(
                    chunk.texts, problems=chunk.problems, start=chunk.start
                )
                yield chunk.texts, chunk.ids, chunk.start, read
            return
        sizes = {"n_ctx": self.model.config.n_ctx, "d_vocab": self.model.config.d_vocab}
        for first in range(0, len(self.texts), _TEXTS_AT_ONCE):
            rows = self.texts[first : first + _TEXTS_AT_ONCE]
            yield (), range(first, first + len(rows)), first, encode_ids(rows, self.spec, **sizes)

    def _chunks(self) -> Iterator[Chunk]:
        options: dict[str, Any] = {"keep": [], "rows": _TEXTS_AT_ONCE}
        try:
            yield from read_chunks(self.texts, text_column=self.text_column, **options)
        except ExportError as error:
            raise AnalysisError(str(error)) from error

    def batches(self, part: Part, what: Watched) -> Iterator[Batch]:
        """Yield what the units do at every token of a part, each token once.

        Raises:
            AnalysisError: A value is not finite, or a single text does not fit into memory.
        """
        encoded = part.encoded
        lengths = encoded.windows[:, 2] - encoded.windows[:, 1]
        padded = self.model.is_edited
        todo = length_batches(lengths.tolist(), self.batch_tokens, padded=padded)
        while todo:
            windows = encoded.windows[todo[0]]
            found = self._tried(encoded, windows, what, padded)
            if found is None:
                rest = [window for batch in todo for window in batch]
                again = length_batches(lengths[rest].tolist(), self.batch_tokens, padded=padded)
                todo = [[rest[i] for i in batch] for batch in again]
                continue
            todo.pop(0)
            tokens, values = found
            _check_finite(part, what, tokens, values)
            ended = int((windows[:, 2] == encoded.lengths[windows[:, 0]]).sum())
            yield Batch(part, tokens, values, ended)

    def _tried(
        self, encoded: Encoded, windows: NDArray[np.int64], what: Watched, padded: bool
    ) -> tuple[NDArray[np.int64], Tensor] | None:
        """Run one batch; None, and half the budget, if memory ran out."""
        try:
            with torch.no_grad():
                return _run(self.model, encoded, windows, what, padded)
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            n_tokens = int((windows[:, 2] - windows[:, 1]).sum())
            if len(windows) == 1:
                raise AnalysisError(
                    f"out of memory on a single text of {n_tokens} tokens; choose fewer units"
                ) from error
        self.batch_tokens = max(1, min(self.batch_tokens, n_tokens) // 2)
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        return None


def _run(
    model: HookedGPTNeo,
    encoded: Encoded,
    windows: NDArray[np.int64],
    what: Watched,
    padded: bool,
) -> tuple[NDArray[np.int64], Tensor]:
    """Return the tokens that the windows are read for, in order, and what the units do there."""
    device = model.device
    lengths = windows[:, 2] - windows[:, 1]
    tokens = np.concatenate([np.arange(a, b) for a, b in windows[:, 1:3]])
    tokens += np.repeat(encoded.first[windows[:, 0]], lengths)
    owned = np.flatnonzero(encoded.position[tokens] >= np.repeat(windows[:, 3], lengths))
    ids = torch.from_numpy(encoded.ids[tokens]).to(device)
    mask, visibility = None, None
    if padded:
        mask = torch.arange(int(lengths.max())) < torch.from_numpy(lengths)[:, None]
        mask = mask.to(device)
        ids = torch.zeros(mask.shape, dtype=torch.long, device=device).masked_scatter_(mask, ids)
    else:
        # A device likes few large launches; a CPU would only copy.
        slack = 0.0 if device.type == "cpu" else _SLACK
        visibility = Packed(lengths.tolist(), device, slack=slack)
        ids = ids[None]
    watcher = Watcher(what, mask)
    model(ids, mask, return_type=None, _record=watcher, _visibility=visibility)
    assert watcher.values is not None
    order = owned[np.argsort(tokens[owned], kind="stable")]
    return tokens[order], watcher.values[torch.from_numpy(order).to(device)]


def _check_finite(part: Part, what: Watched, tokens: NDArray[np.int64], values: Tensor) -> None:
    bad = ~values.isfinite()
    if not bad.any():
        return
    row, unit = bad.nonzero()[0].tolist()
    token = int(tokens[row])
    text, position = int(part.encoded.text[token]), int(part.encoded.position[token])
    raise AnalysisError(
        f"{what.ref.name}, {what.labels[unit]}: the activation in row {part.row + text}, "
        f"position {position}, is {float(values[row, unit])}"
    )
