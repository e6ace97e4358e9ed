"""What is watched: units of a site, or directions in it; and what each does to the logits."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from neoscope.analysis.numbers import as_array
from neoscope.errors import AnalysisError, SiteError
from neoscope.indices import listed, whole
from neoscope.sites import SiteRef, resolve, short_name, switched_off, unknown_site

if TYPE_CHECKING:
    from neoscope.model import HookedGPTNeo

_WRITES = frozenset(
    ("embed", "pos_embed", "resid_pre", "attn_out", "resid_mid", "mlp_out", "resid_post")
)
"""Sites whose vectors are in the residual stream's own basis."""
_UNITS_AT_ONCE = 256


@dataclass(frozen=True)
class Watched:
    """Units or directions at one site."""

    ref: SiteRef
    labels: tuple[str, ...]
    """What each is called: ``17``, for heads ``2.5``, or ``direction 0``."""
    numbers: tuple[int, ...]
    """Of units their place at the site, of directions in the stack."""
    index: Int[Tensor, " unit"] | None
    """Which of the site's numbers; None for all of them, or for directions."""
    directions: Float[Tensor, "unit width"] | None
    """In float32; None for units."""

    def values(self, rows: Float[Tensor, "token width"]) -> Float[Tensor, "token unit"]:
        """Return each unit's activation at each token: a coordinate, or an inner product."""
        if self.directions is not None:
            return rows.float() @ self.directions.T
        return (rows if self.index is None else rows[:, self.index]).float()


def watched(
    model: HookedGPTNeo, site: str | None, layer: Any, unit: Any, direction: Any
) -> Watched:
    """Return what is meant by a site and its units or directions.

    Args:
        model: The model.
        site: None for ``post``, or for ``resid_post`` where a direction is given.
        layer: Of the site, from the front or (negative) from the back.
        unit: One number or several, heads times their width counted through; None for all.
        direction: [width] or [directions, width], as it is: no length is taken away.

    Raises:
        SiteError: No such site or layer, or it is switched off.
        AnalysisError: No such unit, or a direction of another width, or both were given.
    """
    if unit is not None and direction is not None:
        raise AnalysisError("give unit= or direction=, not both")
    name = site if site is not None else "post" if direction is None else "resid_post"
    ref = _ref(model, name, layer)
    width = ref.numel(model.config, 1, 1)
    if direction is not None:
        return _of_directions(model, ref, width, direction)
    numbers = (
        list(range(width)) if unit is None else [_unit(one, ref, width) for one in listed(unit)]
    )
    if not numbers:
        raise AnalysisError("unit is empty: name at least one")
    if len(set(numbers)) < len(numbers):
        raise AnalysisError(f"unit={unit!r} names a unit twice")
    d_head = model.config.d_head
    by_head = "head" in ref.kind.axes
    labels = tuple(f"{i // d_head}.{i % d_head}" if by_head else str(i) for i in numbers)
    index = None if unit is None else torch.tensor(numbers, device=model.device)
    return Watched(ref, labels, tuple(numbers), index, None)


def _ref(model: HookedGPTNeo, name: str, layer: Any) -> SiteRef:
    config = model.config
    if layer is None and "." not in name:
        short = short_name(name.removeprefix("hook_"))
        if short is None:
            raise unknown_site(name)
        if short not in ("embed", "pos_embed") and not short.startswith("ln_final"):
            raise SiteError(
                f"site {name!r} is in every layer; say which: layer= is 0 to {config.n_layers - 1}"
            )
    ref = resolve(config, name, layer)
    if ref.kind.switch is not None and ref.kind.switch not in model._switches_on():
        raise switched_off(ref)
    if "pos" not in ref.kind.axes or "one" in ref.kind.axes:
        raise AnalysisError(
            f"site {name!r} has axes {', '.join(ref.kind.axes)}: it has no units at each token; "
            "try 'post', 'pre', 'z', 'resid_post' or 'mlp_out'"
        )
    return ref


