"""attention_profile: mean attention by distance, over any number of texts, a batch at a time."""

from __future__ import annotations

import itertools
import warnings
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from neoscope.analysis import reading
from neoscope.analysis.given import whole_number
from neoscope.analysis.head.texts import Corpus, beginning_of_text
from neoscope.analysis.profile.result import AttentionProfile, band_starts
from neoscope.analysis.profile.watch import DistanceWatch
from neoscope.errors import AnalysisError
from neoscope.progress import Progress

if TYPE_CHECKING:
    from neoscope.model import HookedGPTNeo

_CHUNK = 1024
"""Texts of an iterator that are read at once."""


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
    size = whole_number(batch_tokens, "batch_tokens")
    bos = beginning_of_text(model) if prepend_bos else None
    watch, complete, n_short, n_cut = DistanceWatch(model), True, 0, 0
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
    model: HookedGPTNeo, watch: DistanceWatch, bos: bool, complete: bool, counts: tuple[int, int]
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
        n_texts=watch.n_texts, n_tokens=watch.n_tokens, prepend_bos=bos,
        edits=reading.edits_in_force(model), n_short=counts[0], n_cut=counts[1], complete=complete,
    )  # fmt: skip
