"""The part of ActivationCache that TransformerLens's tools need."""

from __future__ import annotations

import weakref
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from torch import Tensor

from neoscope.errors import CacheError
from neoscope.site_kinds import MOVED

if TYPE_CHECKING:
    from neoscope.model import HookedGPTNeo

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


class LensFace:
    """Mixed into ActivationCache."""

    _tensors: Mapping[str, Tensor]
    _model: weakref.ref[HookedGPTNeo] | None
    has_batch_dim: bool
    provenance: Mapping[str, Any]

    @property
    def model_name(self) -> str | None:
        """What the model is called, known even when it is gone; None where nobody said."""
        return self.provenance.get("model")

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
