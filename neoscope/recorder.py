"""Recorder: keeps what a run passes at the wanted sites."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor

from neoscope.errors import EditError, SiteError
from neoscope.indices import Positions
from neoscope.sites import SiteRef
from neoscope.visibility import Visibility, along


@dataclass
class Recorder:
    """Keeps what it sees at the wanted sites.

    A kept tensor is never written to again: whoever may write (a hook, an edit) writes into a copy.
    """

    wanted: Mapping[str, SiteRef]
    positions: Positions = None
    """Positions of each text (padding does not count), on the pos or query axis."""
    columns: slice | list[int] | None = None
    """TransformerLens's ``pos_slice``: columns of the batch, padding counted."""
    device: torch.device | None = None
    dtype: torch.dtype | None = None
    keep_graph: bool = False
    """Keep tensors attached, so that gradients can be asked for."""
    tensors: dict[str, Tensor] = field(default_factory=dict)
    live: dict[str, Tensor] = field(default_factory=dict)
    _previous: tuple[Tensor, Tensor] | None = None
    _visibility: Visibility | None = None

    def __post_init__(self) -> None:
        """Refuse two ways of saying which positions.

        Raises:
            SiteError: Both were given.
        """
        if self.positions is not None and self.columns is not None:
            raise SiteError("give either positions or pos_slice, not both")

    def see(self, name: str, x: Tensor, visibility: Visibility) -> Tensor:
        """Keep ``x`` if ``name`` is wanted; return what flows on."""
        ref = self.wanted.get(name)
        if ref is None:
            return x
        self._visibility = visibility
        # One block's resid_post is the next one's resid_pre: keep it once.
        shared = self._previous is not None and self._previous[0] is x
        if self.keep_graph:
            # A node of the site's own: resid_mid and mlp_in are one tensor with two gradients, and
            # a residual stream that was given to start from belongs to the caller.
            x = x.view_as(x) if x.requires_grad else x.detach().requires_grad_(True)
            self.live[name] = x
        if shared and self._previous is not None:
            kept = self._previous[1]
        else:
            kept = self._select(ref, x.detach(), visibility)
        self.tensors[name] = kept
        self._previous = (x, kept)
        return x

    def add_gradients(self, loss: object) -> None:
        """Record the gradient of a scalar loss at every live site, as ``name + "_grad"``.

        Raises:
            EditError: The loss is no scalar.
        """
        if not isinstance(loss, Tensor) or loss.numel() != 1:
            raise EditError("incl_bwd=True needs a scalar to differentiate: use return_type='loss'")
        names = list(self.live)
        grads = torch.autograd.grad(
            loss, [self.live[name] for name in names], allow_unused=True, retain_graph=True
        )
        for name, grad in zip(names, grads, strict=True):
            if grad is not None:
                assert self._visibility is not None
                self.tensors[f"{name}_grad"] = self._select(
                    self.wanted[name], grad.detach(), self._visibility
                )
        self.live.clear()

    def _select(self, ref: SiteRef, x: Tensor, visibility: Visibility) -> Tensor:
        axis = 2 if "query" in ref.kind.axes else 1
        if self.columns is not None:
            self._check_columns(x.shape[axis])
            x = x[(slice(None),) * axis + (self.columns,)]
        index = visibility.columns(self.positions)
        if index is not None:
            x = x.gather(axis, along(index, x, axis))
        small = compact(x)
        kept = small.to(
            device=self.device or x.device,
            dtype=self.dtype or x.dtype,
            copy=not self._whole_storage(ref, small),
        )
        return kept.expand(x.shape)

    def _check_columns(self, n: int) -> None:
        missing = (
            [c for c in self.columns or () if not -n <= c < n]
            if isinstance(self.columns, list)
            else []
        )
        if missing:
            raise SiteError(f"pos_slice: column {missing[0]} does not exist; the batch has {n}")

    def _whole_storage(self, ref: SiteRef, x: Tensor) -> bool:
        """Whether keeping ``x`` keeps little else alive: q, k and v share one storage."""
        if ref.kind.short == "pos_embed":
            return False  # a view of the weights, which may be trained on
        held, needed = x.untyped_storage().nbytes(), x.numel() * x.element_size()
        if held <= needed:
            return True
        sisters = (ref.name[: -len(ref.kind.short)] + s for s in ("q", "k", "v"))
        return (
            ref.kind.short in ("q", "k", "v")
            and held <= 3 * needed
            and all(s in self.wanted for s in sisters)
        )


def compact(x: Tensor) -> Tensor:
    """Return ``x`` with repeated axes cut to length one; ``.expand(x.shape)`` brings them back."""
    return x[tuple(slice(0, 1) if step == 0 else slice(None) for step in x.stride())]
