"""What one forward carries along: edits to make, tensors to record, and where to stop.

Nothing here is global: two runs of one model do not see each other's edits or records.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

from torch import Tensor
from transformer_lens.hook_points import HookPoint

from neoscope.errors import EditError, SiteError
from neoscope.site_kinds import BY_SHORT
from neoscope.sites import SiteRef
from neoscope.visibility import Visibility

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


@runtime_checkable
class Watcher(Protocol):
    """What looks at the tensors that a run passes: a :class:`Recorder`, or what pools them."""

    @property
    def wanted(self) -> Mapping[str, SiteRef]:
        """The sites it looks at, by full name."""

    @property
    def keep_graph(self) -> bool:
        """Whether gradients flow into what it keeps."""

    def see(self, name: str, x: Tensor, visibility: Visibility) -> Tensor:
        """Look at ``x`` if ``name`` is wanted; return what flows on."""


class StopForward(Exception):  # noqa: N818  # control flow, not an error
    """Raised at the last site anyone wanted."""


@dataclass
class Run:
    """The state of one forward."""

    visibility: Visibility
    switches: frozenset[str] = frozenset()
    edits: Mapping[str, Sequence[EditFunction]] = field(default_factory=dict)
    recorder: Watcher | None = None
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

    def tap(self, site: Site, x: Tensor, guard: Callable[[Tensor], Tensor] | None = None) -> Tensor:
        """Pass ``x`` through a site: hooks first, then edits in order, then the record.

        Args:
            site: The site.
            x: What comes.
            guard: Applied to what a hook or an edit gave, before it is recorded and flows on.

        Raises:
            EditError: A hook or an edit returned another shape, or no tensor.
        """
        name = str(site.name)
        edits = self.edits.get(name, ()) if self._busy else ()
        if site.hooked:
            x = self._checked(site, x, site(x), "hook")
        for edit in edits:
            x = self._checked(site, x, edit(x, self.visibility), "edit")
        if guard is not None and (edits or site.hooked):
            x = guard(x)
        if not self._busy:
            return x
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


def switch_names() -> frozenset[str]:
    """Names of all ``cfg`` switches that bring optional sites into being."""
    return frozenset(kind.switch for kind in BY_SHORT.values() if kind.switch is not None)
