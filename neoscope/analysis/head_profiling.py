"""attention_profile: mean attention by distance, over any number of texts, a batch at a time."""

from __future__ import annotations

import itertools
import warnings
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from neoscope.analysis import reading
from neoscope.analysis.head_job import _edits
from neoscope.analysis.head_profile import AttentionProfile, band_starts
from neoscope.analysis.head_texts import Batch, Corpus
from neoscope.corpus import cached_sites
from neoscope.errors import AnalysisError
from neoscope.indices import whole
from neoscope.progress import Progress
from neoscope.sites import SiteRef
from neoscope.visibility import Visibility

if TYPE_CHECKING:
    from neoscope.model import HookedGPTNeo

_CHUNK = 1024
"""Texts of an iterator that are read at once."""


class Ratios:
    """Sums of attention and counts of queries over texts, unit by unit, padded as they grow."""

    def __init__(self) -> None:
        """Begin with nothing."""
        self._sums = np.zeros((3, 0, 0))
        """Over texts: attention, its square, attention times count; [.., unit, column]."""
        self.count = np.zeros(0)
        self._squares = np.zeros(0)
        self._n = np.zeros(0)

    def add(
        self, total: Float[np.ndarray, "text unit column"], count: Float[np.ndarray, "text column"]
    ) -> None:
        """Take in some texts.

        Args:
            total: Attention of a text's queries, by unit (a head) and column.
            count: Its queries that count in a column.
        """
        units, columns = total.shape[1], max(total.shape[2], self._sums.shape[2])
        self._sums = _grown(self._sums, (3, units, columns))
        for name in ("count", "_squares", "_n"):
            setattr(self, name, _grown(getattr(self, name), (columns,)))
        here = slice(0, total.shape[2])
        self._sums[0, :, here] += total.sum(0)
        self._sums[1, :, here] += (total**2).sum(0)
        self._sums[2, :, here] += np.einsum("tuc,tc->uc", total, count)
        self.count[here] += count.sum(0)
        self._squares[here] += (count**2).sum(0)
        self._n[here] += (count > 0).sum(0)

    def mean(self) -> tuple[Float[np.ndarray, "unit column"], Float[np.ndarray, "unit column"]]:
        """Return the means and their standard errors; NaN where nothing, or one text, counted."""
        total, square, cross = self._sums
        with np.errstate(divide="ignore", invalid="ignore"):
            mean = total / self.count
            rest = square - 2 * mean * cross + mean**2 * self._squares
            # A sum of squares that is nothing but rounding is none.
            rest = np.where(np.abs(rest) <= 1e-13 * square, 0.0, rest).clip(min=0)
            correction = np.where(self._n > 1, self._n / (self._n - 1), np.nan)
            return mean, np.sqrt(correction * rest) / self.count


