"""What analyses are given: a model, a cache and its sites with a batch axis; checked."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Bool
from torch import Tensor

from neoscope.analysis.same_weights import other_weights
from neoscope.cache import ActivationCache
from neoscope.errors import AnalysisError
from neoscope.site_kinds import BY_SHORT
from neoscope.tokens import Tokens

if TYPE_CHECKING:
    from neoscope.model import HookedGPTNeo

    GivenModel = HookedGPTNeo
    GivenCache = ActivationCache
    GivenProgress = bool | Callable[[int, int], None]
else:
    # Checked where they are read, with an error that says what was found instead.
    GivenModel = GivenCache = GivenProgress = Any


def as_model(value: object, what: str) -> HookedGPTNeo:
    """Return what was given as a model, if it is one.

    Args:
        value: What the caller gave.
        what: The function, for the error.

    Raises:
        AnalysisError: It is something else, such as a name or a cache.
    """
    from neoscope.model import HookedGPTNeo

    if isinstance(value, HookedGPTNeo):
        return value
    how = f"neoscope.load({value!r})" if isinstance(value, str) else "neoscope.load(...)"
    raise AnalysisError(f"{what} takes a model, as {how} returns; found {type(value).__name__}")


def as_cache(value: object, what: str) -> ActivationCache:
    """Return what was given as a cache, if it is one.

    Args:
        value: What the caller gave.
        what: The function, for the error.

    Raises:
        AnalysisError: It is something else, such as the model itself.
    """
    if isinstance(value, ActivationCache):
        return value
    raise AnalysisError(
        f"{what} takes a cache, as model.run_with_cache(...) returns beside the logits; found "
        f"{type(value).__name__}"
    )


def check_progress(progress: object, what: str) -> bool | Callable[[int, int], None]:
    """Return whom to tell how far the work is, if that means anything.

    Args:
        progress: True for a bar, False for nothing, or a function of what is done and in all.
        what: The function, for the error.

    Raises:
        AnalysisError: It is something else.
    """
    if isinstance(progress, bool) or callable(progress):
        return progress
    raise AnalysisError(
        f"{what}: progress={progress!r}; expected True, False, or a function of what is done and "
        "how much there is in all"
    )


def edits_in_force(model: HookedGPTNeo) -> tuple[str, ...]:
    """Return what changes a model while it runs: its edits, or ``"hooks"``; empty for nothing."""
    found = tuple(repr(edit) for edit in model._edits)
    return ("hooks",) if model.is_edited and not found else found


@contextlib.contextmanager
def undivided(what: str) -> Iterator[None]:
    """Let an interruption of what has no partial result say so.

    Args:
        what: The function.

    Raises:
        KeyboardInterrupt: As it came, with words.
    """
    try:
        yield
    except KeyboardInterrupt as stop:
        said = f"{what} was interrupted; it has no partial result, and nothing was changed or lost"
        raise KeyboardInterrupt(str(stop) or said) from stop


def owner(cache: GivenCache, model: GivenModel | None, what: str) -> HookedGPTNeo:
    """Return the model whose weights read a cache.

    A model that is given must have the weights that made the cache. That is known while the model
    which made it lives, and of a file, which holds its fingerprint; of a cache whose model is gone
    only the shape is known. Weights that differ by the rounding of their number format are the
    same.

    Args:
        cache: What was recorded.
        model: As the caller gave it; None for the one that made the cache.
        what: The function, for the error.

    Raises:
        AnalysisError: It is no cache or no model; the model is gone or was never known, or it is
            another one than made the cache.
    """
    cache = as_cache(cache, what)
    found = cache.model if model is None else as_model(model, what)
    if found is None:
        raise AnalysisError(
            f"{what} needs the model's weights, and this cache has none: it was loaded from a "
            f"file, or its model is gone; give them: {what}(cache, model=model)"
        )
    if found.config != cache.config:
        raise AnalysisError(
            f"{what}: the cache was made by another model ({cache.config.n_layers} layers, d_model "
            f"{cache.config.d_model}) than the one given ({found.config.n_layers} layers, d_model "
            f"{found.config.d_model})"
        )
    if said := other_weights(cache, found):
        raise AnalysisError(
            f"{what}: the cache was made by another model than the one given, "
            f"{found.cfg.model_name!r}: {said}"
        )
    return found


def at(cache: ActivationCache, site: str, layer: int | None = None) -> Tensor:
    """Return a cached tensor with its batch axis, also where that was removed.

    Raises:
        SiteError: No such site or layer.
        CacheError: It was not cached.
    """
    x = cache[site] if layer is None else cache[site, layer]
    return x if cache.has_batch_dim else x[None]


def need(cache: GivenCache, sites: Sequence[str], what: str) -> None:
    """Refuse a cache that lacks a site, in any layer.

    Args:
        cache: What was recorded.
        sites: Short names of all that will be read.
        what: The function, for the error.

    Raises:
        AnalysisError: Says which sites to cache; or it is no cache.
    """
    cache = as_cache(cache, what)
    n = cache.config.n_layers
    for site in sites:
        layered = BY_SHORT[site].layered
        keys: list[Any] = [(site, i) for i in range(n)] if layered else [(site, None)]
        for key in keys:
            if key not in cache:
                where = "" if key[1] is None else f" of layer {key[1]}"
                raise AnalysisError(
                    f"{what} needs {site!r}{where}, which was not cached; cache what it reads: "
                    f"model.run_with_cache(text, sites={list(sites)})"
                )


def whole(cache: GivenCache, what: str) -> Tokens:
    """Return the tokens of a cache that kept every position.

    Args:
        cache: What was recorded.
        what: The function, for the error.

    Raises:
        AnalysisError: It kept some positions only, or does not know its tokens; or it is no cache.
    """
    cache = as_cache(cache, what)
    if cache.positions is not None:
        raise AnalysisError(
            f"{what} needs every position; this cache kept positions={cache.positions!r}"
        )
    if cache.tokens is None:
        raise AnalysisError(f"{what} needs the tokens, which this cache does not know")
    return cache.tokens


def real(cache: ActivationCache, n: int) -> Bool[Tensor, "batch pos"]:
    """Return which cached columns are tokens; all of them where the cache kept some positions."""
    tokens = cache.tokens
    if tokens is None or cache.positions is not None or tokens.mask.shape[1] != n:
        batch = 1 if not cache.has_batch_dim else next(iter(cache.values())).shape[0]
        return torch.ones(batch, n, dtype=torch.bool)
    return tokens.mask.cpu()
