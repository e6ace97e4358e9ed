"""Reading the rows of a lens: chunk by chunk of tokens, one row after another."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from neoscope.analysis.given import whole_number
from neoscope.analysis.lens.output import check_final_norm
from neoscope.analysis.lens.places import Places, places
from neoscope.analysis.lens.result import LensResult
from neoscope.analysis.lens.states import STREAMS, Entry, final_stream
from neoscope.analysis.readout import Readout, Said, Wanted, spans
from neoscope.analysis.words import vocabulary
from neoscope.cache import ActivationCache
from neoscope.errors import AnalysisError, PatchingError
from neoscope.indices import Positions, whole

if TYPE_CHECKING:
    from neoscope.model import HookedGPTNeo

Translate = Callable[[Tensor, int], Tensor]
# What float32 cannot hold counts as the smallest that it can: a mean of probabilities is not 0.
_LEAST = float(np.finfo(np.float32).tiny)


@dataclass(frozen=True, eq=False)
class Reading:
    """What to read, beside the rows themselves."""

    lens: str
    site: str
    positions: Positions
    k: int
    targets: Any
    translate: Translate | None
    """Of states and the number of their row; None leaves them."""


def measure(
    cache: ActivationCache,
    model: HookedGPTNeo,
    rows: Sequence[Entry],
    reading: Reading,
    what: str,
) -> LensResult:
    """Read every row at every token.

    Args:
        cache: What was recorded.
        model: Its final LayerNorm and unembedding.
        rows: What to read.
        reading: What is asked.
        what: The function, for errors.

    Raises:
        AnalysisError: The last stream was not cached, the final LayerNorm was edited, or an
            argument means nothing.
    """
    last = final_stream(cache, what)
    found = places(cache, model, (last.shape[0], last.shape[1]), reading.positions, what)
    k = whole_number(reading.k, "k", most=model.config.d_vocab)
    targets = read_targets(model, reading.targets)
    with torch.no_grad():
        walk = _Walk(cache, model, rows, reading, found, what)
        said = walk.run(k, targets)
    return _result(model, rows, reading, found, targets, said, walk.bias())


def read_targets(model: HookedGPTNeo, targets: Any) -> list[int]:
    """Return token ids of words or ids, one or several.

    Raises:
        AnalysisError: One is no single token.
    """
    from neoscope.patching.metrics.words import answer_ids

    if targets is None:
        return []
    several = [targets] if isinstance(targets, str) or whole(targets) is not None else targets
    try:
        return [int(answer_ids(model, item, 1, "targets")[0]) for item in several]
    except PatchingError as error:
        raise AnalysisError(str(error)) from error


def mean_offsets(
    cache: ActivationCache, rows: Sequence[Entry], model: HookedGPTNeo, positions: Positions
) -> Translate:
    """Return what gives each row the mean that the last stream has over the same tokens."""
    last = final_stream(cache, "logit_lens")
    found = places(cache, model, (last.shape[0], last.shape[1]), positions, "logit_lens")

    def mean(states: Tensor) -> Tensor:
        return states[found.index.to(states.device)].double().mean(0)

    goal = mean(last.flatten(0, 1))
    offsets = [(goal - mean(row.states)).to(model.device, model.dtype) for row in rows]
    n = cache.config.n_layers
    return lambda x, row: x if rows[row].depth == n else x + offsets[row]


class _Walk:
    """Goes over the tokens, and at each chunk of them over the rows."""

    def __init__(
        self,
        cache: ActivationCache,
        model: HookedGPTNeo,
        rows: Sequence[Entry],
        reading: Reading,
        found: Places,
        what: str,
    ) -> None:
        self.cache, self.what = cache, what
        self.model, self.rows = model, rows
        self.last = final_stream(cache, what).flatten(0, 1)
        self.reading, self.places = reading, found
        self.readout = Readout(model.unembed.rows.detach())
        size = (len(rows) + 1, model.config.d_vocab)
        self.marginals = torch.zeros(size, dtype=self.readout.dtype, device=model.device)

    def run(self, k: int, targets: Sequence[int]) -> tuple[list[Said], Tensor]:
        """Return what each row says, and the output's first token at each place."""
        device = self.model.device
        following = torch.from_numpy(self.places.following).to(device)
        asked = torch.tensor(targets, dtype=torch.long, device=device)
        parts: list[list[Said]] = [[] for _ in self.rows]
        first = []
        for span in spans(len(following), self.readout.most):
            wanted = Wanted(k, following[span], asked)
            index = self.places.index[span]
            stream = self.last[index.to(self.last.device)].to(device, self.model.dtype)
            check_final_norm(self.cache, self.model, index, stream, self.what)
            output = self.readout.read(
                self.model.ln_final(stream), wanted, self.marginals[-1], refer=True
            )
            first.append(output.top_ids[:, 0])
            scale = _scale(stream, self.model.ln_final.eps)
            for number, (row, part) in enumerate(zip(self.rows, parts, strict=True)):
                if self._is_output(row):
                    part.append(output)
                    continue
                hidden = self._hidden(number, row.take(index, stream), scale)
                part.append(self.readout.read(hidden, wanted, self.marginals[number]))
        return [_joined(part) for part in parts], torch.cat(first)

    def bias(self) -> Float[np.ndarray, " row"]:
        """Return KL in bits between the mean output and each row's mean."""
        n = len(self.places.ids)
        mean = (self.marginals.double() / n).clamp(min=_LEAST).cpu().numpy()
        p, q = mean[-1], mean[:-1]
        bits = np.maximum((p * np.log2(p / q)).sum(1), 0.0)
        return np.where([self._is_output(row) for row in self.rows], 0.0, bits)

    def _is_output(self, row: Entry) -> bool:
        return row.depth == self.model.config.n_layers

    def _hidden(self, number: int, x: Tensor, scale: Tensor) -> Tensor:
        """Apply the final LayerNorm: a stream's own scale to a stream, the frozen one to a part."""
        norm = self.model.ln_final
        if self.reading.site in STREAMS:
            if self.reading.translate is not None:
                x = self.reading.translate(x, number)
            hidden: Tensor = norm(x)
            return hidden
        wide = x.float() if x.dtype != torch.float64 else x
        written: Tensor = (wide - wide.mean(-1, keepdim=True)) / scale * norm.w
        return written.to(x.dtype)


