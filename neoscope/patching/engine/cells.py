"""Cell: one change of one site, made in every pair; and which sites there are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from jaxtyping import Int
from torch import Tensor

from neoscope.config import NeoConfig
from neoscope.errors import SiteError, nearest
from neoscope.sites import check_layer, short_name

SITES: Mapping[str, str] = {
    "embed": "the token embeddings",
    "resid_pre": "the residual stream before a block",
    "resid_mid": "the residual stream between attention and MLP",
    "resid_post": "the residual stream after a block",
    "attn_out": "what attention writes",
    "mlp_out": "what the MLP writes",
    "z": "a head's weighted values",
    "result": "a head's output",
    "q": "queries",
    "k": "keys",
    "v": "values",
    "attn_scores": "attention scores",
    "pattern": "attention probabilities",
    "pre": "neurons before the activation",
    "post": "neurons after the activation",
}
"""What can be patched."""
BY_HEAD = frozenset({"z", "result", "q", "k", "v", "attn_scores", "pattern"})
SQUARE = frozenset({"attn_scores", "pattern"})
WINDOWED = frozenset({"attn_out", "mlp_out", "resid_pre", "resid_mid", "resid_post"})
"""Sites that one cell may change in several layers at once."""
_BEFORE_ATTENTION = ("resid_pre", "q", "k", "v")


def knows_one_token(site: str, layer: int | None) -> bool:
    """Whether what stands at a site hangs on its own token alone: before the first attention.

    Args:
        site: A short name.
        layer: None for ``embed``.
    """
    return site == "embed" or (layer == 0 and site in _BEFORE_ATTENTION)


def last_axis(site: str, config: NeoConfig) -> int:
    """Return the size of a site's last axis, which is not one of positions.

    Args:
        site: A short name.
        config: The model's shape.
    """
    if site in ("pre", "post"):
        return config.n_neurons
    return config.d_head if site in BY_HEAD - {"result"} else config.d_model


@dataclass(frozen=True, eq=False)
class Cell:
    """One change: the named part of a site takes another value, in every pair of prompts.

    Columns count the left-padded batch; ``Prompts.columns`` makes them from positions.
    """

    site: str
    """A short name of :data:`SITES`."""
    layer: int | tuple[int, ...] | None = None
    """One layer; several for a window of them; None for ``embed``."""
    head: int | None = None
    """None: all heads at once."""
    columns: Int[Tensor, "pairs n"] | None = None
    """Positions (queries, for patterns and scores); -1 where a pair has none. None: all."""
    unit: int | None = None
    """Index of the site's last axis, such as a neuron; None: all of it."""
    keys: Int[Tensor, "pairs m"] | None = None
    """Source positions, for patterns and scores; None: all."""

    @property
    def layers(self) -> tuple[int, ...]:
        """The layers that it changes; 0 for ``embed``, which stands before the first."""
        if self.layer is None:
            return (0,)
        return self.layer if isinstance(self.layer, tuple) else (self.layer,)


def read_site(name: str) -> str:
    """Return the short name of a site that can be patched.

    Raises:
        SiteError: It cannot; the message names the nearest that can.
    """
    short = short_name(name.removeprefix("hook_")) if isinstance(name, str) else None
    if short is None or short not in SITES:
        hint = nearest(str(name), SITES)
        raise SiteError(
            f"site={name!r} cannot be patched{hint}; those that can: {', '.join(SITES)}"
        )
    return short


def check_cells(cells: Sequence[Cell], config: NeoConfig) -> None:
    """Refuse cells that the model does not have.

    Raises:
        SiteError: A site, layer, head or unit does not exist.
    """
    for cell in cells:
        site = read_site(cell.site)
        if (cell.layer is None) != (site == "embed"):
            raise SiteError(f"{site!r}: layer={cell.layer!r}; every site but embed is in a layer")
        if isinstance(cell.layer, tuple) and len(cell.layer) > 1 and site not in WINDOWED:
            raise SiteError(f"{site!r} is changed in one layer at a time, not in {cell.layer}")
        for layer in cell.layers:
            check_layer(layer, config.n_layers, site)
        if cell.unit is not None and len(cell.layers) > 1:
            raise SiteError(
                f"{site!r}: unit={cell.unit} is changed in one layer at a time, not in {cell.layer}"
            )
        if cell.head is not None and site not in BY_HEAD:
            raise SiteError(f"head={cell.head}: site {site!r} is not by head")
        if cell.head is not None and not 0 <= cell.head < config.n_heads:
            raise SiteError(f"head={cell.head}: the model has heads 0 to {config.n_heads - 1}")
        if cell.keys is not None and site not in SQUARE:
            raise SiteError(f"keys are for {', '.join(sorted(SQUARE))}, not for {site!r}")
        if cell.unit is not None:
            if site in SQUARE:
                raise SiteError(f"unit={cell.unit}: the last axis of {site!r} is positions: keys")
            size = last_axis(site, config)
            if not 0 <= cell.unit < size:
                raise SiteError(f"unit={cell.unit}: the last axis of {site!r} has {size}")
