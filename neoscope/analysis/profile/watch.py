"""Attention by distance while a model runs: each layer's pattern is measured, and let go."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from neoscope.analysis.head.ratios import ColumnRatios
from neoscope.analysis.head.texts import Batch
from neoscope.analysis.profile.result import band_starts
from neoscope.corpus import cached_sites
from neoscope.sites import SiteRef
from neoscope.visibility import Visibility

if TYPE_CHECKING:
    from neoscope.model import HookedGPTNeo


def _exact(x: Tensor) -> torch.dtype:
    """The widest number format that a device adds in."""
    return torch.float32 if x.device.type == "mps" else torch.float64


def diagonals(
    pattern: Float[Tensor, "text query key"],
) -> Float[Tensor, "text distance"]:
    """Return the sum over queries of what goes to the key exactly so far back.

    Args:
        pattern: Of one head; rows of padding are 0.
    """
    texts, n, _ = pattern.shape
    wide = torch.cat([torch.zeros_like(pattern), pattern], dim=2).contiguous()
    # Row i begins one column further right than the row before, so that diagonals are columns.
    skewed = wide.as_strided((texts, n, n), (2 * n * n, 2 * n + 1, 1), 1)
    return skewed.sum(1, dtype=_exact(pattern)).flip(1)


class DistanceWatch:
    """Measures each layer's pattern as it passes, and lets it go."""

    keep_graph = False

    def __init__(self, model: HookedGPTNeo) -> None:
        """Begin with nothing.

        Args:
            model: Whose patterns.
        """
        self.wanted: dict[str, SiteRef] = {
            ref.name: ref for ref in cached_sites(model, ["pattern"], None)
        }
        self._config = model.config
        self.distances, self.bands, self.first = ColumnRatios(), ColumnRatios(), {}  # type: ignore[var-annotated]
        self.n_texts = self.n_tokens = self.longest = 0
        self._found: dict[int, tuple[Tensor, Tensor]] = {}
        self._lengths = torch.zeros(0, dtype=torch.long)

    def begin(self, batch: Batch) -> None:
        """Start a batch; what an interrupted one left is dropped."""
        self._lengths, self._found = batch.mask.sum(1), {}

    def see(self, name: str, x: Tensor, visibility: Visibility) -> Tensor:
        """Measure a pattern."""
        ref = self.wanted.get(name)
        if ref is None or ref.layer is None:
            return x
        position = torch.arange(x.shape[-1], device=x.device)
        lengths = self._lengths.to(x.device)
        counts = (position[None] > 0) & (position[None] < lengths[:, None])
        heads, first = [], []
        for one in x.detach().float().unbind(1):  # head by head: a copy is as large as a pattern
            asked = torch.where(counts[:, :, None], one, 0.0)
            heads.append(diagonals(asked))
            window = self._config.window(ref.layer) or x.shape[-1]
            first.append(asked[:, :window, 0].sum(1, dtype=_exact(asked)))
        self._found[ref.layer] = (
            torch.stack(heads, 1).cpu().double(),
            torch.stack(first, 1).cpu().double(),
        )
        return x

    def end(self) -> None:
        """Add the batch to the sums."""
        lengths = self._lengths.numpy()[:, None]
        longest = int(lengths.max())
        layers = sorted(self._found)
        by = torch.cat([self._found[layer][0] for layer in layers], 1).numpy()[:, :, :longest]
        far = np.arange(longest)
        # A query at distance d from its key has position d or more, and at least 1.
        self.distances.add(by, np.clip(lengths - np.maximum(far, 1), 0, None).astype(float))
        queries = np.clip(lengths - 1, 0, None).astype(float)
        # Of every text, however short: it has queries that might have looked so far back.
        starts = band_starts(self._config.n_ctx)
        known = [start for start in starts if start < longest]
        banded = np.zeros((*by.shape[:2], len(starts)))
        banded[:, :, : len(known)] = np.add.reduceat(by, known, axis=2)
        self.bands.add(banded, queries.repeat(len(starts), 1))
        for layer in layers:
            window = self._config.window(layer)
            seeing = queries if window is None else np.minimum(queries, window - 1)
            ratios = self.first.setdefault(layer, ColumnRatios())
            ratios.add(self._found[layer][1].numpy()[:, :, None], seeing)
        self.n_texts += len(lengths)
        self.n_tokens += int(lengths.sum())
        self.longest = max(self.longest, longest)