def _unit(one: Any, ref: SiteRef, width: int) -> int:
    number = whole(one)
    if number is None or not -width <= number < width:
        raise AnalysisError(
            f"unit {one!r} does not exist; {ref.name} has units 0 to {width - 1} (or -{width} to "
            "-1)"
        )
    return number % width


def _of_directions(model: HookedGPTNeo, ref: SiteRef, width: int, direction: Any) -> Watched:
    try:
        given = torch.as_tensor(as_array(direction, "it")).to(torch.float32)
    except (AnalysisError, TypeError, ValueError, RuntimeError) as error:
        raise AnalysisError(f"cannot read the direction: {error}") from error
    rows = given[None] if given.ndim == 1 else given
    if rows.ndim != 2 or rows.shape[1] != width or not len(rows):
        raise AnalysisError(
            f"the direction has shape {tuple(given.shape)}; {ref.name} has vectors of {width}: "
            f"expected [{width}] or [directions, {width}]"
        )
    for fault, bad in (
        ("is 0 everywhere", ~rows.any(1)),
        ("is not finite", ~rows.isfinite().all(1)),
    ):
        if bad.any():
            raise AnalysisError(f"direction {int(bad.nonzero()[0])} {fault}")
    labels = tuple(f"direction {i}" for i in range(len(rows)))
    return Watched(ref, labels, tuple(range(len(rows))), None, rows.to(model.device))


def writes(model: HookedGPTNeo, what: Watched) -> Float[Tensor, "unit d_model"] | None:
    """Return what one unit of activation adds to the residual stream, float32; None where nothing.

    Neurons write their row of ``W_out``, a head's coordinate its row of ``W_O``; at sites of the
    stream itself a unit is a basis vector and a direction is written as it is.
    """
    short, layer = what.ref.kind.short, what.ref.layer
    if short in ("pre", "post"):
        assert layer is not None
        matrix = model.blocks[layer].mlp.W_out
    elif short == "z":
        assert layer is not None
        matrix = model.blocks[layer].attn.W_O.flatten(0, 1)
    elif short in _WRITES:
        matrix = torch.eye(model.config.d_model, device=model.device)
    else:
        return None
    rows: Tensor = matrix.detach().float()
    if what.directions is not None:
        return what.directions @ rows
    return rows if what.index is None else rows[what.index]


def logit_effects(
    model: HookedGPTNeo, written: Float[Tensor, "unit d_model"], n: int
) -> tuple[Int[Tensor, "end unit n"], Float[Tensor, "end unit n"]]:
    """Return the tokens that each vector raises and lowers most, and by how much.

    ``(v - mean v) * gain`` against the unembedding with its mean over the vocabulary taken away:
    logits for each unit of activation, before the final LayerNorm divides by its scale.

    Args:
        model: The model.
        written: What is added to the stream.
        n: How many tokens.

    Returns:
        Token ids and effects; raised tokens first, then lowered ones.
    """
    rows = model.unembed.rows.detach().float()
    gain = model.ln_final.w.detach().float()
    read = (written - written.mean(1, keepdim=True)) * gain
    mean = rows.mean(0)
    ids, effects = [], []
    for part in read.split(_UNITS_AT_ONCE):
        logits = part @ rows.T - (part @ mean)[:, None]
        found = [_largest(logits, n), _largest(-logits, n)]
        ids.append(torch.stack([found[0][1], found[1][1]]))
        effects.append(torch.stack([found[0][0], -found[1][0]]))
    return torch.cat(ids, dim=1), torch.cat(effects, dim=1)


def _largest(x: Tensor, n: int) -> tuple[Tensor, Tensor]:
    """Return the largest of each row, equal ones in the order of their ids."""
    values, ids = x.topk(n, dim=1)
    first = ids.argsort(dim=1)
    values, ids = values.gather(1, first), ids.gather(1, first)
    order = values.argsort(dim=1, descending=True, stable=True)
    return values.gather(1, order), ids.gather(1, order)
