"""Sources made of other prompts' values: means, noise, and draws from the batch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from neoscope.errors import PatchingError
from neoscope.patching.engine.base import Base
from neoscope.patching.engine.cells import SQUARE
from neoscope.patching.prompts.pairs import Prompts, read_prompts
from neoscope.patching.sources.source import Source
from neoscope.patching.sources.values import (
    Kept,
    Means,
    Noised,
    Recorded,
    Values,
    run_kept,
)
from neoscope.sites import resolve

if TYPE_CHECKING:
    from neoscope.model import HookedGPTNeo

_BATCH_TOKENS = 2048


@dataclass(frozen=True, eq=False)
class Mean(Source):
    """The mean over reference texts and their positions, or position by position.

    Wang et al. 2022 average over texts of the task in which the names are drawn anew.
    """

    texts: Any = None
    """Texts, tokens, ids; None: the base prompts themselves."""
    by_position: bool = False
    """Over texts alone; they must be as long as the prompts."""
    label: str = "mean"
    _mean: Mapping[str, Tensor] = field(default_factory=dict, repr=False)

    def prepare(self, model: HookedGPTNeo, prompts: Prompts, direction: str, kept: Kept) -> Source:
        """Average, batch by batch.

        Raises:
            PatchingError: ``by_position`` with texts of other lengths than the prompts, or a mean
                over positions of what has two axes of them.
        """
        square = sorted({site for site, _ in kept if site in SQUARE})
        if square and not self.by_position:
            raise PatchingError(
                f"source='mean': {square[0]!r} has queries and keys, over which a mean says nothing"
                "; give Mean(texts, by_position=True), with texts as long as the prompts"
            )
        ids, mask = prompts.base(direction), prompts.mask
        if self.texts is not None:
            theirs = read_prompts(model, self.texts)
            ids, mask = theirs.clean, theirs.mask
        columns = prompts.n_columns
        if self.by_position and not (bool(mask.all()) and mask.shape[1] == columns):
            raise PatchingError(
                "source: a mean by position needs reference texts that are all as long as the "
                f"prompts, {columns} tokens"
            )
        total: dict[str, Tensor] = {}
        step = max(1, _BATCH_TOKENS // ids.shape[1])
        for first in range(0, len(ids), step):
            some = slice(first, first + step)
            cache = run_kept(model, ids[some], mask[some], kept)
            real = mask[some].to(model.device)
            for name in {resolve(model.config, *at).name for at in kept}:
                x = cache[name].double()
                if not self.by_position:
                    x = torch.where(real.view(*real.shape, *[1] * (x.ndim - 2)), x, 0.0)
                summed = x.sum(0, keepdim=True) if self.by_position else x.sum((0, 1), keepdim=True)
                total[name] = total.get(name, 0.0) + summed
        count = len(ids) if self.by_position else int(mask.sum())
        return replace(self, _mean={name: x / count for name, x in total.items()})

    def bind(self, base: Base, prompts: Prompts, rows: slice, direction: str, kept: Kept) -> Values:
        """Hand out the means."""
        names = {at: resolve(base.config, *at).name for at in kept}
        mean = self._mean
        if self.by_position:
            n = base.n_columns
            mean = {
                names[at]: mean[names[at]][:, :, :n, :n]
                if at[0] in SQUARE
                else mean[names[at]][:, :n]
                for at in kept
            }
        return Means(mean, names)


@dataclass(frozen=True, eq=False)
class Noise(Source):
    """The base run's own values plus Gaussian noise."""

    scale: float = 3.0
    """In standard deviations of the site's entries over all tokens, each about its own mean."""
    seed: int = 0
    label: str = "noise"
    _sigma: Mapping[tuple[str, int | None], float] = field(default_factory=dict, repr=False)
    _seeds: tuple[int, ...] = ()

    def prepare(self, model: HookedGPTNeo, prompts: Prompts, direction: str, kept: Kept) -> Source:
        """Measure the spread of each site, and give each pair its own draw.

        Raises:
            PatchingError: Attention patterns or scores, of which noise would make none.
        """
        square = sorted({site for site, _ in kept if site in SQUARE})
        if square:
            raise PatchingError(
                f"source='noise': {square[0]!r} would be no attention any more; add noise to 'q' "
                "or 'k', or give 'resample'"
            )
        ids, mask = prompts.base(direction), prompts.mask
        sums: dict[tuple[str, int | None], list[Tensor | float]] = {}
        step = max(1, _BATCH_TOKENS // ids.shape[1])
        for first in range(0, len(ids), step):
            some = slice(first, first + step)
            cache = run_kept(model, ids[some], mask[some], kept)
            for at in kept:
                x = cache[resolve(model.config, *at).name][mask[some].to(model.device)].double()
                old = sums.get(at, [0.0, 0.0])
                sums[at] = [old[0] + x.sum(0), old[1] + (x * x).sum(0)]
        n = int(mask.sum())
        sigma = {
            at: float((torch.as_tensor(s2) / n - (torch.as_tensor(s) / n) ** 2).mean().sqrt())
            for at, (s, s2) in sums.items()
        }
        generator = torch.Generator().manual_seed(self.seed)
        seeds = torch.randint(2**62, (len(ids),), generator=generator).tolist()
        return replace(self, _sigma=sigma, _seeds=tuple(seeds))

    def bind(self, base: Base, prompts: Prompts, rows: slice, direction: str, kept: Kept) -> Values:
        """Hand out the draws."""
        return Noised(self.scale, self._sigma, self._seeds[rows], base.mask)


@dataclass(frozen=True, eq=False)
class Resample(Source):
    """What stood there in another of the base prompts, drawn once for each pair."""

    seed: int = 0
    label: str = "resample"
    _ids: Tensor | None = None

    def prepare(self, model: HookedGPTNeo, prompts: Prompts, direction: str, kept: Kept) -> Source:
        """Draw.

        Raises:
            PatchingError: Fewer than two prompts, or prompts of different lengths.
        """
        ids = prompts.base(direction)
        if len(ids) < 2 or not bool(prompts.mask.all()):
            raise PatchingError(
                "source='resample' draws among prompts of one length, and needs two or more; found "
                f"{len(ids)} of {sorted(set(prompts.lengths))} tokens"
            )
        order = torch.randperm(len(ids), generator=torch.Generator().manual_seed(self.seed))
        drawn = torch.empty_like(order)
        drawn[order] = order.roll(1)
        return replace(self, _ids=ids[drawn])

    def bind(self, base: Base, prompts: Prompts, rows: slice, direction: str, kept: Kept) -> Values:
        """Run the drawn prompts."""
        assert self._ids is not None
        ids = self._ids[rows, : base.n_columns]
        differs = ids != prompts.base(direction)[:, : base.n_columns]
        return Recorded(run_kept(base.model, ids, base.mask, kept), differs.to(base.device))
