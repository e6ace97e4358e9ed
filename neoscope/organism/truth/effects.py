"""Exact activation patching by TransformerLens's own functions: one whole forward for each cell.

Slow and plain on purpose: whatever finds the same effects faster is judged by these.

Reference: TransformerLens's ``transformer_lens.patching`` (Nanda and Bloom 2022).
"""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray

from neoscope.errors import ArgumentError

if TYPE_CHECKING:
    from neoscope.model import HookedGPTNeo
    from neoscope.organism.compiled.truth import PromptPairs

Direction = Literal["denoise", "noise"]
"""Clean into corrupted, or corrupted into clean."""
SITES = ("z", "resid_pre", "resid_post", "attn_out", "mlp_out")
"""What can be patched."""


def logit_diffs(logits: torch.Tensor, prompts: PromptPairs) -> torch.Tensor:
    """Return the answer's logit minus the wrong answer's at the last position, ``[pair]``.

    Args:
        logits: ``[pair, pos, vocab]``.
        prompts: The answers and foils.
    """
    rows = torch.arange(len(logits), device=logits.device)
    last = logits[:, -1]
    return last[rows, prompts.answer.to(rows.device)] - last[rows, prompts.wrong.to(rows.device)]


class Patching:
    """The clean and the corrupted run of one model, and every way to patch between the two.

    Results are logit differences of patched runs, float64 with ``pair`` as their last axis;
    ``Bootstrap.effect`` makes effects of them.
    """

    def __init__(
        self,
        model: HookedGPTNeo,
        prompts: PromptPairs,
        *,
        tick: Callable[[], None] = lambda: None,
    ) -> None:
        """Run both.

        Args:
            model: Any model.
            prompts: Pairs of one length.
            tick: Called after each patched forward.

        Raises:
            ArgumentError: The two sides differ in shape.
        """
        if prompts.clean.shape != prompts.corrupted.shape:
            raise ArgumentError(
                f"clean prompts are {tuple(prompts.clean.shape)} and corrupted ones "
                f"{tuple(prompts.corrupted.shape)}; expected one shape"
            )
        self._model, self._prompts, self._tick = model, prompts, tick
        self._tokens = {"denoise": prompts.corrupted, "noise": prompts.clean}
        self._donors: dict[str, Any] = {}
        found = []
        with torch.inference_mode():
            for direction, tokens in (("denoise", prompts.clean), ("noise", prompts.corrupted)):
                logits, self._donors[direction] = model.run_with_cache(tokens, sites=SITES)
                found.append(_array(logit_diffs(logits, prompts)))
        self.clean, self.corrupted = found

    @property
    def n_layers(self) -> int:
        """Layers of the model."""
        return self._model.config.n_layers

    def heads(self, direction: Direction = "denoise") -> NDArray[np.float64]:
        """Patch one head's ``z`` at all positions: ``[layer, head, pair]``."""
        from transformer_lens import patching

        with self._quiet():
            # Its annotations promise a tensor; with reduce="none" it is a result with rows.
            found: Any = patching.get_act_patch_attn_head_out_all_pos(
                *self._arguments(direction), reduce="none"
            )
        return _array(found.values)

    def layers(
        self, site: Literal["attn_out", "mlp_out"], direction: Direction = "denoise"
    ) -> NDArray[np.float64]:
        """Patch a layer's whole attention or MLP output at all positions: ``[layer, pair]``."""
        cells = [(layer,) for layer in range(self.n_layers)]
        return self._sweep(site, ("layer",), cells, _everything, direction)

    def positions(self, site: str, layers: Sequence[int] | None = None) -> NDArray[np.float64]:
        """Denoise one position of one layer: ``[layer, pos, pair]``.

        Args:
            site: ``"resid_pre"``, ``"resid_post"``, ``"attn_out"`` or ``"mlp_out"``.
            layers: Default all.
        """
        from transformer_lens import patching

        layers = range(self.n_layers) if layers is None else layers
        n_pos = self._prompts.clean.shape[1]
        cells = list(itertools.product(layers, range(n_pos)))
        setter = patching.layer_pos_patch_setter
        found = self._sweep(site, ("layer", "pos"), cells, setter, "denoise")
        return found.reshape(len(layers), n_pos, -1)

    def stream(self, positions: Sequence[int]) -> NDArray[np.float64]:
        """Denoise the residual stream at some positions together: ``[depth, pair]``.

        Depth ``i`` is the stream before layer ``i``; the last depth is after the last layer.
        """
        at = list(positions)

        def setter(found: torch.Tensor, index: object, clean: torch.Tensor) -> torch.Tensor:
            found = found.clone()
            found[:, at] = clean[:, at]
            return found

        before = [(layer,) for layer in range(self.n_layers)]
        return np.concatenate(
            [
                self._sweep("resid_pre", ("layer",), before, setter, "denoise"),
                self._sweep("resid_post", ("layer",), before[-1:], setter, "denoise"),
            ]
        )

    def _sweep(
        self,
        site: str,
        axes: Sequence[str],
        cells: Sequence[tuple[int, ...]],
        setter: Callable[..., torch.Tensor],
        direction: Direction,
    ) -> NDArray[np.float64]:
        import pandas as pd
        from transformer_lens import patching

        with self._quiet():
            found = patching.generic_activation_patch(
                *self._arguments(direction),
                patch_setter=setter,
                activation_name=site,
                index_df=pd.DataFrame(cells, columns=list(axes)),
                reduce="none",
            )
        return _array(found.values)

    def _arguments(self, direction: Direction) -> tuple[Any, Any, Any, Callable[..., torch.Tensor]]:
        def metric(logits: torch.Tensor) -> torch.Tensor:
            return logit_diffs(logits, self._prompts)

        return self._model, self._tokens[direction], self._donors[direction], metric

    @contextlib.contextmanager
    def _quiet(self) -> Iterator[None]:
        """Tick in place of TransformerLens's progress bars, which nothing else turns off."""
        from transformer_lens import patching

        module: Any = patching

        def each(cells: Iterable[Any]) -> Iterator[Any]:
            for cell in cells:
                yield cell
                self._tick()

        bar = module.tqdm
        module.tqdm = each
        try:
            with torch.inference_mode():
                yield
        finally:
            module.tqdm = bar


def _everything(found: torch.Tensor, index: object, clean: torch.Tensor) -> torch.Tensor:
    return clean.clone()


def _array(values: torch.Tensor) -> NDArray[np.float64]:
    return values.double().cpu().numpy()
