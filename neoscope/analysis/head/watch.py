"""Head scores while a model runs: each layer's pattern is measured as it passes, and let go."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from neoscope.analysis.head.kinds import Chosen
from neoscope.analysis.head.norms import norm_shares, value_norms
from neoscope.analysis.head.ratios import Ratios
from neoscope.analysis.head.targets import Look, Targets
from neoscope.config import NeoConfig
from neoscope.sites import SiteRef
from neoscope.visibility import Visibility


class Tally:
    """Sums of every score of every head, text by text."""

    def __init__(
        self, kinds: Chosen, layers: Sequence[int], config: NeoConfig, near: int | None
    ) -> None:
        """Begin with nothing.

        Args:
            kinds: Scores of patterns.
            layers: Which layers will be measured.
            config: Shape of the model.
            near: Distance from which local layers see nothing.
        """
        self.kinds, self.layers, self.config, self.near = kinds, tuple(layers), config, near
        units = len(self.layers) * config.n_heads
        self.moments = {kind.name: Ratios(units) for kind in kinds}
        self.n_texts = self.n_tokens = 0
        self.texts_of: dict[str, int] = {kind.name: 0 for kind in kinds}
        """Texts that have a query for a score, whether or not a head sees its key."""
        self._targets: Targets | None = None
        self._found: dict[int, list[tuple[Tensor, Tensor]]] = {}

    def begin(
        self,
        ids: Int[Tensor, "text pos"],
        mask: Bool[Tensor, "text pos"],
        device: torch.device | str,
    ) -> None:
        """Start a batch of texts; what an interrupted one left is dropped."""
        self._targets = Targets(ids, mask, self.near, device)
        self._found = {}

    def layer(
        self,
        layer: int,
        weights: Float[Tensor, "text head query key"],
        whole: Bool[Tensor, "text head query"] | None = None,
    ) -> None:
        """Measure one layer of the batch."""
        assert self._targets is not None
        window = self.config.window(layer)
        look = Look(weights, whole)
        self._found[layer] = [self._targets.measure(kind, look, window) for kind in self.kinds]

    def end(self) -> None:
        """Add the batch to the sums."""
        assert self._targets is not None
        for i, kind in enumerate(self.kinds):
            total, count = (
                torch.cat([self._found[layer][i][part].cpu() for layer in self.layers], dim=1)
                for part in (0, 1)
            )
            self.moments[kind.name].add(total, count)
        self.n_texts += self._targets.n_texts
        self.n_tokens += sum(self._targets.lengths)


class HeadWatch:
    """Looks at the patterns of a run, and at its values where norms weigh them."""

    keep_graph = False

    def __init__(
        self,
        tally: Tally,
        refs: Sequence[SiteRef],
        outputs: Mapping[int, Float[Tensor, "head d_head d_model"]] | None,
    ) -> None:
        """Watch what is asked for.

        Args:
            tally: Takes what is measured.
            refs: The patterns (and values) of its layers.
            outputs: ``W_O`` of each layer where norms weigh attention; None where they do not.
        """
        self.wanted = {ref.name: ref for ref in refs}
        self._tally, self._outputs = tally, outputs
        self._norms: Tensor | None = None

    def see(self, name: str, x: Tensor, visibility: Visibility) -> Tensor:
        """Measure a pattern, or note the norms of what its values write."""
        ref = self.wanted.get(name)
        if ref is None or ref.layer is None:
            return x
        if ref.kind.short == "v":
            assert self._outputs is not None
            self._norms = value_norms(x.detach(), self._outputs[ref.layer].detach())
            return x
        pattern = x.detach().float()
        if self._norms is None:
            self._tally.layer(ref.layer, pattern)
        else:
            self._tally.layer(ref.layer, *norm_shares(pattern, self._norms))
        return x
