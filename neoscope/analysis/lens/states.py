"""What a lens reads from a cache: the stream at every depth, or what single components write."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from jaxtyping import Float, Int
from torch import Tensor

from neoscope.analysis.reading import at
from neoscope.cache import ActivationCache
from neoscope.errors import AnalysisError, CacheError, nearest
from neoscope.indices import Index, listed
from neoscope.sites import check_layer

if TYPE_CHECKING:
    from neoscope.model import HookedGPTNeo

STREAMS = ("resid_pre", "resid_mid", "resid_post")
WRITERS = ("embed", "pos_embed", "attn_out", "mlp_out")
LENS_SITES = (*STREAMS, "components", *WRITERS, "heads")
"""What :func:`logit_lens` reads: the stream, or what parts of the model write into it."""


@dataclass(frozen=True, eq=False)
class Entry:
    """One row of a lens."""

    label: str
    layer: int
    """-1 for the embeddings."""
    head: int
    """-1 for what is no head."""
    depth: int | None
    """Blocks that the stream has passed; None for what is not the stream between two blocks."""
    states: Float[Tensor, "place _"]
    """[batch * pos, d_model], or a head's z [batch * pos, d_head]."""
    weight: Float[Tensor, "d_head d_model"] | None = None
    """The head's W_O."""

    def take(self, index: Int[Tensor, " row"], like: Tensor) -> Float[Tensor, "row d_model"]:
        """Return the states of some places as the weights are kept."""
        x = self.states[index.to(self.states.device)].to(like.device, like.dtype)
        return x if self.weight is None else x @ self.weight.to(like.dtype)


def final_stream(cache: ActivationCache, what: str) -> Tensor:
    """Return the stream that the model's own output is read from, with its batch axis.

    Raises:
        AnalysisError: It was not cached.
    """
    last = cache.config.n_layers - 1
    if not holds(cache, "resid_post", last):
        raise AnalysisError(
            f"{what} needs ('resid_post', {last}), from which the model's own output is read; the "
            "cache does not hold it: cache sites=['resid_pre', 'resid_post'] of all layers"
        )
    return at(cache, "resid_post", last)


def entries(
    cache: ActivationCache, model: HookedGPTNeo, site: str, layers: Index, what: str
) -> list[Entry]:
    """Return the rows of a lens, in forward order: what was cached, or the layers asked for.

    Args:
        cache: What was recorded.
        model: For the heads' W_O.
        site: One of :data:`LENS_SITES`.
        layers: Which layers; None for all that were cached.
        what: The function, for errors.

    Raises:
        AnalysisError: The site is none of these or was cached in no layer, or no layer is asked
            for.
        CacheError: A layer that was asked for was not cached.
        SiteError: The model has no such layer.
    """
    if site not in LENS_SITES:
        raise AnalysisError(
            f"{what} reads no site {site!r}{nearest(str(site), LENS_SITES)}; it reads "
            f"{', '.join(LENS_SITES)}"
        )
    n = cache.config.n_layers
    wanted = None if layers is None else [check_layer(layer, n) for layer in listed(layers)]
    if wanted == []:
        raise AnalysisError(f"{what}: layers=[] asks for no layer; leave it out for all")
    find: dict[str, Callable[[], list[Entry]]] = {
        "resid_post": lambda: _stream_after(cache, wanted),
        "resid_pre": lambda: _stream(cache, "resid_pre", wanted),
        "resid_mid": lambda: _stream(cache, "resid_mid", wanted),
        "components": lambda: _components(cache, wanted),
        "heads": lambda: _heads(cache, model, wanted),
    }
    found = find.get(site, lambda: _writer(cache, site, wanted))()
    if not found:
        needed = {"components": "attn_out and mlp_out", "heads": "z"}.get(site, site)
        raise AnalysisError(
            f"{what}(site={site!r}) needs {needed}, which this cache does not hold in "
            f"{'any layer' if wanted is None else f'layers {wanted}'}"
        )
    return found


def holds(cache: ActivationCache, site: str, layer: int) -> bool:
    """Whether a site of a layer was cached."""
    return layer in cache.layers(site)


def _flat(x: Tensor) -> Tensor:
    return x.flatten(0, 1)


def _layers(cache: ActivationCache, site: str, wanted: Sequence[int] | None) -> Sequence[int]:
    return cache.layers(site) if wanted is None else wanted


def _stream(cache: ActivationCache, site: str, wanted: Sequence[int] | None) -> list[Entry]:
    found = []
    for layer in _layers(cache, site, wanted):
        depth = {"resid_pre": layer, "resid_post": layer + 1}.get(site)
        found.append(Entry(str(layer), layer, -1, depth, _flat(at(cache, site, layer))))
    return found


def _stream_after(cache: ActivationCache, wanted: Sequence[int] | None) -> list[Entry]:
    """The embeddings first where they were cached, then every layer."""
    found = _stream(cache, "resid_post", wanted)
    if wanted is None and holds(cache, "resid_pre", 0):
        found.insert(0, Entry("embed", -1, -1, 0, _flat(at(cache, "resid_pre", 0))))
    return found


def _writer(cache: ActivationCache, site: str, wanted: Sequence[int] | None) -> list[Entry]:
    if site in ("embed", "pos_embed"):
        if site not in cache or wanted is not None:
            return []
        return [Entry(site, -1, -1, None, _flat(at(cache, site)))]
    return [
        Entry(f"{layer} {site}", layer, -1, None, _flat(at(cache, site, layer)))
        for layer in _layers(cache, site, wanted)
    ]


def _components(cache: ActivationCache, wanted: Sequence[int] | None) -> list[Entry]:
    every = [entry for site in WRITERS for entry in _writer(cache, site, wanted)]
    return sorted(every, key=lambda entry: entry.layer)  # attention before the MLP of its layer


def _heads(
    cache: ActivationCache, model: HookedGPTNeo, wanted: Sequence[int] | None
) -> list[Entry]:
    found = []
    for layer in _layers(cache, "z", wanted):
        z = _flat(at(cache, "z", layer))
        if not isinstance(z, Tensor) or z.ndim != 3:
            raise CacheError(f"z of layer {layer} has shape {tuple(z.shape)}")
        weight = model.blocks[layer].attn.W_O.detach()
        found += [
            Entry(f"{layer}.{head}", layer, head, None, z[:, head], weight[head])
            for head in range(z.shape[1])
        ]
    return found
