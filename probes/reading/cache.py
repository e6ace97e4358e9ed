"""Activations of a cache, of tokens or of texts, as data for probes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from neoscope.errors import NeoscopeError, ProbeError, nearest
from probes.data.columns import Column
from probes.data.labels import as_list, is_missing, read_groups
from probes.data.places import Place, Source
from probes.reading.extraction import same_text_groups
from probes.reading.names import split_heads
from probes.reading.texts import last_words

if TYPE_CHECKING:
    from probes.data.dataset import ProbeData

Array = NDArray[Any]
POOLS = ("mean", "last", "first")
_SKIPPED = -100
"""What PyTorch's losses skip."""


def read_cache(
    cache: Any,
    labels: Any,
    *,
    site: str | Sequence[str] = "resid_post",
    layers: Any = "all",
    pool: str = "last",
    heads: bool = False,
    groups: Any = None,
    types: Any = None,
    label: str | None = None,
    kind: str | None = None,
) -> ProbeData:
    """Return data of a cache; see :meth:`ProbeData.from_cache`.

    Args:
        cache: The cache.
        labels: One a token, or one a text.
        site: Which sites.
        layers: Which layers.
        pool: Of texts, how real tokens are pooled.
        heads: Whether sites of heads are cut into heads.
        groups: One a text.
        types: As labels are.
        label: What labels say.
        kind: What labels are.

    Raises:
        ProbeError: It is no cache, labels are not as its tokens, or it has no such site or layer.
    """
    from probes.data.dataset import ProbeData

    if not (hasattr(cache, "has_batch_dim") and hasattr(cache, "axes")):
        raise ProbeError(
            f"expected a cache of model.run_with_cache, found {type(cache).__name__}; ProbeData "
            "itself takes a mapping of places to arrays"
        )
    opened = _places(cache, [site] if isinstance(site, str) else list(site), layers)
    n_texts, n_pos = next(iter(opened.values()))().shape[:2]
    real = _real(cache, n_texts, n_pos)
    given = as_list(labels, "labels")
    if len(given) != n_texts:
        raise ProbeError(f"{len(given)} labels for a cache of {n_texts} texts")
    by_token = any(isinstance(one, list | tuple | np.ndarray) for one in given)
    rows = _token_rows if by_token else _text_rows
    start, stop, y, text, words, own_types = rows(cache, given, types, real, pool)
    columns = {place: Column(_flat(array), None, start, stop) for place, array in opened.items()}
    if heads:
        columns = split_heads(columns, cache.config.n_heads)
    codes, names = _groups(cache, groups, n_texts)
    embeddings = {}
    if "embed" in cache:
        (array,) = _places(cache, ["embed"], "all").values()
        embeddings["embeddings"] = Column(_flat(array), None, start, stop)
    return ProbeData(
        columns,
        y,
        names[codes[text]],
        kind=kind,
        types=own_types,
        type_name="type" if types is not None else "token" if by_token else "last word",
        words=words,
        label=label,
        source=_source(cache, "token" if by_token else pool, (n_texts, n_pos)),
        baselines=embeddings,
    )


Rows = tuple[Array, Array | None, list[Any], Array, list[str] | None, list[Any] | None]
"""First and last (None: the same) stored rows; labels; texts; words; types."""


def _token_rows(cache: Any, labels: list[Any], types: Any, real: Array, pool: str) -> Rows:
    flat = _of_real(labels, real, "labels")
    kept = [k for k, one in enumerate(flat) if not _skipped(one)]
    if not kept:
        raise ProbeError("no token has a label: the data is empty")
    at = np.flatnonzero(real)[kept]
    strings = None
    if cache.tokens is not None and cache.tokens.strings and cache.tokens.mask.shape == real.shape:
        strings = [string for row in cache.tokens.strings for string in row]
    words = None if strings is None else [strings[k] for k in kept]
    if types is None:
        named = None if words is None else [word.strip() for word in words]
    else:
        every = _of_real(as_list(types, "types"), real, "types")
        named = [every[k] for k in kept]
    return at, None, [flat[k] for k in kept], at // real.shape[1], words, named


def _text_rows(cache: Any, labels: list[Any], types: Any, real: Array, pool: str) -> Rows:
    if pool not in POOLS:
        raise ProbeError(
            f"pool={pool!r} is unknown{nearest(str(pool), POOLS)}; known: {', '.join(POOLS)}"
        )
    n_texts, n_pos = real.shape
    base = np.arange(n_texts) * n_pos
    first = base + real.argmax(1)
    last = base + n_pos - 1 - real[:, ::-1].argmax(1)
    tokens = cache.tokens
    texts = list(tokens.texts) if tokens is not None and tokens.texts else None
    if types is None and texts is not None:
        types = last_words(texts)
    start = last if pool == "last" else first
    stop = last + 1 if pool == "mean" else None
    return start, stop, labels, np.arange(n_texts), texts, types


