"""What may be done at a site: edits are values passed to a run, never state left on the model.

An :class:`Edit` names a site, the part of it (heads, positions, keys, units) and what to do there.
``model.run_with_edits(x, [ablate("z", layer=2, head=1)])`` applies it to one run;
``with model.edits(...)`` to all runs inside the ``with``. Several edits of one site apply in order,
after any hooks there.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace as _replace
from typing import Any

import torch
from torch import Tensor

from neoscope.cache import ActivationCache
from neoscope.edit import Edit, Here
from neoscope.errors import EditError
from neoscope.indices import Index
from neoscope.sites import SiteRef

__all__ = [
    "Edit",
    "ablate",
    "add",
    "mean_ablate",
    "replace",
    "resample",
    "scale",
    "steer",
    "transform",
]


def _edit(
    label: str,
    site: str,
    layer: Index,
    change: Callable[[Here], Tensor],
    where: dict[str, Any],
    *,
    by_position: bool = False,
) -> Edit:
    unknown = set(where) - {"head", "positions", "keys", "unit"}
    if unknown:
        raise EditError(
            f"{label}({site!r}) does not take {', '.join(sorted(unknown))}; it takes site, layer, "
            "head, positions, keys and unit beside its own arguments"
        )
    return _replace(Edit(site, layer, change, label, by_position=by_position), **where)


def _plain(value: object) -> bool:
    """Whether it is a number or one vector, the same wherever it is put."""
    return value.ndim <= 1 if isinstance(value, Tensor) else isinstance(value, int | float)


def transform(
    site: str,
    layer: Index = None,
    function: Callable[[Tensor], Tensor] | None = None,
    **where: Any,
) -> Edit:
    """Replace the selected part ``x`` by ``function(x)``.

    Args:
        site: Short or full name.
        layer: One layer, several, or None for all.
        function: Takes and returns the site's tensor, selected axes cut down to what was selected.
            It gets a copy, in which it may write.
        where: ``head``, ``positions``, ``keys``, ``unit``; each an int, several, or None for all.
    """
    if function is None:
        raise EditError(f"transform({site!r}, layer={layer!r}) needs a function")
    return _edit("transform", site, layer, lambda here: function(here.part.clone()), where)


def replace(
    site: str,
    layer: Index = None,
    value: Tensor | ActivationCache | float | None = None,
    **where: Any,
) -> Edit:
    """Put ``value`` there: a number, a tensor, or the same site of a cache.

    Args:
        site: Short or full name.
        layer: One layer, several, or None for all.
        value: A tensor shaped as the whole site, as the selected part (with or without batch and
            single selected axes), or a vector along the last axis. From a cache, the same site,
            layer and part is taken, row by row (one row serves all) and token by token: -1 is
            the last token of the cached text and of the run's, on either side of padding.
        where: ``head``, ``positions``, ``keys``, ``unit``.

    Raises:
        EditError: There is no value; when it runs, that it fits nowhere.
    """
    if value is None:
        raise EditError(f"replace({site!r}, layer={layer!r}) needs a value")
    return _edit(
        "replace",
        site,
        layer,
        lambda here: here.fit(value, "replace"),
        where,
        by_position=_plain(value),
    )


def add(site: str, layer: Index = None, value: Tensor | float = 0.0, **where: Any) -> Edit:
    """Add ``value``, a number or a tensor as for :func:`replace`."""
    return _edit(
        "add",
        site,
        layer,
        lambda here: here.part + here.fit(value, "add"),
        where,
        by_position=_plain(value),
    )


def scale(site: str, layer: Index = None, factor: float = 1.0, **where: Any) -> Edit:
    """Multiply by ``factor``."""
    return _edit(
        "scale", site, layer, lambda here: here.part * factor, where, by_position=_plain(factor)
    )


def ablate(site: str, layer: Index = None, head: Index = None, **where: Any) -> Edit:
    """Put zero there.

    Example:
        >>> ablate("z", layer=2, head=1)
        ablate('z', layer=2, head=1)
    """
    where = where | {"head": head}
    return _edit(
        "ablate", site, layer, lambda here: torch.zeros_like(here.part), where, by_position=True
    )


def steer(
    site: str, layer: Index = None, vector: Tensor | None = None, scale: float = 1.0, **where: Any
) -> Edit:
    """Add ``scale * vector`` at every (or the given) position.

    Args:
        site: Usually ``"resid_post"``.
        layer: One layer, several, or None for all.
        vector: The direction, [d_model] (or as long as the site's last axis); it is not normalised.
        scale: How much of it.
        where: ``positions``, ``head``, ``unit``.

    Raises:
        EditError: There is no vector; when it runs, that it fits nowhere.
    """
    if vector is None:
        raise EditError(f"steer({site!r}, layer={layer!r}) needs a vector")
    step = torch.as_tensor(vector) * scale
    return _edit(
        "steer",
        site,
        layer,
        lambda here: here.part + here.fit(step, "steer"),
        where,
        by_position=_plain(step),
    )


def mean_ablate(
    site: str,
    layer: Index = None,
    head: Index = None,
    *,
    reference: ActivationCache | Tensor | None = None,
    **where: Any,
) -> Edit:
    """Put the mean over rows and real positions there.

    Args:
        site: Short or full name of a site with a position axis.
        layer: One layer, several, or None for all.
        head: One head, several, or None for all.
        reference: A cache to average; or a tensor, the mean itself; None averages the run's own
            rows and real positions.
        where: ``positions``, ``unit``.
    """

    def change(here: Here) -> Tensor:
        if isinstance(reference, Tensor):
            return here.fit(reference, "mean_ablate")
        if reference is None:
            mask = here.visibility.mask
            real = None if mask is None else mask[:, here.visibility.n_past :]
            mean = mean_over_tokens(here.whole, here.ref, real)
        else:
            mean = mean_over_tokens(
                _with_batch(reference, here), here.ref, _real(reference, here.ref)
            )
        return here.region.read(mean.expand_as(here.whole), here.visibility)

    return _edit("mean_ablate", site, layer, change, where | {"head": head})


def mean_over_tokens(x: Tensor, ref: SiteRef, real: Tensor | None) -> Tensor:
    """Mean over rows and real positions; both axes stay, of length one.

    Raises:
        EditError: The site has no position axis.
    """
    if "pos" not in ref.kind.axes:
        raise EditError(f"mean_ablate: site {ref.name!r} has no position axis to average over")
    # In float32: sums over a corpus pass what half precision can hold.
    if real is None:
        return x.float().mean(dim=(0, 1), keepdim=True).to(x.dtype)
    seen = real.to(x.device).view(*real.shape, *[1] * (x.ndim - 2))
    total = torch.where(seen, x.float(), 0.0).sum((0, 1), keepdim=True)
    return (total / real.sum()).to(x.dtype)


def _with_batch(reference: ActivationCache, here: Here) -> Tensor:
    """This site of a cache, where the run is, batch axis included."""
    found = reference[here.ref.name].to(here.whole.device, here.whole.dtype)
    return found if reference.has_batch_dim else found[None]


def _real(reference: ActivationCache, ref: SiteRef) -> Tensor | None:
    """Which columns of a cached site are tokens; None where all are.

    Raises:
        EditError: The cache was cut down to columns of which it cannot say that.
    """
    if reference.tokens is None or reference.positions is not None:
        return None
    mask, axis = reference.tokens.mask, 1 if reference.has_batch_dim else 0
    if bool(mask.all()):
        return None
    if mask.shape[1] != reference[ref.name].shape[axis]:
        raise EditError(
            f"mean_ablate at {ref.name!r}: the reference holds some columns of padded texts, of "
            "which nobody knows whether they are tokens; cache it with positions=, not pos_slice="
        )
    return mask


def resample(
    site: str,
    layer: Index = None,
    head: Index = None,
    *,
    reference: ActivationCache | None = None,
    seed: int = 0,
    **where: Any,
) -> Edit:
    """Put another row's values there (resampling ablation, Chan et al. 2022).

    Args:
        site: Short or full name.
        layer: One layer, several, or None for all.
        head: One head, several, or None for all.
        reference: A cache of equally long texts to draw rows from; None draws from the run's own
            batch, every row from one that is not itself.
        seed: Fixes the draw; layers and sites of one call draw the same rows.
        where: ``positions``, ``keys``, ``unit``.
    """

    def change(here: Here) -> Tensor:
        drawn = _other_rows(here, reference, seed)
        return here.region.read(drawn, here.visibility)

    return _edit("resample", site, layer, change, where | {"head": head})


def _other_rows(here: Here, reference: ActivationCache | None, seed: int) -> Tensor:
    x, ref = here.whole, here.ref
    generator = torch.Generator().manual_seed(seed)
    rows = x.shape[0]
    if reference is None:
        if rows < 2:
            raise EditError(
                f"resample at {ref.name!r} needs two rows or more, or a reference cache"
            )
        order = torch.randperm(rows, generator=generator)
        source = torch.empty_like(order)
        source[order] = order.roll(1)
        return x[source.to(x.device)]
    pool = _with_batch(reference, here)
    if pool.shape[1:] != x.shape[1:]:
        raise EditError(
            f"resample at {ref.name!r}: a row of the reference holds {tuple(pool.shape[1:])}, one "
            f"of the run {tuple(x.shape[1:])}; give texts of equal length"
        )
    return pool[torch.randint(len(pool), (rows,), generator=generator).to(x.device)]
