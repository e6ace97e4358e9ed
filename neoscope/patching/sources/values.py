"""Values: what a source holds ready for some pairs, site by site."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from neoscope.cache import ActivationCache
from neoscope.edit_cache import part_from_cache
from neoscope.edit_region import Region
from neoscope.errors import PatchingError
from neoscope.patching.engine.cells import SQUARE, knows_one_token
from neoscope.sites import resolve
from neoscope.tokens import Tokens
from neoscope.visibility import Visibility

if TYPE_CHECKING:
    from neoscope.model import HookedGPTNeo

Kept = Sequence[tuple[str, int | None]]


def _position_axes(site: str) -> tuple[int, ...]:
    """Axes of a site's tensor that are positions."""
    return (2, 3) if site in SQUARE else (1,)


class Values(ABC):
    """The values that some pairs get."""

    @abstractmethod
    def at(self, site: str, layer: int | None, base: Tensor) -> Float[Tensor, "pairs *axes"]:
        """Return the values in the shape of the base run's tensor at the site."""

    def may_differ(self, site: str, layer: int | None) -> Bool[Tensor, "pairs pos"] | None:
        """Where they can differ from the base run's at all; None where nobody knows."""
        return None


def run_kept(
    model: HookedGPTNeo,
    ids: Int[Tensor, "pairs pos"],
    mask: Bool[Tensor, "pairs pos"],
    kept: Kept,
) -> ActivationCache:
    """Run left-padded tokens and keep the (site, layer) that are asked for."""
    names = sorted({resolve(model.config, *at).name for at in kept})
    tokens = Tokens(ids=ids, mask=mask, padding_side="left")
    _, cache = model.run_with_cache(tokens, sites=names, return_type=None)
    return cache


@dataclass(frozen=True, eq=False)
class Recorded(Values):
    """What stood there in a run of tokens in the same columns."""

    cache: ActivationCache
    differs: Bool[Tensor, "pairs pos"] | None = None
    """Where its tokens are others than the base run's; None where nobody knows."""

    def at(self, site: str, layer: int | None, base: Tensor) -> Float[Tensor, "pairs *axes"]:
        """Look it up."""
        found = self.cache[resolve(self.cache.config, site, layer).name]
        return found.to(base.device, base.dtype)

    def may_differ(self, site: str, layer: int | None) -> Bool[Tensor, "pairs pos"] | None:
        """Nowhere left of the first token that differs."""
        if self.differs is None:
            return None
        if knows_one_token(site, layer):
            return self.differs
        return self.differs.cumsum(1) > 0


@dataclass(frozen=True, eq=False)
class Aligned(Values):
    """What stands in a user's cache, text by text and token by token."""

    cache: ActivationCache
    visibility: Visibility
    """Of the whole prompts, which a run may hold only the first columns of."""

    def at(self, site: str, layer: int | None, base: Tensor) -> Float[Tensor, "pairs *axes"]:
        """Look it up.

        Raises:
            EditError: The cache comes from another model, or from texts of other lengths.
        """
        region = Region(resolve(self.cache.config, site, layer))
        shape = list(base.shape)
        for axis in _position_axes(site):
            shape[axis] = self.visibility.n_key
        whole = base.new_zeros(shape)
        found = part_from_cache(self.cache, region, whole, self.visibility, self.cache.config)
        return found[tuple(slice(n) for n in base.shape)]


@dataclass(frozen=True, eq=False)
class Constant(Values):
    """One value everywhere."""

    value: Tensor | float
    rows: slice
    """Which of all pairs these are, for a tensor that holds all pairs."""
    whole: tuple[int, int]
    """Pairs and columns of all prompts."""

    def at(self, site: str, layer: int | None, base: Tensor) -> Float[Tensor, "pairs *axes"]:
        """Spread it.

        Raises:
            PatchingError: It does not fit the site.
        """
        if not isinstance(self.value, Tensor):
            return torch.full_like(base, self.value)
        value = self._own(site, self.value, base).to(base.device, base.dtype)
        fits = 0 < value.ndim <= base.ndim and value.shape[-1] == base.shape[-1]
        sizes = zip(value.shape[::-1], base.shape[::-1], strict=False)
        if not fits or any(a not in (1, b) for a, b in sizes):
            raise PatchingError(
                f"source: a tensor of shape {tuple(self.value.shape)} does not fit site {site!r}, "
                f"which holds {list(base.shape)} in a batch of {len(base)} of {self.whole[0]} "
                f"pairs; give a vector of {base.shape[-1]}, or all of it, padded on the left"
            )
        return value.expand_as(base)

    def _own(self, site: str, value: Tensor, base: Tensor) -> Tensor:
        """Of a tensor for all pairs and columns, what belongs to these."""
        parts = {0: (self.whole[0], self.rows)}
        parts |= {axis: (self.whole[1], slice(base.shape[axis])) for axis in _position_axes(site)}
        for axis, (n, part) in parts.items():
            place = axis - base.ndim + value.ndim
            if place >= 0 and value.shape[place] == n:
                value = value[(*[slice(None)] * place, part)]
        return value


@dataclass(frozen=True, eq=False)
class Means(Values):
    """A mean for each site, by full name; an axis of length one serves all pairs or positions."""

    mean: Mapping[str, Tensor]
    config_names: Mapping[tuple[str, int | None], str]

    def at(self, site: str, layer: int | None, base: Tensor) -> Float[Tensor, "pairs *axes"]:
        """Spread it."""
        found = self.mean[self.config_names[site, layer]]
        return found.to(base.device, base.dtype).expand_as(base)


@dataclass(frozen=True, eq=False)
class Noised(Values):
    """The base run's own values plus Gaussian noise."""

    scale: float
    sigma: Mapping[tuple[str, int | None], float]
    seeds: Sequence[int]
    """One for each pair."""
    mask: Bool[Tensor, "pairs pos"]

    def at(self, site: str, layer: int | None, base: Tensor) -> Float[Tensor, "pairs *axes"]:
        """Draw: the same for a pair in whatever batch it stands."""
        drawn = torch.zeros(base.shape)
        for pair, seed in enumerate(self.seeds):
            generator = torch.Generator().manual_seed(seed + (layer or 0))
            n = int(self.mask[pair].sum())
            drawn[pair, -n:] = torch.randn(n, *base.shape[2:], generator=generator)
        return base + drawn.to(base.device, base.dtype) * (self.scale * self.sigma[site, layer])


@dataclass(frozen=True, eq=False)
class InSubspace(Values):
    """Other values inside a subspace, the base run's own outside it."""

    inner: Values
    basis: Float[Tensor, "d k"]
    """Orthonormal columns."""

    def at(self, site: str, layer: int | None, base: Tensor) -> Float[Tensor, "pairs *axes"]:
        """Project the difference.

        Raises:
            PatchingError: The site's last axis is not as long as the directions.
        """
        basis = self.fitting(site, base)
        delta = self.inner.at(site, layer, base) - base
        return base + (delta @ basis) @ basis.T

    def fitting(self, site: str, base: Tensor) -> Float[Tensor, "d k"]:
        """Return the basis where the site's tensor is, as long as its last axis.

        Raises:
            PatchingError: It is not.
        """
        if len(self.basis) != base.shape[-1]:
            raise PatchingError(
                f"subspace: directions of {len(self.basis)} entries at site {site!r}, whose last "
                f"axis has {base.shape[-1]}"
            )
        return self.basis.to(base.device, base.dtype)

    def may_differ(self, site: str, layer: int | None) -> Bool[Tensor, "pairs pos"] | None:
        """Where the inner values may."""
        return self.inner.may_differ(site, layer)
