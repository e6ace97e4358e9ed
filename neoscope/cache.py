"""ActivationCache: what stood at the sites of a run, with axes, tokens and mask; no analysis."""

from __future__ import annotations

import os
import weakref
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Float
from torch import Tensor

from neoscope.cache_lens import LensFace
from neoscope.cache_views import GRAD, CacheViews
from neoscope.config import NeoConfig
from neoscope.errors import CacheError, nearest
from neoscope.indices import Positions
from neoscope.sites import SiteRef, resolve
from neoscope.tokens import Tokens
from neoscope.visibility import Visibility, along

if TYPE_CHECKING:
    from neoscope.model import HookedGPTNeo

Key = str | tuple[str] | tuple[str, int | None] | tuple[str, int | None, str | None]


class ActivationCache(CacheViews, LensFace, Mapping[str, Tensor]):
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
            model: The model; held weakly, for TransformerLens's methods and the fingerprint. Its
                name stays.
            has_batch_dim: Whether tensors have a batch axis.
            provenance: What a cache file said about where it came from.
        """
        self._tensors = tensors
        self.config = config
        self.tokens = tokens
        self.positions = positions
        self.has_batch_dim = has_batch_dim
        # Here and not in the reference: a name outlives its model.
        named = {} if model is None else {"model": str(model.cfg.model_name)}
        self.provenance: Mapping[str, Any] = {**(provenance or {}), **named}
        """Where it came from: ``model``, the name; from a file also ``fingerprint``, of the
        weights, and ``version``, of neoscope."""
        self._model = None if model is None else weakref.ref(model)

    # ---- looking up ---------------------------------------------------------------------------

    def ref(self, key: Key) -> SiteRef:
        """Return the site that a key means.

        Raises:
            SiteError: No such site or layer.
        """
        parts = (key,) if isinstance(key, str) else key
        name = parts[0].removesuffix(GRAD)
        return resolve(self.config, name, *parts[1:])

    def name(self, key: Key) -> str:
        """Return the full name that a key means, e.g. ``blocks.3.hook_resid_post``."""
        first = key if isinstance(key, str) else key[0]
        return self.ref(key).name + (GRAD if first.endswith(GRAD) else "")

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
        refs = (self.ref(key) for key in self._tensors if not key.endswith(GRAD))
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
        return x.gather(axis, along(column[:, None], x, axis)).squeeze(axis)

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

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write a safetensors file; axes, tokens, mask, fingerprint and version are in its header.

        Returns:
            Where it stands.

        Raises:
            CacheError: The file cannot be written.
        """
        from neoscope.cache_file import save

        return save(self, path)

    @classmethod
    def load(cls, path: str | os.PathLike[str], *, verify: bool = False) -> ActivationCache:
        """Open a saved cache; tensors are read when they are asked for.

        A tensor of up to 4 MiB is compared with its checksum when it is read. A larger one is
        mapped into memory, so that what is not looked at is not read, and not compared.

        Args:
            path: What :meth:`save` wrote.
            verify: Read and compare everything now.

        Raises:
            CacheError: No such file, or it is damaged or was not written by neoscope; also when
                a tensor is read later.

        Example:
            >>> import tempfile, neoscope as ns
            >>> _, cache = ns.load("organism").run_with_cache("The man is", sites="resid_post")
            >>> with tempfile.TemporaryDirectory() as folder:
            ...     ActivationCache.load(cache.save(f"{folder}/run.safetensors"), verify=True)
            ActivationCache(1 x 3 tokens, 4 tensors: resid_post in 4 layers, 0.0 MiB)
        """
        from neoscope.cache_file import load

        return load(path, verify=verify)

    def __repr__(self) -> str:
        """Return sites, layers, shape and size on one line."""
        shapes = {len(self.layers(s)) for s in self._shorts() if not self._single(s)}
        batch = (
            f"{self.tokens.ids.shape[0]} x {self.tokens.ids.shape[1]} tokens, "
            if self.tokens
            else ""
        )
        count = max(shapes, default=0)
        most = "up to " if len(shapes) > 1 else ""
        layers = f" in {most}{count} layer{'s' * (count != 1)}" if shapes else ""
        return (
            f"ActivationCache({batch}{len(self)} tensor{'s' * (len(self) != 1)}: "
            f"{', '.join(self._shorts())}{layers}, "
            f"{self.nbytes / 2**20:.1f} MiB)"
        )

    def _shorts(self) -> list[str]:
        return list(dict.fromkeys(self.ref(key).kind.short for key in self._tensors))