def _grown(x: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    if x.shape == shape:
        return x
    found = np.zeros(shape)
    found[tuple(slice(0, n) for n in x.shape)] = x
    return found


def _exact(x: Tensor) -> torch.dtype:
    """The widest number format that a device adds in."""
    return torch.float32 if x.device.type == "mps" else torch.float64


def diagonals(
    pattern: Float[Tensor, "text query key"],
) -> Float[Tensor, "text distance"]:
    """Return the sum over queries of what goes to the key exactly so far back.

    Args:
        pattern: Of one head; rows of padding are 0.
    """
    texts, n, _ = pattern.shape
    wide = torch.cat([torch.zeros_like(pattern), pattern], dim=2).contiguous()
    # Row i begins one column further right than the row before, so that diagonals are columns.
    skewed = wide.as_strided((texts, n, n), (2 * n * n, 2 * n + 1, 1), 1)
    return skewed.sum(1, dtype=_exact(pattern)).flip(1)


class Watch:
    """Measures each layer's pattern as it passes, and lets it go."""

    keep_graph = False

    def __init__(self, model: HookedGPTNeo) -> None:
        """Begin with nothing.

        Args:
            model: Whose patterns.
        """
        self.wanted: dict[str, SiteRef] = {
            ref.name: ref for ref in cached_sites(model, ["pattern"], None)
        }
        self._config = model.config
        self.distances, self.bands, self.first = Ratios(), Ratios(), {}  # type: ignore[var-annotated]
        self.n_texts = self.n_tokens = self.longest = 0
        self._found: dict[int, tuple[Tensor, Tensor]] = {}
        self._lengths = torch.zeros(0, dtype=torch.long)

    def begin(self, batch: Batch) -> None:
        """Start a batch; what an interrupted one left is dropped."""
        self._lengths, self._found = batch.mask.sum(1), {}

    def see(self, name: str, x: Tensor, visibility: Visibility) -> Tensor:
        """Measure a pattern."""
        ref = self.wanted.get(name)
        if ref is None or ref.layer is None:
            return x
        position = torch.arange(x.shape[-1], device=x.device)
        lengths = self._lengths.to(x.device)
        counts = (position[None] > 0) & (position[None] < lengths[:, None])
        heads, first = [], []
        for one in x.detach().float().unbind(1):  # head by head: a copy is as large as a pattern
            asked = torch.where(counts[:, :, None], one, 0.0)
            heads.append(diagonals(asked))
            window = self._config.window(ref.layer) or x.shape[-1]
            first.append(asked[:, :window, 0].sum(1, dtype=_exact(asked)))
        self._found[ref.layer] = (
            torch.stack(heads, 1).cpu().double(),
            torch.stack(first, 1).cpu().double(),
        )
        return x

    def end(self) -> None:
        """Add the batch to the sums."""
        lengths = self._lengths.numpy()[:, None]
        longest = int(lengths.max())
        layers = sorted(self._found)
        by = torch.cat([self._found[layer][0] for layer in layers], 1).numpy()[:, :, :longest]
        far = np.arange(longest)
        # A query at distance d from its key has position d or more, and at least 1.
        self.distances.add(by, np.clip(lengths - np.maximum(far, 1), 0, None).astype(float))
        queries = np.clip(lengths - 1, 0, None).astype(float)
        # Of every text, however short: it has queries that might have looked so far back.
        starts = band_starts(self._config.n_ctx)
        known = [start for start in starts if start < longest]
        banded = np.zeros((*by.shape[:2], len(starts)))
        banded[:, :, : len(known)] = np.add.reduceat(by, known, axis=2)
        self.bands.add(banded, queries.repeat(len(starts), 1))
        for layer in layers:
            window = self._config.window(layer)
            seeing = queries if window is None else np.minimum(queries, window - 1)
            ratios = self.first.setdefault(layer, Ratios())
            ratios.add(self._found[layer][1].numpy()[:, :, None], seeing)
        self.n_texts += len(lengths)
        self.n_tokens += int(lengths.sum())
        self.longest = max(self.longest, longest)


def attention_profile(
    model: reading.GivenModel,
    texts: Any,
    *,
    prepend_bos: bool = False,
    batch_tokens: Any = 4096,
    progress: reading.GivenProgress = True,
) -> AttentionProfile:
    """Return where each head looks on average over texts: how far back, at the first token, itself.

    Patterns are measured layer by layer as the model runs and never kept; texts of an iterator are
    read a thousand at a time, so that there may be any number. A text longer than the context is
    measured in pieces, each of which counts as one. What the window of a local layer hides is NaN,
    "cannot", never 0. The first token often takes much of the attention that has nowhere to go; it
    is counted at its distance too.

    Args:
        model: Whose heads.
        texts: Texts, an iterable of them, or token ids [text, pos].
        prepend_bos: Put the beginning-of-text token first.
        batch_tokens: Most tokens run at once.
        progress: A bar after two seconds; or a function of texts done and in all (0 where their
            number is not known).

    Raises:
        AnalysisError: There are no texts, or none of more than one token.

    Example:
        >>> import neoscope as ns
        >>> texts = [one.text for one in ns.organism.sentences("filler", 20)]
        >>> found = ns.analysis.attention_profile(ns.load("organism"), texts)
        >>> found.bands()[:4]
        ('itself', '1', '2-3', '4-7')
        >>> int(found.by_distance[0, 0].argmax())  # head 0.0 looks at the word before
        1
    """
    model = reading.as_model(model, "attention_profile")
    told = reading.check_progress(progress, "attention_profile")
    size = whole(batch_tokens)
    if size is None or size < 1:
        raise AnalysisError(f"batch_tokens={batch_tokens!r}; expected a whole number of at least 1")
    bos = _bos(model) if prepend_bos else None
    watch, complete, n_short, n_cut = Watch(model), True, 0, 0
    total, chunks = _chunks(model, texts, bos, size)
    try:
        with torch.no_grad(), Progress(told, total, "text") as bar:
            for corpus in chunks:
                for n, batches in corpus:
                    for batch in batches:
                        watch.begin(batch)
                        model(batch.ids, batch.mask, return_type=None, _record=watch)
                        watch.end()
                    bar.update(n)
                n_short, n_cut = n_short + corpus.n_short, n_cut + corpus.n_cut
    except KeyboardInterrupt:
        if not watch.n_texts:
            raise
        complete = False
        warnings.warn(f"interrupted: {watch.n_texts} texts are done", stacklevel=2)
    if not watch.n_texts:
        raise AnalysisError(
            "attention_profile: no text has more than one token: no query has a choice of keys, "
            "and there is nothing to measure"
        )
    return _result(model, watch, bos is not None, complete, (n_short, n_cut))


def _bos(model: HookedGPTNeo) -> int:
    config, tokenizer = model.config, model.tokenizer
    found = config.bos_token_id if tokenizer is None else tokenizer.bos_token_id
    if not isinstance(found, int) or not 0 <= found < config.d_vocab:
        raise AnalysisError(
            f"prepend_bos=True, but the model has no beginning-of-text token in its vocabulary of "
            f"{config.d_vocab}: bos_token_id is {found}"
        )
    return found


def _chunks(
    model: HookedGPTNeo, texts: Any, bos: int | None, size: int
) -> tuple[int, Iterator[Corpus]]:
    """How many texts there are (0 where that is not known), and a corpus for each chunk."""
    if isinstance(texts, Iterable) and not hasattr(texts, "__len__") and not hasattr(texts, "ids"):
        lazy = iter(texts)
        first = list(itertools.islice(lazy, _CHUNK))
        rest = iter(lambda: list(itertools.islice(lazy, _CHUNK)), [])
        parts = itertools.chain([first], rest)
        return 0, (Corpus(model, part, bos, size) for part in parts)
    corpus = Corpus(model, texts, bos, size)
    return len(corpus), iter([corpus])


def _result(
    model: HookedGPTNeo, watch: Watch, bos: bool, complete: bool, counts: tuple[int, int]
) -> AttentionProfile:
    config = model.config
    layers, heads = range(config.n_layers), config.n_heads
    windows = tuple(config.window(layer) for layer in layers)
    starts = np.array(band_starts(watch.longest))
    shape = (config.n_layers, heads, -1)
    by, by_stderr = (x.reshape(shape) for x in watch.distances.mean())
    share, share_stderr = (x.reshape(shape)[..., : len(starts)] for x in watch.bands.mean())
    for layer, window in enumerate(windows):
        if window is not None:
            for x, at in ((by, window), (by_stderr, window)):
                x[layer, :, at:] = np.nan
            share[layer, :, starts >= window] = np.nan
            share_stderr[layer, :, starts >= window] = np.nan
    first = np.array([[x[:, 0] for x in watch.first[layer].mean()] for layer in layers])
    return AttentionProfile(
        model=str(model.cfg.model_name), layers=tuple(layers), windows=windows, starts=starts,
        share=share, share_stderr=share_stderr, by_distance=by, by_distance_stderr=by_stderr,
        first=first[:, 0], first_stderr=first[:, 1], n=watch.distances.count.astype(int),
        n_texts=watch.n_texts, n_tokens=watch.n_tokens, prepend_bos=bos, edits=_edits(model),
        n_short=counts[0], n_cut=counts[1], complete=complete,
    )  # fmt: skip