def _of_real(given: list[Any], real: Array, what: str) -> list[Any]:
    """Return one value a real token, of rows that have one a column or one a real token."""
    flat: list[Any] = []
    for row, (values, mask) in enumerate(zip(given, real, strict=True)):
        items = as_list(values, f"{what} of text {row}")
        if len(items) == len(mask):
            items = [item for item, is_real in zip(items, mask, strict=True) if is_real]
        if len(items) != mask.sum():
            raise ProbeError(
                f"text {row} has {int(mask.sum())} tokens in {len(mask)} columns, but "
                f"{len(items)} {what}"
            )
        flat += items
    return flat


def _skipped(label: Any) -> bool:
    return is_missing(label) or (isinstance(label, int) and label == _SKIPPED)


def _real(cache: Any, n_texts: int, n_pos: int) -> Array:
    """Return where real tokens are, [batch, pos]; of a cache of some positions everywhere."""
    tokens = cache.tokens
    if tokens is None or tuple(tokens.mask.shape) != (n_texts, n_pos):
        return np.ones((n_texts, n_pos), bool)
    return np.asarray(tokens.mask.cpu().numpy())


def _groups(cache: Any, groups: Any, n_texts: int) -> tuple[Array, Array]:
    if groups is None and cache.tokens is not None and cache.tokens.texts:
        groups = same_text_groups(cache.tokens.texts)
    return read_groups(groups, n_texts)


def _source(cache: Any, pool: str, shape: tuple[int, int]) -> Source:
    more: dict[str, Any] = {}
    tokens = cache.tokens
    if cache.positions is not None:
        more["positions"] = _listed(cache.positions)
    elif tokens is not None and tuple(tokens.mask.shape) != shape:
        more["positions"] = "some columns"
    if tokens is not None and cache.config.bos_token_id is not None:
        first = tokens.mask.to(int).argmax(1)
        starts = tokens.ids[range(len(first)), first] == cache.config.bos_token_id
        more["prepend_bos"] = bool(starts.all())
    if cache.model is not None:
        # A cache does not say what was in force when it was made: most are read where they are.
        if cache.model.is_edited:
            more["edited"] = True
        return Source(cache.model.fingerprint(), cache.model.cfg.model_name, pool, more)
    said = cache.provenance
    return Source(said.get("fingerprint"), said.get("model"), pool, more)


def _listed(positions: Any) -> Any:
    """Return positions as plain JSON values, as a FeatureSpec records them."""
    if isinstance(positions, slice):
        return {"slice": [positions.start, positions.stop, positions.step]}
    return np.atleast_1d(np.asarray(positions)).tolist()


def _places(cache: Any, sites: list[str], layers: Any) -> dict[Place, Callable[[], Array]]:
    """Return what gives [batch, pos, width] of each place."""
    if not cache.has_batch_dim:
        raise ProbeError("the cache has no batch axis; keep it")
    found: dict[Place, Callable[[], Array]] = {}
    for key in (key for site in sites for key in _keys(cache, site, layers)):
        try:
            ref, axes = cache.ref(key), cache.axes(key)
            cache[key]
        except NeoscopeError as error:
            raise ProbeError(str(error)) from None
        if axes[:2] != ("batch", "pos"):
            raise ProbeError(f"{key}: its axes are {axes}; a probe reads one vector a token")
        found[Place(ref.kind.short, ref.layer)] = partial(_array, cache, key)
    if not found:
        raise ProbeError("site is empty: name at least one")
    return found


def _keys(cache: Any, site: str, layers: Any) -> list[Any]:
    try:
        layered = cache.ref((site, 0)).layer is not None
    except NeoscopeError:
        return [site]
    if not layered:
        return [site]
    if not (isinstance(layers, str) and layers == "all"):
        numbers = [layers] if isinstance(layers, int | np.integer) else list(layers)
        return [(site, number) for number in numbers]
    numbers = cache.layers(site)
    if not numbers:
        held = sorted({cache.ref(name).kind.short for name in cache})
        raise ProbeError(
            f"site {site!r} is not in the cache{nearest(site, held)}; it has {', '.join(held)}"
        )
    return [(site, number) for number in numbers]


def _array(cache: Any, key: Any) -> Array:
    values: Array = cache[key].detach().float().cpu().flatten(2).numpy()
    return values


def _flat(opened: Callable[[], Array]) -> Callable[[], Array]:
    def flat() -> Array:
        values = opened()
        return values.reshape(-1, values.shape[-1])

    return flat