def _scale(stream: Tensor, eps: float) -> Tensor:
    wide = stream.float() if stream.dtype != torch.float64 else stream
    return (wide.var(-1, keepdim=True, unbiased=False) + eps).sqrt()


def _joined(parts: Sequence[Said]) -> Said:
    return Said(**{f.name: torch.cat([getattr(p, f.name) for p in parts]) for f in fields(Said)})


def _result(
    model: HookedGPTNeo,
    rows: Sequence[Entry],
    reading: Reading,
    found: Places,
    targets: Sequence[int],
    said: tuple[list[Said], Tensor],
    bias: Any,
) -> LensResult:
    each, first = said

    def stacked(name: str) -> Any:
        return torch.stack([getattr(one, name) for one in each]).cpu().numpy()

    known = found.following >= 0
    log_sum, top, top_ids = stacked("log_sum"), stacked("top_logits"), stacked("top_ids")
    aimed = np.array(targets, np.int64)
    words = np.unique(np.concatenate([top_ids.ravel(), aimed, found.following[known]]))
    return LensResult(
        lens=reading.lens,
        site=reading.site,
        model=str(model.cfg.model_name),
        labels=tuple(row.label for row in rows),
        layers=np.array([row.layer for row in rows]),
        heads=np.array([row.head for row in rows]),
        text=found.text,
        position=found.position,
        ids=found.ids,
        tokens=found.strings,
        next_ids=found.following,
        top_ids=top_ids,
        top_logits=top,
        top_probability=np.exp(top - log_sum[:, :, None]),
        entropy=stacked("entropy"),
        kl=stacked("kl"),
        cross_entropy=np.where(known, log_sum - stacked("next_logit"), np.nan),
        next_rank=np.where(known, stacked("next_rank"), 0),
        bias=bias,
        agreement=(top_ids[:, :, 0] == first.cpu().numpy()).mean(1),
        target_ids=aimed,
        target_probability=np.exp(stacked("target_logits") - log_sum[:, :, None]),
        target_rank=stacked("target_rank"),
        word_ids=words,
        words=tuple(vocabulary(words.tolist(), model.tokenizer)),
    )
