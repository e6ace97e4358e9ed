"""The only place where a site's name is made: ``("pattern", 3)`` is ``blocks.3.attn.hook_pattern``.

A site is a named tensor on the compute path; the table of them is in ``site_kinds``.
"""

from __future__ import annotations

import functools
import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from neoscope.config import NeoConfig
from neoscope.errors import SiteError, nearest
from neoscope.indices import Index, listed, whole
from neoscope.site_kinds import BLOCK, BY_SHORT, KINDS, MOVED, ORDER, SYNONYMS, SiteKind


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
            return (self.layer, ORDER[self.kind.short])
        before = self.kind.short in ("embed", "pos_embed")
        return (-1 if before else n_layers, ORDER[self.kind.short])

    def shape(
        self, config: NeoConfig, batch: int, pos: int, keys: int | None = None
    ) -> tuple[int, ...]:
        """Shape for ``batch`` rows of ``pos`` tokens that see ``keys`` (or ``pos``) keys."""
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
    return SYNONYMS.get(name)


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
    return [*BY_SHORT, *SYNONYMS, *(f"hook_{kind.short}" for kind in KINDS)]


def unknown_site(name: object, where: str = "") -> SiteError:
    """Return the error for a name that is no site, with the nearest that is."""
    hint = nearest(str(name), _known_names())
    return SiteError(f"no site is called {name!r}{where}{hint}; known: {', '.join(BY_SHORT)}")


def check_layer(layer: Any, n_layers: int, site: str | None = None) -> int:
    """Return ``layer`` counted from the front.

    Args:
        layer: Counted from the front or, if negative, from the back.
        n_layers: How many there are.
        site: Named in the error.

    Raises:
        SiteError: The model has no such layer.
    """
    number = whole(layer)
    if number is None or not -n_layers <= number < n_layers:
        where = f"site {site!r}: " if site else ""
        raise SiteError(
            f"{where}layer {layer!r} does not exist; the model has layers 0 to {n_layers - 1} (or "
            f"-{n_layers} to -1)"
        )
    return number % n_layers


def _parse_full(name: str, n_layers: int) -> SiteRef | None:
    """Read a full TransformerLens name; None where it is not one."""
    if name.startswith("blocks."):
        _, _, rest = name.partition(".")
        number, _, tail = rest.partition(".")
        tail = MOVED.get(tail, tail)
        kind = _by_tail().get(tail)
        if kind is None or re.fullmatch("-?[0-9]+", number) is None:
            return None
        return SiteRef(kind, check_layer(int(number), n_layers, name))
    for kind in KINDS:
        if not kind.layered and name == kind.template:
            return SiteRef(kind, None)
    return None


@functools.lru_cache(maxsize=1)
def _by_tail() -> Mapping[str, SiteKind]:
    return {kind.template.removeprefix(BLOCK): kind for kind in KINDS if kind.layered}


def resolve(config: NeoConfig, site: str, layer: Any = None, part: str | None = None) -> SiteRef:
    """Return the site that a name means.

    Args:
        config: The model's shape.
        site: A short name (``"pattern"``), a synonym, or a full one (``"hook_embed"``).
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
    layers: Index = None,
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
    wanted_layers = _layer_list(config, layers, sites)
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


def _layer_list(config: NeoConfig, layers: Index, sites: object) -> list[int]:
    if layers is None:
        return list(range(config.n_layers))
    named = sites if isinstance(sites, str) else None
    return sorted({check_layer(layer, config.n_layers, named) for layer in listed(layers)})
