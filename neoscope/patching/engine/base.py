"""Base: the unpatched run of a batch of pairs, which every patched row starts from."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from neoscope.edit import Edit
from neoscope.errors import PatchingError
from neoscope.sites import resolve
from neoscope.tokens import Tokens
from neoscope.visibility import Visibility

if TYPE_CHECKING:
    from neoscope.block import Block
    from neoscope.cache import ActivationCache
    from neoscope.model import HookedGPTNeo

Kept = Iterable[tuple[str, int | None]]
WALKED = ("resid_pre", "resid_mid", "q", "k", "v")


class Base:
    """The run of some prompts as they are; prompts are padded on the left."""

    def __init__(
        self,
        model: HookedGPTNeo,
        ids: Int[Tensor, "pairs pos"],
        mask: Bool[Tensor, "pairs pos"],
        *,
        sites: Kept = (),
        first: int = 0,
        edits: Sequence[Edit] = (),
    ) -> None:
        """Run the model.

        Args:
            model: Without hooks or edits in force.
            ids: Tokens.
            mask: True where a token is real.
            sites: (short name, layer) of what to keep beside what the walk needs.
            first: The first layer that a walk may enter.
            edits: Part of this run, such as the noise of causal tracing. They may touch nothing
                but the embeddings, since a walk computes all that follows anew.
        """
        self.model, self.config = model, model.config
        self.device, self.dtype, self.mask = model.device, model.dtype, mask
        self.n_pairs, self.n_columns = ids.shape
        layers = range(first, self.config.n_layers)
        walked = [(site, layer) for site in WALKED for layer in layers]
        last = ("resid_post", self.config.n_layers - 1)
        names = {resolve(self.config, *kept).name for kept in [*walked, last, *sites]}
        _, self._cache = model.run_with_cache(
            Tokens(ids=ids, mask=mask, padding_side="left"),
            sites=sorted(names),
            return_type=None,
            edits=list(edits),
        )
        self.visibility = Visibility(
            self.n_pairs, self.n_columns, self.device, mask=mask.to(self.device)
        )

    @property
    def cache(self) -> ActivationCache:
        """All that was kept."""
        return self._cache

    def __call__(self, site: str, layer: int | None) -> Float[Tensor, "..."]:
        """Return what stood at a site."""
        return self._cache[resolve(self.config, site, layer).name]

    def stream(self, layer: int) -> Float[Tensor, "pairs pos d_model"]:
        """Return the residual stream before a layer; after the last one for ``n_layers``."""
        if layer == self.config.n_layers:
            return self("resid_post", layer - 1)
        return self("resid_pre", layer)

    def keys_values(self, layer: int) -> Float[Tensor, "tokens two_d_model"]:
        """Return keys and values of all tokens, pair by pair, side by side."""
        k, v = self("k", layer), self("v", layer)
        return torch.cat([k.flatten(2), v.flatten(2)], dim=-1).flatten(0, 1)

    def allowed(self, layer: int) -> Bool[Tensor, "rows 1 query key"]:
        """Return who sees whom in a layer; one row where all pairs are alike."""
        every = (0, self.n_columns)
        return self.visibility.allowed(self.block(layer).attn.window, every, every)

    def block(self, layer: int) -> Block:
        """Return a block of the model."""
        found: Block = self.model.blocks[layer]
        return found


def refuse_edited(model: HookedGPTNeo) -> None:
    """Refuse a model that is not what its weights say.

    Raises:
        PatchingError: Hooks or edits are in force.
    """
    if model.is_edited:
        raise PatchingError(
            "the model has hooks or edits in force, which a patching walk would not see; take them "
            "off (model.reset_hooks(), leave the `with model.edits(...)`)"
        )
