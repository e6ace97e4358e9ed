"""The only place where a site's name is made: ``("pattern", 3)`` is ``blocks.3.attn.hook_pattern``.

A site is a named tensor on the compute path. Names are TransformerLens's
(``transformer_lens/utilities/components_utils.py``), so that habits and tools carry over.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from neoscope.config import NeoConfig
from neoscope.errors import SiteError, nearest

_STREAM = ("batch", "pos", "d_model")
_HEADS = ("batch", "pos", "head", "d_head")
_SPLIT = ("batch", "pos", "head", "d_model")
_SQUARE = ("batch", "head", "query", "key")
_MLP = ("batch", "pos", "d_mlp")
_SCALE = ("batch", "pos", "one")


@dataclass(frozen=True)
class SiteKind:
    """One kind of site: its short name, where it stands, and what its axes mean."""

    short: str
    template: str
    """Full name; ``{layer}`` stands for the layer where there is one."""
    axes: tuple[str, ...]
    switch: str | None = None
    """The ``cfg`` switch that must be on for the site to exist; None where it always does."""
    meaning: str = ""

    @property
    def layered(self) -> bool:
        """Whether every block has one."""
        return "{layer}" in self.template


# In the order in which a forward meets them.
_BLOCK = "blocks.{layer}."
KINDS: tuple[SiteKind, ...] = (
    SiteKind("embed", "hook_embed", _STREAM, None, "token embeddings"),
    SiteKind("pos_embed", "hook_pos_embed", _STREAM, None, "position embeddings"),
    SiteKind("resid_pre", _BLOCK + "hook_resid_pre", _STREAM, None, "residual stream into a block"),
    SiteKind("attn_in", _BLOCK + "hook_attn_in", _SPLIT, "use_attn_in", "a head's own input"),
    SiteKind("q_input", _BLOCK + "attn.hook_q_input", _SPLIT, "use_split_qkv_input", "input of q"),
    SiteKind("k_input", _BLOCK + "attn.hook_k_input", _SPLIT, "use_split_qkv_input", "input of k"),
    SiteKind("v_input", _BLOCK + "attn.hook_v_input", _SPLIT, "use_split_qkv_input", "input of v"),
    SiteKind("ln1.scale", _BLOCK + "ln1.hook_scale", _SCALE, None, "sqrt(variance + eps)"),
    SiteKind("ln1.normalized", _BLOCK + "ln1.hook_normalized", _STREAM, None, "before gain, bias"),
    SiteKind("q", _BLOCK + "attn.hook_q", _HEADS, None, "queries"),
    SiteKind("k", _BLOCK + "attn.hook_k", _HEADS, None, "keys"),
    SiteKind("v", _BLOCK + "attn.hook_v", _HEADS, None, "values"),
    SiteKind("attn_scores", _BLOCK + "attn.hook_attn_scores", _SQUARE, None, "masked, pre-softmax"),
    SiteKind("pattern", _BLOCK + "attn.hook_pattern", _SQUARE, None, "attention probabilities"),
    SiteKind("z", _BLOCK + "attn.hook_z", _HEADS, None, "a head's weighted values"),
    SiteKind("result", _BLOCK + "attn.hook_result", _SPLIT, "use_attn_result", "a head's output"),
    SiteKind("attn_out", _BLOCK + "hook_attn_out", _STREAM, None, "attention output, with bias"),
    SiteKind("resid_mid", _BLOCK + "hook_resid_mid", _STREAM, None, "stream after attention"),
    SiteKind("mlp_in", _BLOCK + "hook_mlp_in", _STREAM, "use_hook_mlp_in", "input of ln2 alone"),
    SiteKind("ln2.scale", _BLOCK + "ln2.hook_scale", _SCALE, None, "sqrt(variance + eps)"),
    SiteKind("ln2.normalized", _BLOCK + "ln2.hook_normalized", _STREAM, None, "before gain, bias"),
    SiteKind("pre", _BLOCK + "mlp.hook_pre", _MLP, None, "neurons before the activation"),
    SiteKind("post", _BLOCK + "mlp.hook_post", _MLP, None, "neurons after the activation"),
    SiteKind("mlp_out", _BLOCK + "hook_mlp_out", _STREAM, None, "MLP output, with bias"),
    SiteKind("resid_post", _BLOCK + "hook_resid_post", _STREAM, None, "stream out of a block"),
    SiteKind("ln_final.scale", "ln_final.hook_scale", _SCALE, None, "sqrt(variance + eps)"),
    SiteKind("ln_final.normalized", "ln_final.hook_normalized", _STREAM, None, "before gain, bias"),
)
BY_SHORT: Mapping[str, SiteKind] = {kind.short: kind for kind in KINDS}
_ORDER: Mapping[str, int] = {kind.short: i for i, kind in enumerate(KINDS)}

# What TransformerLens users type, beside the short names above.
_SYNONYMS: Mapping[str, str] = {
    "attn": "pattern",
    "attn_logits": "attn_scores",
    "scores": "attn_scores",
    "key": "k",
    "query": "q",
    "value": "v",
    "mlp_pre": "pre",
    "mlp_post": "post",
    "neurons": "post",
    "head_out": "result",
    "scale": "ln_final.scale",
    "normalized": "ln_final.normalized",
}
# TransformerLens 3 kept these on the block; its 4th version moved them into the attention.
_MOVED: Mapping[str, str] = {
    f"hook_{name}_input": f"attn.hook_{name}_input" for name in ("q", "k", "v")
}


@dataclass(frozen=True)
class SiteRef:
    """One site of one layer (``layer`` is None for the model-wide ones)."""

    kind: SiteKind
    layer: int | None

    @functools.cached_property
    def name(self) -> str:
        """The full name, e.g. ``blocks.3.attn.hook_pattern``."""
        return self.kind.template.format(layer=self.layer)

    def order(self, n_layers: int) -> tuple[int, int]:
        """Sort key: the order in which a forward meets sites."""
        if self.layer is not None:
            return (self.layer, _ORDER[self.kind.short])
        before = self.kind.short in ("embed", "pos_embed")
        return (-1 if before else n_layers, _ORDER[self.kind.short])

    def shape(
        self, config: NeoConfig, batch: int, pos: int, keys: int | None = None
    ) -> tuple[int, ...]:
        """Shape of the tensor for ``batch`` rows of ``pos`` tokens seeing ``keys`` (default: pos)."""
        sizes = {
            "batch": batch,
            "pos": pos,
            "query": pos,
            "key": pos if keys is None else keys,
            "head": config.n_heads,
            "d_head": config.d_head,
            "d_model": config.d_model,
            "d_mlp": config.n_neurons,
            "one": 1,
        }
        return tuple(sizes[axis] for axis in self.kind.axes)

    def numel(self, config: NeoConfig, batch: int, pos: int) -> int:
        """Number of values at the site."""
        return math.prod(self.shape(config, batch, pos))


def short_name(name: str) -> str | None:
    """Return the short name that ``name`` means (``"attn"`` -> ``"pattern"``), or None."""
    if name in BY_SHORT:
        return name
    return _SYNONYMS.get(name)


@functools.lru_cache(maxsize=64)
def all_sites(config: NeoConfig, switches: frozenset[str] = frozenset()) -> tuple[SiteRef, ...]:
    """Every site that exists under the given switches, in forward order.

    Args:
        config: The model's shape.
        switches: Names of the ``cfg`` switches that are on, e.g. ``{"use_attn_result"}``.
    """
    refs = [
        SiteRef(kind, layer)
        for kind in KINDS
        if kind.switch is None or kind.switch in switches
        for layer in (range(config.n_layers) if kind.layered else (None,))
    ]
    return tuple(sorted(refs, key=lambda ref: ref.order(config.n_layers)))


def _known_names() -> list[str]:
    return [*BY_SHORT, *_SYNONYMS, *(f"hook_{kind.short}" for kind in KINDS)]


def unknown_site(name: object, where: str = "") -> SiteError:
    """Return the error for a name that is no site, with the nearest that is."""
    hint = nearest(str(name), _known_names())
    return SiteError(f"no site is called {name!r}{where}{hint}; known: {', '.join(BY_SHORT)}")


def check_layer(layer: int, n_layers: int, site: str) -> int:
    """Return ``layer`` counted from the front.

    Raises:
        SiteError: The model has no such layer.
    """
    if isinstance(layer, bool) or not isinstance(layer, int) or not -n_layers <= layer < n_layers:
        raise SiteError(
            f"site {site!r}: layer {layer!r} does not exist; the model has layers 0 to "
            f"{n_layers - 1} (or -{n_layers} to -1)"
        )
    return layer % n_layers


def _parse_full(name: str, n_layers: int) -> SiteRef | None:
    """Read a full TransformerLens name; None where it is not one."""
    if name.startswith("blocks."):
        _, _, rest = name.partition(".")
        number, _, tail = rest.partition(".")
        tail = _MOVED.get(tail, tail)
        kind = _by_tail().get(tail)
        if kind is None or not number.lstrip("-").isdigit():
            return None
        return SiteRef(kind, check_layer(int(number), n_layers, name))
    for kind in KINDS:
        if not kind.layered and name == kind.template:
            return SiteRef(kind, None)
    return None


@functools.lru_cache(maxsize=1)
def _by_tail() -> Mapping[str, SiteKind]:
    return {kind.template.removeprefix(_BLOCK): kind for kind in KINDS if kind.layered}


def resolve(
    config: NeoConfig, site: str, layer: int | None = None, part: str | None = None
) -> SiteRef:
    """Return the site that a name means.

    Args:
        config: The model's shape.
        site: A short name (``"pattern"``), a synonym, or a full name (``"blocks.3.hook_resid_mid"``).
        layer: The layer, from the front or (negative) from the back; None for model-wide sites.
        part: TransformerLens's third key: ``"ln1"``, ``"ln2"``, ``"attn"``, ``"mlp"``.

    Raises:
        SiteError: No such site or layer; the message names the nearest.

    Example:
        >>> resolve(NeoConfig(), "scale", -1, "ln2").name
        'blocks.11.ln2.hook_scale'
    """
    if layer is None and part is None:
        full = _parse_full(site, config.n_layers)
        if full is not None:
            return full
    if part in ("ln1", "ln2") and site in ("scale", "normalized"):
        short: str | None = f"{part}.{site}"
    else:
        short = short_name(site.removeprefix("hook_"))
    if short is None:
        raise unknown_site(site)
    kind = BY_SHORT[short]
    if not kind.layered:
        if layer is not None:
            raise SiteError(f"site {site!r} is not in a layer, but layer {layer!r} was asked for")
        return SiteRef(kind, None)
    if layer is None:
        raise SiteError(f"site {site!r} is in every layer; say which, e.g. ({site!r}, 0)")
    return SiteRef(kind, check_layer(layer, config.n_layers, site))


def select(
    config: NeoConfig,
    sites: str | Iterable[str] | Callable[[str], bool] | None = None,
    layers: int | Sequence[int] | None = None,
    *,
    switches: frozenset[str] = frozenset(),
    drop: Iterable[str] = (),
) -> tuple[SiteRef, ...]:
    """Return the sites that a request means, in forward order.

    Args:
        config: The model's shape.
        sites: Names (short or full), a predicate on full names, or None for all that exist.
        layers: Which layers of the short names; None for all.
        switches: The ``cfg`` switches that are on.
        drop: Short names left out of None and of predicates (they can still be named).

    Raises:
        SiteError: A name or layer does not exist, or its switch is off.
    """
    wanted_layers = _layer_list(config, layers)
    available = [ref for ref in all_sites(config, switches) if ref.kind.short not in set(drop)]
    if sites is None or callable(sites):
        refs = [ref for ref in available if ref.layer is None or ref.layer in wanted_layers]
        if layers is not None:
            refs = [ref for ref in refs if ref.layer is not None]
        return tuple(ref for ref in refs if sites is None or sites(ref.name))
    names = [sites] if isinstance(sites, str) else list(sites)
    found: dict[str, SiteRef] = {}
    for name in names:
        for ref in _expand(config, name, wanted_layers):
            if ref.kind.switch is not None and ref.kind.switch not in switches:
                raise switched_off(ref)
            found[ref.name] = ref
    return tuple(sorted(found.values(), key=lambda ref: ref.order(config.n_layers)))


def switched_off(ref: SiteRef) -> SiteError:
    """Return the error for a site whose switch is off."""
    return SiteError(
        f"site {ref.name!r} is switched off; call model.set_{ref.kind.switch}(True) first"
    )


def _expand(config: NeoConfig, name: str, layers: Sequence[int]) -> list[SiteRef]:
    full = _parse_full(name, config.n_layers) if isinstance(name, str) else None
    if full is not None:
        return [full]
    short = short_name(name.removeprefix("hook_")) if isinstance(name, str) else None
    if short is None:
        raise unknown_site(name)
    kind = BY_SHORT[short]
    return [SiteRef(kind, layer) for layer in layers] if kind.layered else [SiteRef(kind, None)]


def _layer_list(config: NeoConfig, layers: int | Sequence[int] | None) -> list[int]:
    if layers is None:
        return list(range(config.n_layers))
    listed = [layers] if isinstance(layers, int) else list(layers)
    return sorted({check_layer(layer, config.n_layers, "layers") for layer in listed})
