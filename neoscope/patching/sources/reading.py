"""Sources: what a patch puts in the place of what it takes away."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from neoscope.cache import ActivationCache
from neoscope.errors import PatchingError, nearest
from neoscope.patching.engine.base import Base
from neoscope.patching.prompts.pairs import Prompts, read_prompts
from neoscope.patching.sources.source import Source
from neoscope.patching.sources.statistics import Mean, Noise, Resample
from neoscope.patching.sources.values import (
    Aligned,
    Constant,
    InSubspace,
    Kept,
    Recorded,
    Values,
    run_kept,
)
from neoscope.tokens import Tokens
from neoscope.visibility import Visibility

if TYPE_CHECKING:
    from neoscope.model import HookedGPTNeo


class OtherPrompt(Source):
    """The run of the pair's other prompt."""

    label = "other prompt"

    def bind(self, base: Base, prompts: Prompts, rows: slice, direction: str, kept: Kept) -> Values:
        """Run it."""
        ids = prompts.donor(direction)
        if ids is None:
            raise PatchingError(
                "there is no corrupted prompt to take values from; give one, or a source= such as "
                "'zero', 'mean' or a tensor"
            )
        last = ("resid_post", base.config.n_layers - 1)  # for the baseline
        cache = run_kept(base.model, ids, base.mask, [*kept, last])
        return Recorded(cache, prompts.differs.to(base.device))


@dataclass(frozen=True, eq=False)
class OtherRun(Source):
    """The run of other texts, one for each pair or one for all, as long as the prompts."""

    texts: Any
    """Texts, tokens, ids, or a cache of their run."""
    label: str = "other run"
    _mask: Tensor | None = None

    def prepare(self, model: HookedGPTNeo, prompts: Prompts, direction: str, kept: Kept) -> Source:
        """Read the texts.

        Raises:
            PatchingError: Their number or lengths differ from the prompts'.
        """
        if isinstance(self.texts, ActivationCache):
            n = len(next(iter(self.texts.values()))) if self.texts.has_batch_dim else 1
            if n not in (1, len(prompts)):
                raise PatchingError(
                    f"source: the cache holds {n} texts, and there are {len(prompts)} pairs; give "
                    "one text for each pair, or one for all"
                )
            return replace(self, _mask=prompts.mask)
        theirs = read_prompts(model, self.texts)
        one = len(theirs) == 1 and set(theirs.lengths) == set(prompts.lengths)
        if not one and theirs.lengths != prompts.lengths:
            raise PatchingError(
                f"source: {len(theirs)} texts of {list(theirs.lengths)} tokens for {len(prompts)} "
                f"pairs of {list(prompts.lengths)}; give one text for each pair (or one for all), "
                "as long as its prompt"
            )
        return replace(self, texts=theirs.clean.expand(len(prompts), -1))

    def bind(self, base: Base, prompts: Prompts, rows: slice, direction: str, kept: Kept) -> Values:
        """Run them, or take them from the cache."""
        if not isinstance(self.texts, ActivationCache):
            ids = self.texts[rows, : base.n_columns]
            return Recorded(run_kept(base.model, ids, base.mask, kept))
        cache = self.texts
        first = next(iter(cache.values()))
        if cache.has_batch_dim and len(first) > 1:
            cache = cache.rows(list(range(rows.start, rows.stop)))
        assert self._mask is not None
        mask = self._mask[rows].to(base.device)
        visibility = Visibility(len(mask), mask.shape[1], base.device, mask=mask)
        return Aligned(cache, visibility)


@dataclass(frozen=True, eq=False)
class Fixed(Source):
    """One value: a number, a vector along the site's last axis, or a tensor shaped as the site."""

    value: Tensor | float = 0.0
    label: str = "zero"
    _whole: tuple[int, int] = (0, 0)

    def prepare(self, model: HookedGPTNeo, prompts: Prompts, direction: str, kept: Kept) -> Source:
        """Check it.

        Raises:
            PatchingError: It holds NaN.
        """
        if bool(torch.isnan(torch.as_tensor(self.value)).any()):
            raise PatchingError("source: the given values hold NaN")
        return replace(self, _whole=(len(prompts), prompts.n_columns))

    def bind(self, base: Base, prompts: Prompts, rows: slice, direction: str, kept: Kept) -> Values:
        """Hold it ready."""
        return Constant(self.value, rows, self._whole)


@dataclass(frozen=True, eq=False)
class Subspace(Source):
    """Another source's values inside a subspace, the base run's own outside it."""

    source: Source
    basis: Tensor
    """[d] or [d, k]: directions along the site's last axis; they are orthonormalised."""

    def __post_init__(self) -> None:
        """Orthonormalise.

        Raises:
            PatchingError: The directions are not finite, or linearly dependent.
        """
        columns = self.basis[:, None] if self.basis.ndim == 1 else self.basis
        if columns.ndim != 2 or not bool(torch.isfinite(columns).all()):
            raise PatchingError(
                f"subspace: expected finite directions [d] or [d, k]; found {tuple(columns.shape)}"
            )
        q, r = torch.linalg.qr(columns.detach().double().cpu())
        diagonal = r.diagonal().abs()
        if columns.shape[1] > len(columns) or bool((diagonal <= 1e-10 * diagonal.max()).any()):
            raise PatchingError("subspace: the directions are zero or linearly dependent")
        object.__setattr__(self, "basis", q)
        object.__setattr__(self, "label", f"{self.source.label}, {q.shape[1]}-d subspace")

    def prepare(self, model: HookedGPTNeo, prompts: Prompts, direction: str, kept: Kept) -> Source:
        """Prepare the source."""
        return replace(self, source=self.source.prepare(model, prompts, direction, kept))

    def bind(self, base: Base, prompts: Prompts, rows: slice, direction: str, kept: Kept) -> Values:
        """Hold the source's values ready."""
        return InSubspace(self.source.bind(base, prompts, rows, direction, kept), self.basis)


_NAMED = ("zero", "mean", "noise", "resample")


def read_source(source: Any, seed: int = 0) -> Source:
    """Return the source that an argument means.

    Args:
        source: None for the pair's other prompt; "zero", "mean", "noise" or "resample"; a Source;
            a tensor (a vector along the last axis, or all of the site); a cache; or texts.
        seed: For noise and resampling.

    Raises:
        PatchingError: It means none of these.
    """
    if source is None:
        return OtherPrompt()
    if isinstance(source, Source):
        return source
    if isinstance(source, Tensor) and source.is_floating_point():
        return Fixed(source, label="given values")
    if isinstance(source, str) and source in _NAMED:
        made: dict[str, Source] = {
            "zero": Fixed(),
            "mean": Mean(),
            "noise": Noise(seed=seed),
            "resample": Resample(seed=seed),
        }
        return made[source]
    if isinstance(source, ActivationCache | Tensor | list | tuple | Tokens):
        return OtherRun(source)
    hint = nearest(str(source), _NAMED)
    raise PatchingError(
        f"source={source!r} is not understood{hint}; give None (the pair's other prompt), "
        f"{', '.join(map(repr, _NAMED))}, a tensor, a cache, or a list of texts"
    )
