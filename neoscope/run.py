"""What one forward carries along: edits to make, tensors to record, and where to stop.

Nothing here is global: two runs of one model do not see each other's edits or records.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from torch import Tensor
from transformer_lens.hook_points import HookPoint

from neoscope.errors import EditError, SiteError
from neoscope.site_kinds import BY_SHORT
from neoscope.sites import SiteRef
from neoscope.visibility import Positions, Visibility

EditFunction = Callable[[Tensor, Visibility], Tensor]


class Site(HookPoint):
    """A hook point whose hooks may write in place without touching anything but their own site.

    TransformerLens's patching functions write in place; a tensor that a hook sees may be shared
    with a cache, with the residual stream or with its sisters q, k and v.
    """

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # transformer_lens

    def forward(self, x: Tensor) -> Tensor:
        """Return a copy: this is only called when a hook is there to see it."""
        return x.clone()

    @property
    def hooked(self) -> bool:
        """Whether any torch or TransformerLens hook sits here."""
        return bool(
            self._forward_hooks
            or self._backward_hooks
            or self._forward_pre_hooks
            or self._backward_pre_hooks
        )


class StopForward(Exception):  # noqa: N818  # control flow, not an error
    """Raised at the last site anyone wanted."""


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
            shape = [1] * x.ndim
            shape[0], shape[axis] = index.shape
            sizes = list(x.shape)
            sizes[axis] = index.shape[1]
            x = x.gather(axis, index.view(shape).expand(sizes))
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


@dataclass
class Run:
    """The state of one forward."""

    visibility: Visibility
    switches: frozenset[str] = frozenset()
    edits: Mapping[str, Sequence[EditFunction]] = field(default_factory=dict)
    recorder: Recorder | None = None
    last: str | None = field(default=None, init=False)
    """Full name of the site after which nobody wants anything; None runs to the end."""

    def __post_init__(self) -> None:
        """Note whether sites have anything to do beyond torch hooks."""
        self._busy = bool(self.edits) or self.recorder is not None

    def stop_after(self, site: str | None) -> None:
        """End the forward once the named site was passed; None: run to the end."""
        self.last = site
        self._busy = self._busy or site is not None

    def writes(self, site: Site) -> bool:
        """Whether what flows on from the site may differ from what came, or carries a gradient."""
        if site.hooked or site.name in self.edits:
            return True
        recorder = self.recorder
        return recorder is not None and recorder.keep_graph and site.name in recorder.wanted

    def looks(self, *sites: Site) -> bool:
        """Whether anyone hooks, edits, records or stops at one of the sites."""
        return any(
            site.hooked
            or (self._busy and (site.name in self.edits or site.name == self.last))
            or (self.recorder is not None and site.name in self.recorder.wanted)
            for site in sites
        )

    def require(self, site: Site, switch: str) -> None:
        """Refuse a site that someone looks at while its switch is off.

        Raises:
            SiteError: Says how to switch it on.
        """
        if switch not in self.switches:
            raise SiteError(
                f"site {site.name!r} is switched off; call model.set_{switch}(True) first"
            )

    def tap(self, site: Site, x: Tensor) -> Tensor:
        """Pass ``x`` through a site: hooks first, then edits in order, then the record.

        Raises:
            EditError: A hook or an edit returned another shape, or no tensor.
        """
        if site.hooked:
            x = self._checked(site, x, site(x), "hook")
        if not self._busy:
            return x
        name = str(site.name)
        edits = self.edits.get(name, ())
        for edit in edits:
            x = self._checked(site, x, edit(x, self.visibility), "edit")
        if self.recorder is not None:
            if edits or site.hooked:
                # What a hook or an edit gave may be the caller's own tensor, and be written later.
                x = x.clone()
            x = self.recorder.see(name, x, self.visibility)
        if name == self.last:
            raise StopForward
        return x

    @staticmethod
    def _checked(site: Site, before: Tensor, after: object, what: str) -> Tensor:
        if not isinstance(after, Tensor):
            raise EditError(
                f"the {what} at {site.name!r} returned {type(after).__name__}, no tensor"
            )
        if after.shape != before.shape:
            raise EditError(
                f"the {what} at {site.name!r} returned shape {tuple(after.shape)}; the site holds "
                f"{tuple(before.shape)}"
            )
        return after


def linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """Return ``F.linear(x, weight, bias)``, by whichever library is fast for so many rows.

    On a CPU, MKL's float32 product takes two to three times as long as oneDNN's for 4 to 31 rows,
    which is a short prompt; for fewer and for more rows it is the faster one.
    """
    if (
        4 <= x.numel() // x.shape[-1] < 32
        and x.dtype == torch.float32
        and x.device.type == "cpu"
        and not torch.is_grad_enabled()
        and has_onednn()
    ):
        out: Tensor = torch.ops.mkldnn._linear_pointwise(x, weight, bias, "none", [], "")
        return out
    return F.linear(x, weight, bias)


def has_onednn() -> bool:
    """Whether oneDNN's own kernels can be called."""
    return bool(torch.backends.mkldnn.is_available() and torch.backends.mkldnn.enabled)


def compact(x: Tensor) -> Tensor:
    """Return ``x`` with repeated axes cut to length one; ``.expand(x.shape)`` brings them back."""
    return x[tuple(slice(0, 1) if step == 0 else slice(None) for step in x.stride())]


def switch_names() -> frozenset[str]:
    """Names of all ``cfg`` switches that bring optional sites into being."""
    return frozenset(kind.switch for kind in BY_SHORT.values() if kind.switch is not None)
