"""``heads``: scores of a model's heads on repeats of random tokens or any texts, or of a cache."""

from __future__ import annotations

from typing import Any

import torch

from neoscope.analysis import reading
from neoscope.analysis.given import whole_number
from neoscope.analysis.head.assembly import Extra, assembled, beyond_patterns
from neoscope.analysis.head.job import Job
from neoscope.analysis.head.kinds import HEAD_SCORES, threshold, wanted
from neoscope.analysis.head.norms import (
    check_weighting,
    norm_shares,
    pattern_of,
    value_norms,
    values_of,
)
from neoscope.analysis.head.positions import square_size
from neoscope.analysis.head.result import HeadScores
from neoscope.analysis.head.watch import Tally
from neoscope.analysis.head.words import known_words
from neoscope.cache import ActivationCache
from neoscope.errors import AnalysisError
from neoscope.indices import whole
from neoscope.model import HookedGPTNeo

_OF_PATTERN = [kind.name for kind in HEAD_SCORES.values() if kind.of_pattern]


def heads(
    model_or_cache: object,
    *,
    texts: Any = None,
    length: Any = None,
    gap: Any = None,
    n: Any = None,
    scores: Any = None,
    weighted: str = "attention",
    prepend_bos: bool | None = None,
    seed: Any = 0,
    model: reading.GivenModel | None = None,
    batch_tokens: Any = 4096,
    progress: reading.GivenProgress = True,
) -> HeadScores:
    """Return what each head does: previous token, duplicate, induction, copying and more.

    Without texts a model reads repeats of random tokens ``[BOS, u, u]``: tokens are drawn without
    replacement from those it knows, special ones left out, once with a gap inside the window of
    local layers and once with one beyond it, where the context allows. A local head cannot see
    beyond its window: its score is then NaN and ``possible`` False, shown as "cannot", never 0.

    Patterns are measured layer by layer as the model runs, and never kept.

    Args:
        model_or_cache: A model; or a cache with ``pattern`` (and with ``v`` where norms weigh it).
        texts: Texts, or token ids [text, pos]; a text longer than the context is measured in
            pieces. Default: repeats.
        length: Of repeats: tokens that come again; default all, at most 64.
        gap: Of repeats: tokens from a token to its repetition, one number or several.
        n: Of repeats: texts for each gap; default 16.
        scores: One name or several in ``neoscope.analysis.HEAD_SCORES``; default all, of a cache
            those of patterns. Position shares are left out where the context is too short.
        weighted: ``"attention"``; or ``"norm"``: each key's share of the norms that a query's
            attention moves (Kobayashi et al. 2020) takes the place of its attention.
        prepend_bos: Put the beginning-of-text token first; default for repeats (if there is one),
            but not for texts. Recorded in the result.
        seed: Of the random tokens.
        model: The model of a cache that came from a file, where weights are needed.
        batch_tokens: Most tokens run at once.
        progress: A bar after two seconds; or a function of steps (texts, then layers) done and in
            all.

    Raises:
        AnalysisError: Unknown scores, nothing to measure, a gap that does not fit the context, or
            a cache without what is needed.

    Example:
        >>> import neoscope as ns
        >>> found = ns.analysis.heads(ns.load("organism"), scores=["previous_token", "induction"])
        >>> found.top("previous_token", 1)[["layer", "head"]].values.tolist()
        [[0, 0]]
        >>> found.top("induction", 1)[["layer", "head", "possible"]].values.tolist()
        [[2, 0, True]]
    """
    check_weighting(weighted)
    number = whole(seed)
    if number is None or not -(1 << 63) <= number < 1 << 64:
        raise AnalysisError(f"seed={seed!r}; expected a whole number of at most 64 bits")
    told = reading.check_progress(progress, "heads")
    if isinstance(model_or_cache, ActivationCache):
        asked = {"texts": texts, "length": length, "gap": gap, "n": n, "prepend_bos": prepend_bos}
        for name, value in asked.items():
            if value is not None:
                raise AnalysisError(f"{name} is for a model; a cache has texts of its own")
        return _of_cache(model_or_cache, model, scores, weighted, number)
    if not isinstance(model_or_cache, HookedGPTNeo):
        raise AnalysisError(
            f"heads takes a model or a cache; found {type(model_or_cache).__name__}"
        )
    if model is not None:
        raise AnalysisError("model= is for a cache; a model was given already")
    size = whole_number(batch_tokens, "batch_tokens")
    asked = {"length": length, "gap": gap, "n": n}
    default = [kind.name for kind in HEAD_SCORES.values() if kind.family != "position"]
    if square_size(model_or_cache.config, len(known_words(model_or_cache))) > 1:
        default = list(HEAD_SCORES)
    kinds = wanted(scores, model_or_cache.config, default)
    job = Job(model_or_cache, kinds, weighted, number, size, named=scores is not None)
    return job.run(texts, asked, prepend_bos, told)


def _of_cache(
    cache: ActivationCache,
    model: HookedGPTNeo | None,
    scores: Any,
    weighted: str,
    seed: int,
) -> HeadScores:
    config = cache.config
    kinds = wanted(scores, config, _OF_PATTERN)
    for kind in kinds:
        if kind.family == "position":
            raise AnalysisError(
                f"{kind.name!r} is measured on random tokens, which a cache does not hold; give "
                f"the model: heads(model, scores={kind.name!r})"
            )
    of_pattern = tuple(kind for kind in kinds if kind.of_pattern)
    layers = cache.layers("pattern") or [0]
    tally = Tally(of_pattern, layers, config, threshold(config))
    owner = None
    if model is not None or weighted == "norm" or len(of_pattern) < len(kinds):
        owner = reading.owner(cache, model, "heads")
    if of_pattern:
        tokens = reading.whole(cache, "heads")
        if max(tokens.lengths) < 2:
            raise AnalysisError("all texts have a single token: there is nothing to measure")
        tally.begin(tokens.ids.cpu(), tokens.mask.cpu(), "cpu")
        for layer in layers:
            pattern = pattern_of(cache, layer, "heads").cpu()
            if weighted == "attention":
                tally.layer(layer, pattern)
                continue
            assert owner is not None
            v = values_of(cache, layer, owner, "heads weighted by norm").cpu()
            seen = tokens.mask.cpu()
            pattern = torch.where(seen[:, None, :, None] & seen[:, None, None], pattern, 0.0)
            W_O = owner.blocks[layer].attn.W_O.detach().cpu()
            tally.layer(layer, *norm_shares(pattern, value_norms(v, W_O)))
        tally.end()
    extra: Extra = {}
    if len(of_pattern) < len(kinds):
        assert owner is not None
        extra = beyond_patterns(owner, kinds, layers, known_words(owner), seed)
    name = str(model.cfg.model_name) if model is not None else cache.model_name or "a cache"
    return assembled(
        name, tally, kinds, extra, corpus="cache", weighted=weighted, gaps=(), lengths=(),
        prepend_bos=None, seed=seed, edits=(), n_short=0, n_cut=0, in_context=None,
        in_context_stderr=None, in_context_n=0, complete=True,
    )  # fmt: skip
