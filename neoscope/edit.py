"""Edit: one change of one site, and how edits become the functions that a run applies."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from neoscope.cache import ActivationCache
from neoscope.config import NeoConfig
from neoscope.edit_cache import part_from_cache
from neoscope.edit_region import Region
from neoscope.errors import EditError, SiteError
from neoscope.indices import Index, Positions, listed
from neoscope.run import EditFunction, switch_names
from neoscope.sites import SiteRef, check_layer, select, switched_off
from neoscope.visibility import Visibility


@dataclass(frozen=True)
class Here:
    """What an edit sees when its site is reached."""

    whole: Tensor
    """The site's tensor."""
    region: Region
    visibility: Visibility
    config: NeoConfig

    @property
    def part(self) -> Tensor:
        """The selected part; a selected axis stays, cut down to what was selected."""
        return self.region.read(self.whole, self.visibility)

    @property
    def ref(self) -> SiteRef:
        """The site."""
        return self.region.ref

    def fit(self, value: Tensor | ActivationCache | float, what: str) -> Tensor:
        """Bring a number, a tensor, or this site of a cache into the shape of the part."""
        if isinstance(value, int | float):
            return torch.full_like(self.part, value)
        if isinstance(value, ActivationCache):
            return part_from_cache(value, self.region, self.whole, self.visibility, self.config)
        value = torch.as_tensor(value)
        if value.is_inference() and not torch.is_inference_mode_enabled():
            value = value.clone()  # autograd refuses to remember tensors of inference_mode
        return self.region.fit(value, self.whole, self.visibility, what)


@dataclass(frozen=True)
class Edit:
    """One change of one site in one or more layers. Make one with the functions of this module."""

    site: str
    """Short or full name."""
    layer: Index
    """One layer, several, or None for all (or for a model-wide site)."""
    change: Callable[[Here], Tensor]
    """From what is there to what replaces the selected part."""
    label: str = "edit"
    head: Index = None
    positions: Positions = None
    """Positions of each text; padding does not count, -1 is the last real token."""
    keys: Positions = None
    """Positions on the key axis of scores and patterns."""
    unit: Index = None
    """Indices of the last axis: neurons of ``post``, dimensions of the stream."""
    by_position: bool = False
    """Whether what it does at a position depends on nothing but that position's own value, so that
    generation may keep what it made in a KV cache. False is always right, only slower."""

    def __repr__(self) -> str:
        """Return the call that makes it, as far as it can be shown."""
        parts = [repr(self.site)]
        for name in ("layer", "head", "positions", "keys", "unit"):
            value = getattr(self, name)
            if value is not None:
                parts.append(f"{name}={value!r}")
        return f"{self.label}({', '.join(parts)})"


def compile_edits(
    edits: Sequence[Edit], config: NeoConfig, switches: frozenset[str]
) -> dict[str, list[EditFunction]]:
    """Return, for each full site name, the functions to apply there, in order.

    Raises:
        SiteError: A site, layer, head or unit does not exist, or the site is switched off.
        EditError: Something that is no edit was given.
    """
    compiled: dict[str, list[EditFunction]] = {}
    for edit in edits:
        if not isinstance(edit, Edit):
            raise EditError(f"{edit!r} is no edit; make one with neoscope.edits.ablate and others")
        for ref in _refs(edit, config):
            if ref.kind.switch is not None and ref.kind.switch not in switches:
                raise switched_off(ref)
            region = Region(ref, edit.head, edit.positions, edit.keys, edit.unit)
            region.check(config)
            compiled.setdefault(ref.name, []).append(_bind(edit, region, config))
    return compiled


def _refs(edit: Edit, config: NeoConfig) -> Sequence[SiteRef]:
    """Return the sites of an edit; the layers that it names are those of its site."""
    refs = select(config, edit.site, edit.layer, switches=switch_names())
    if edit.layer is not None:
        layers = {check_layer(layer, config.n_layers, edit.site) for layer in listed(edit.layer)}
        stray = next((ref for ref in refs if ref.layer not in layers), None)
        if stray is not None:
            raise SiteError(f"{edit!r}: site {stray.name!r} is not in layer {edit.layer!r}")
    if not refs:
        raise SiteError(f"{edit!r} matches no site: it names no layer")
    return refs


def _bind(edit: Edit, region: Region, config: NeoConfig) -> EditFunction:
    def apply(x: Tensor, visibility: Visibility) -> Tensor:
        if x.ndim != len(region.ref.kind.axes):
            raise SiteError(
                f"{edit!r}: site {region.ref.name!r} has a value for every head while their inputs "
                "are split; switch that off, or do not look at the inputs in the same run"
            )
        here = Here(x, region, visibility, config)
        new, part = edit.change(here), here.part
        if not isinstance(new, Tensor) or new.shape != part.shape:
            found = tuple(new.shape) if isinstance(new, Tensor) else type(new).__name__
            raise EditError(
                f"{edit!r} at {region.ref.name!r} gave {found}; the selected part has shape "
                f"{tuple(part.shape)}"
            )
        return region.write(x, new.to(x.dtype), visibility)

    return apply
