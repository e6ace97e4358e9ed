"""ActivationCache: what stood at the sites of a run, with axes, tokens and mask; no analysis."""

from __future__ import annotations

import os
import weakref
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Float
from torch import Tensor

from neoscope.config import NeoConfig
from neoscope.errors import CacheError, nearest
from neoscope.indices import Positions
from neoscope.site_kinds import MOVED
from neoscope.sites import SiteRef, resolve, select
from neoscope.tokens import Tokens
from neoscope.visibility import Visibility

if TYPE_CHECKING:
    from neoscope.model import HookedGPTNeo

Key = str | tuple[str] | tuple[str, int | None] | tuple[str, int | None, str | None]

_GRAD = "_grad"
# Analysis that TransformerLens's cache has as methods; its tools call it on what run_with_cache
# returned.
_LENS_METHODS = frozenset(
    (
        "accumulated_resid",
        "apply_ln_to_stack",
        "apply_slice_to_batch_dim",
        "decompose_resid",
        "get_full_resid_decomposition",
        "get_neuron_results",
        "logit_attrs",
        "logit_lens",
        "stack_activation",
        "stack_head_results",
        "stack_neuron_results",
    )
)


class ActivationCache(Mapping[str, Tensor]):
    """Named tensors of one run; a mapping from full site names.

    ``cache["resid_post", 3]``, ``cache["resid_post", -1]``, ``cache["scale", 3, "ln1"]`` and
    ``cache["blocks.3.hook_resid_post"]`` all work. Tensors are detached and never change.
    """

    def __init__(
        self,
        tensors: Mapping[str, Tensor],
        config: NeoConfig,
        *,
        tokens: Tokens | None = None,
        positions: Positions = None,
        model: HookedGPTNeo | None = None,
        has_batch_dim: bool = True,
        provenance: Mapping[str, Any] | None = None,
    ) -> None:
        """Wrap recorded tensors; :meth:`HookedGPTNeo.run_with_cache` does this.

        Args:
            tensors: Full site names (gradients end in ``_grad``) to tensors.
            config: Shape of the model that made them.
            tokens: What the model read.
            positions: Which positions of each text were kept; None for all columns.
            model: The model; held weakly, for TransformerLens's methods and the fingerprint.
            has_batch_dim: Whether tensors have a batch axis.
            provenance: What a cache file said about where it came from.
        """
        self._tensors = tensors
        self.config = config
        self.tokens = tokens
        self.positions = positions
        self.has_batch_dim = has_batch_dim
        self.provenance: Mapping[str, Any] = dict(provenance or {})
        self._model = None if model is None else weakref.ref(model)

    # ---- looking up ---------------------------------------------------------------------------

    def ref(self, key: Key) -> SiteRef:
        """Return the site that a key means.

        Raises:
            SiteError: No such site or layer.
        """
        parts = (key,) if isinstance(key, str) else key
        name = parts[0].removesuffix(_GRAD)
        return resolve(self.config, name, *parts[1:])

    def name(self, key: Key) -> str:
        """Return the full name that a key means, e.g. ``blocks.3.hook_resid_post``."""
        first = key if isinstance(key, str) else key[0]
        return self.ref(key).name + (_GRAD if first.endswith(_GRAD) else "")

    def __getitem__(self, key: Key) -> Tensor:
        """Return the tensor at a site.

        Raises:
            SiteError: No such site or layer.
            CacheError: The site exists, but was not cached.
        """
        if isinstance(key, str) and key in self._tensors:
            return self._tensors[key]
        first = key[0] if isinstance(key, tuple) and key else key
        if not isinstance(first, str):
            raise CacheError(
                f"a cache is looked up by site, e.g. cache['resid_post', 3], not by {key!r}; "
                "cache.rows(...) selects rows, cache.select(sites, layers) sites"
            )
        name = self.name(key)
        if name not in self._tensors:
            held = sorted({self.ref(k).kind.short for k in self._tensors})
            hint = nearest(name, self._tensors)
            raise CacheError(f"{name!r} was not cached{hint}; cached sites: {', '.join(held)}")
        return self._tensors[name]

    def __getstate__(self) -> dict[str, Any]:
        """Leave the model behind when the cache is copied or sent to another process."""
        return self.__dict__ | {"_model": None}

    def __contains__(self, key: object) -> bool:
        """Whether a key can be looked up."""
        try:
            return self.name(key) in self._tensors  # type: ignore[arg-type]
        except (ValueError, TypeError, KeyError, AttributeError, IndexError):
            return False

    def get(self, key: Any, default: Any = None) -> Any:
        """Return the tensor at a site, or ``default`` where it was not cached."""
        if key not in self:
            return default
        return self[key]

    def __iter__(self) -> Iterator[str]:
        """Iterate over full names, in forward order."""
        return iter(self._tensors)

    def __len__(self) -> int:
        """Return the number of cached tensors."""
        return len(self._tensors)

    def axes(self, key: Key) -> tuple[str, ...]:
        """Return what the axes of a tensor mean, e.g. ``("batch", "pos", "d_model")``."""
        axes = self.ref(key).kind.axes
        return axes if self.has_batch_dim else axes[1:]

    def layers(self, site: str) -> list[int]:
        """Return the layers in which a site was cached."""
        short = self.ref((site, 0)).kind.short
        refs = (self.ref(key) for key in self._tensors if not key.endswith(_GRAD))
        return sorted(r.layer for r in refs if r.kind.short == short and r.layer is not None)

    def stack(self, site: str, layers: Sequence[int] | None = None) -> Float[Tensor, "layer *axes"]:
        """Return a site of several layers as one tensor, layer first.

        Args:
            site: Short name, e.g. ``"resid_post"``.
            layers: Which; default all that were cached.

        Raises:
            CacheError: It was cached in none of them.
        """
        found = self._cached_layers(site) if layers is None else list(layers)
        if not found:
            raise CacheError(f"stack({site!r}, layers=[]) asks for no layer")
        return torch.stack([self[site, layer] for layer in found])

    def last(self, site: str, layer: int | None = None) -> Float[Tensor, "*axes"]:
        """Return a site at each row's last real token, on either side of padding.

        Args:
            site: A site with a position axis, e.g. ``"resid_post"``; on patterns, the query axis.
            layer: The layer; None stacks all cached layers in front.
        """
        if layer is None and not self._single(site):
            found = self._cached_layers(site)
            return torch.stack([self.last(site, one) for one in found])
        key: Key = site if layer is None else (site, layer)
        x, axes = self[key], self.axes(key)
        axis = axes.index("query" if "query" in axes else "pos")
        if not self.has_batch_dim:
            return x.select(axis, int(self._last_columns(1, x.shape[axis])[0]))
        column = self._last_columns(x.shape[0], x.shape[axis]).to(x.device)
        shape = [1] * x.ndim
        shape[0] = x.shape[0]
        sizes = list(x.shape)
        sizes[axis] = 1
        return x.gather(axis, column.view(shape).expand(sizes)).squeeze(axis)

    def _single(self, site: str) -> bool:
        """Whether a name without a layer means one tensor: a model-wide site or a full name."""
        try:
            self.ref(site)
        except ValueError:
            return False
        return True

    def _cached_layers(self, site: str) -> list[int]:
        found = self.layers(site)
        if not found:
            raise CacheError(
                f"{site!r} was not cached in any layer; cached sites: {', '.join(self._shorts())}"
            )
        return found

    def _last_columns(self, rows: int, n: int) -> Tensor:
        if self.positions is not None or self.tokens is None or self.tokens.ids.shape[1] != n:
            return torch.full((rows,), n - 1)
        mask = self.tokens.mask
        index = Visibility(rows, n, mask.device, mask=mask).columns(-1)
        assert index is not None
        return index[:, 0]

    # ---- making others ------------------------------------------------------------------------

    def _like(self, tensors: Mapping[str, Tensor], **changes: Any) -> ActivationCache:
        fields: dict[str, Any] = {
            "tokens": self.tokens,
            "positions": self.positions,
            "model": self._model() if self._model else None,
            "has_batch_dim": self.has_batch_dim,
            "provenance": self.provenance,
        }
        return ActivationCache(tensors, self.config, **(fields | changes))

    def _map(self, function: Callable[[Tensor], Tensor]) -> dict[str, Tensor]:
        """Apply a function to every tensor, once for those that are the same memory."""
        done: dict[Any, Tensor] = {}
        out = {}
        for name, x in self._tensors.items():
            key = (x.data_ptr(), tuple(x.shape), x.stride(), x.dtype, x.device)
            if key not in done:
                done[key] = function(x)
            out[name] = done[key]
        return out

    def to(
        self, device: torch.device | str | None = None, dtype: torch.dtype | None = None
    ) -> ActivationCache:
        """Return a cache on another device or in another dtype."""
        from neoscope.recorder import compact

        def moved(x: Tensor) -> Tensor:
            small = compact(x).to(device=device or x.device, dtype=dtype or x.dtype)
            return small.expand(x.shape)

        return self._like(self._map(moved))

    def select(
        self, sites: str | Sequence[str] | None = None, layers: int | Sequence[int] | None = None
    ) -> ActivationCache:
        """Return a cache of some sites and layers only."""
        from neoscope.run import switch_names

        refs = select(self.config, sites, layers, switches=switch_names())
        names = {ref.name for ref in refs}
        return self._like(
            {k: self._tensors[k] for k in self._tensors if k.removesuffix(_GRAD) in names}
        )

    def rows(self, index: int | slice | Sequence[int]) -> ActivationCache:
        """Return a cache of some rows of the batch; the batch axis stays.

        Raises:
            CacheError: There is no such row, or the batch axis was removed.
        """
        if not self.has_batch_dim:
            raise CacheError("this cache has no batch axis to select rows from")
        picked: Any = index
        batch = min((x.shape[0] for x in self._tensors.values()), default=0)
        if isinstance(index, slice):
            if index.step is not None and index.step < 0:  # which torch cannot do
                picked = list(range(batch))[index]
        else:
            picked = [index] if isinstance(index, int) else list(index)
            for row in picked:
                if not -batch <= row < batch:
                    raise CacheError(f"row {row} does not exist; the batch has {batch} rows")
        changes: dict[str, Any] = {}
        if self.tokens is not None:
            changes["tokens"] = self.tokens.rows(picked)
        if isinstance(self.positions, Tensor) and self.positions.ndim == 2:
            changes["positions"] = self.positions[picked]
        return self._like(self._map(lambda x: x[picked]), **changes)

    def remove_batch_dim(self) -> ActivationCache:
        """Return a cache of a batch of one without its batch axis.

        Raises:
            CacheError: The batch has several rows.
        """
        if not self.has_batch_dim:
            return self
        rows = {x.shape[0] for x in self._tensors.values()}
        if rows - {1}:
            raise CacheError(f"cannot remove the batch axis: the batch has {max(rows)} rows")
        return self._like(self._map(lambda x: x[0]), has_batch_dim=False)

    # ---- size and files -----------------------------------------------------------------------

    @property
    def nbytes(self) -> int:
        """Bytes of memory held, storages counted once however many names they have.

        For a cache that was opened from a file: what it will hold once all was read.
        """
        stored = getattr(self._tensors, "nbytes", None)
        if stored is not None:
            return int(stored)
        storages = {
            x.untyped_storage().data_ptr(): x.untyped_storage().nbytes()
            for x in self._tensors.values()
        }
        return sum(storages.values())

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write a safetensors file; axes, tokens, mask, fingerprint and version are in its header.

        Raises:
            CacheError: The file cannot be written.
        """
        from neoscope.cache_file import save

        save(self, path)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> ActivationCache:
        """Open a saved cache; tensors are read when they are asked for.

        Raises:
            CacheError: No such file, or it is damaged or was not written by neoscope.
        """
        from neoscope.cache_file import load

        return load(path)

    # ---- TransformerLens ----------------------------------------------------------------------

    @property
    def model(self) -> HookedGPTNeo | None:
        """The model that made the cache, while it lives."""
        return None if self._model is None else self._model()

    def to_transformer_lens(self, model: HookedGPTNeo | None = None) -> Any:
        """Return TransformerLens's own ActivationCache over the same tensors.

        Args:
            model: Needed for a loaded cache, or once the model that made it is gone.

        Raises:
            CacheError: There is no model.
        """
        from transformer_lens import ActivationCache as LensCache

        owner = model if model is not None else self.model
        if owner is None:
            raise CacheError("TransformerLens's cache needs the model: to_transformer_lens(model)")
        tensors = dict(self._tensors)
        for name in self._tensors:
            for old, new in MOVED.items():
                if name.endswith(new):
                    tensors[name.removesuffix(new) + old] = self._tensors[name]
        return LensCache(tensors, owner, has_batch_dim=self.has_batch_dim)

    def compute_head_results(self) -> None:
        """Add what each head writes into the stream, ``("result", layer)``, computed from its z."""
        lens = self.to_transformer_lens()
        lens.compute_head_results()
        results = {
            name: x.detach() for name, x in lens.cache_dict.items() if name.endswith("hook_result")
        }
        self._tensors = {**self._tensors, **results}

    @property
    def cache_dict(self) -> dict[str, Tensor]:
        """TransformerLens's name for the tensors."""
        return dict(self._tensors)

    def __getattr__(self, name: str) -> Any:
        """Lend TransformerLens's analysis methods, so that its tools work on this cache."""
        if name in _LENS_METHODS:
            return getattr(self.to_transformer_lens(), name)
        raise AttributeError(f"ActivationCache has no attribute {name!r}")

    def __repr__(self) -> str:
        """Return sites, layers, shape and size on one line."""
        shapes = {len(self.layers(s)) for s in self._shorts() if not self._single(s)}
        batch = (
            f"{self.tokens.ids.shape[0]} x {self.tokens.ids.shape[1]} tokens, "
            if self.tokens
            else ""
        )
        layers = f" in up to {max(shapes)} layers" if shapes else ""
        return (
            f"ActivationCache({batch}{len(self)} tensors: {', '.join(self._shorts())}{layers}, "
            f"{self.nbytes / 2**20:.1f} MiB)"
        )

    def _shorts(self) -> list[str]:
        return list(dict.fromkeys(self.ref(key).kind.short for key in self._tensors))
