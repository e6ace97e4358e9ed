"""top_activations: where neurons and directions are active in a corpus; streamed and exact."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float

from neoscope.analysis.given import whole_number
from neoscope.analysis.neuron.corpus import Batch, Corpus, Part
from neoscope.analysis.neuron.extremes import Extremes
from neoscope.analysis.neuron.places import UNIQUE, Place, keys, places
from neoscope.analysis.neuron.result import TopActivations
from neoscope.analysis.neuron.spread import Spread
from neoscope.analysis.neuron.units import Watched, logit_effects, watched, writes
from neoscope.analysis.numbers import Array
from neoscope.analysis.reading import GivenModel, GivenProgress, as_model, check_progress, undivided
from neoscope.analysis.result import counted
from neoscope.analysis.words import vocabulary
from neoscope.errors import AnalysisError, nearest
from neoscope.progress import Progress

if TYPE_CHECKING:
    from neoscope.model import HookedGPTNeo


@dataclass(frozen=True)
class _State:
    """All that is known so far; replaced whole, so that Ctrl-C never finds half of it."""

    top: Extremes
    bottom: Extremes
    spread: Spread
    n_texts: int = 0

    def after(self, batch: Batch, unique: str | None, context: int) -> _State:
        order = batch.part.start + batch.tokens
        key_of = None
        if unique is not None:
            key_of = partial(_keys, batch, unique, context)
        return _State(
            self.top.updated(batch.values, order, key_of),
            self.bottom.updated(-batch.values, order, key_of),
            self.spread.updated(batch.values),
            self.n_texts + batch.ended,
        )


def _keys(batch: Batch, unique: str, context: int, rows: Array) -> Array:
    return keys(batch.part, batch.tokens[rows], unique, context)


def top_activations(
    model: GivenModel,
    texts: Any,
    *,
    site: str | None = None,
    layer: Any = None,
    unit: Any = None,
    direction: Any = None,
    k: int = 20,
    context: int = 10,
    unique: str | None = None,
    bins: Any = None,
    n_logits: int = 10,
    text_column: str = "text",
    prepend_bos: bool = False,
    truncation: str = "stride",
    on_error: str = "fail",
    batch_tokens: int | None = None,
    progress: GivenProgress = True,
) -> TopActivations:
    """Return where units are most active in a corpus, how they are spread, and what they write.

    The corpus is read once, as it comes; memory is ``k`` places for each unit. The top k are
    exact, and of equal values the place that comes first in the corpus stands first. (Activations
    of a trained model differ in their last bits with how texts are batched; so does the order of
    places which differ by less.) The model is run as it is, with edits and hooks. Ctrl-C returns
    what was seen so far, with ``complete=False`` and a warning.

    Args:
        model: The model.
        texts: Whatever ``neoscope.export`` reads: an iterable of texts, a frame, or a path to a
            .txt, .jsonl, .csv or .parquet file. Or token ids, [batch, pos] or rows of any lengths,
            or :class:`Tokens`; these need no tokenizer, without which words are ``"#17"``.
        site: Any site with a vector a token; default ``post``, the neurons, or ``resid_post``
            where a direction is given.
        layer: Which; may be left out for model-wide sites.
        unit: One number or several (at ``z`` heads times their width counted through); None for
            all of the site's, in one pass.
        direction: Instead of units a vector [width], or several [directions, width]; a token's
            activation is the inner product with it as it is.
        k: How many places at each end.
        context: Tokens shown on each side.
        unique: ``"context"``: places with the same token and the same ``context`` tokens before it
            count once; ``"token"``: each token of the vocabulary counts once; None: all count.
        bins: Ascending edges of the histogram; None for up to 64 bins whose width, a power of two,
            follows from the smallest and the largest value.
        n_logits: How many tokens are named that a unit promotes and suppresses.
        text_column: Of a frame or file.
        prepend_bos: For texts: put the beginning-of-text token before each; its place counts.
        truncation: A text longer than the context is read in windows that overlap by half
            (``"stride"``), each token once; or cut (``"truncate"``), or refused (``"error"``).
        on_error: A text that cannot be used: ``"fail"`` raises and names it, ``"skip"`` counts it.
        batch_tokens: Most tokens run at once; None for what suits the device.
        progress: True for a bar after two seconds, False for none, or a function of the texts
            done and in all (0 where the corpus does not say how many).

    Raises:
        AnalysisError: The corpus is empty or cannot be read, a text cannot be used, a unit does
            not exist, a direction has another width, or an argument means nothing.
        SiteError: No such site or layer, or it is switched off.
        TokenizationError: Texts without a tokenizer, or ids outside the vocabulary.
        KeyboardInterrupt: Nothing was seen yet.

    Example:
        >>> import neoscope as ns
        >>> found = top_activations(ns.load("facts"), ["<|endoftext|> hugo plays"], layer=0, k=1)
        >>> found.places(found.top_value[:, 0].argmax())["context"][0]
        '<|endoftext|> «hugo» plays'
    """
    model = as_model(model, "top_activations")
    progress = check_progress(progress, "top_activations")
    k, context, n_logits, edges = _checked(model, k, context, n_logits, unique, bins)
    what = watched(model, site, layer, unit, direction)
    corpus = Corpus.open(
        model,
        texts,
        text_column=text_column,
        prepend_bos=prepend_bos,
        truncation=truncation,
        on_error=on_error,
        batch_tokens=batch_tokens,
    )
    n, keyed = len(what.labels), unique is not None
    empty = Extremes.empty(n, k, keyed=keyed)
    reading = _Reading(corpus, what, unique, context, _State(empty, empty, Spread.empty(n, edges)))
    complete = True
    total = corpus.count() if progress is not False else None
    with undivided("top_activations"), Progress(progress, total or 0, "text") as telling:
        try:
            reading.run(telling)
        except KeyboardInterrupt:
            if not reading.state.spread.n:
                raise
            complete = False
            n_done = counted(reading.state.n_texts, "text is", "texts are")
            warnings.warn(f"interrupted: {n_done} done", stacklevel=2)
    if not reading.state.spread.n:
        raise AnalysisError(f"no text could be used: {reading.n_skipped:,} were skipped")
    reading.remember()
    return _result(reading, n_logits, complete)


def _checked(
    model: HookedGPTNeo, k: Any, context: Any, n_logits: Any, unique: Any, bins: Any
) -> tuple[int, int, int, Float[np.ndarray, " edge"] | None]:
    sizes = whole_number(k, "k"), whole_number(context, "context", 0)
    words = whole_number(n_logits, "n_logits", 0)
    if unique is not None and unique not in UNIQUE:
        hint = nearest(str(unique), UNIQUE)
        raise AnalysisError(f"unique={unique!r}; expected 'context', 'token' or None{hint}")
    try:
        edges = None if bins is None else np.asarray(bins, np.float64)
    except (TypeError, ValueError) as error:
        raise AnalysisError(f"bins={bins!r:.80}; expected edges, or None for its own") from error
    if edges is not None and (
        edges.ndim != 1
        or not len(edges)
        or not np.isfinite(edges).all()
        or (np.diff(edges) <= 0).any()
    ):
        raise AnalysisError(f"bins={bins!r:.80}; expected finite edges, ascending")
    return *sizes, min(words, model.config.d_vocab), edges


class _Reading:
    """A corpus being read, and what is known of it."""

    def __init__(
        self, corpus: Corpus, what: Watched, unique: str | None, context: int, state: _State
    ) -> None:
        self.corpus, self.what = corpus, what
        self.unique, self.context = unique, context
        self.state = state
        self.known: dict[int, Place] = {}
        self.n_skipped = 0
        self._part: Part | None = None

    def run(self, telling: Progress) -> None:
        for part in self.corpus.parts():
            self._part = part
            n_bad = len(part.encoded.problems)
            self.n_skipped += n_bad
            if n_bad:
                telling.update(n_bad)
            for batch in self.corpus.batches(part, self.what):
                self.state = self.state.after(batch, self.unique, self.context)
                telling.update(batch.ended)
            self.remember()

    def remember(self) -> None:
        """Keep the words around the places that are held, which the corpus gives only once."""
        held = np.unique(np.concatenate([self.state.top.order, self.state.bottom.order], axis=None))
        known = {i: self.known[i] for i in held.tolist() if i in self.known}
        if self._part is not None:
            start = self._part.start
            new = [i - start for i in held.tolist() if i >= start and i not in known]
            tokenizer = self.corpus.model.tokenizer
            known |= places(self._part, new, self.context, tokenizer)
        self.known = known


def _result(reading: _Reading, n_logits: int, complete: bool) -> TopActivations:
    state, model = reading.state, reading.corpus.model
    order = sorted(reading.known)
    found = [reading.known[i] for i in order]
    counts, edges = state.spread.histogram()
    ends: dict[str, Any] = {}
    for name, extremes, sign in (("top", state.top, 1), ("bottom", state.bottom, -1)):
        there = extremes.order >= 0
        # Adding 0 makes a negative zero one.
        ends[f"{name}_value"] = np.where(there, sign * extremes.values + 0.0, np.nan)
        ends[f"{name}_place"] = np.where(there, np.searchsorted(order, extremes.order), -1)
    return TopActivations(
        model=str(model.cfg.model_name),
        site=reading.what.ref.name,
        units=reading.what.labels,
        **ends,
        text=tuple(place.text for place in found),
        position=np.array([place.position for place in found], np.int64),
        token_id=np.array([place.token_id for place in found], np.int64),
        token=tuple(place.token for place in found),
        before=tuple(place.before for place in found),
        piece=tuple(place.piece for place in found),
        after=tuple(place.after for place in found),
        mean=state.spread.mean,
        sd=state.spread.sd,
        share_positive=state.spread.positive / state.spread.n,
        low=state.spread.low + 0.0,
        high=state.spread.high + 0.0,
        counts=counts,
        edges=np.ascontiguousarray(edges),
        **_effects(model, reading.what, n_logits),
        n_tokens=state.spread.n,
        n_texts=state.n_texts,
        n_skipped=reading.n_skipped,
        context=reading.context,
        unique=reading.unique,
        complete=complete,
    )


def _effects(model: HookedGPTNeo, what: Watched, n: int) -> dict[str, Any]:
    written = writes(model, what)
    units = len(what.labels)
    ids = np.zeros((2, units, 0), np.int64)
    effects = np.zeros((2, units, 0))
    if written is not None and n:
        found = logit_effects(model, written, n)
        ids, effects = found[0].cpu().numpy(), found[1].double().cpu().numpy()
    out: dict[str, Any] = {}
    for name, one, effect in zip(("promoted", "suppressed"), ids, effects, strict=True):
        words = dict(zip(u := np.unique(one).tolist(), vocabulary(u, model.tokenizer), strict=True))
        out[f"{name}_id"], out[f"{name}_effect"] = one, effect
        out[name] = tuple(tuple(words[i] for i in row) for row in one.tolist())
    return out
