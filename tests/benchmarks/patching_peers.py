"""TransformerLens's activation patching and edge attribution, on its bridge or on our model."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any
from unittest import mock

import numpy as np
import torch
from torch import Tensor
from transformer_lens import patching
from transformer_lens.tools.analysis import EdgeAttributionConfig, attribution_patch
from transformer_lens.tools.analysis import attribution_patching as parts

from neoscope import HookedGPTNeo
from neoscope.patching.circuits.graph import Graph

_STREAM = ("layer", "pos"), patching.layer_pos_patch_setter
_HEAD = ("layer", "head"), patching.layer_head_vector_patch_setter
_HEAD_POS = ("layer", "pos", "head"), patching.layer_pos_head_vector_patch_setter
_PATTERN = ("layer", "head_index"), patching.layer_head_pattern_patch_setter


@dataclass(frozen=True, eq=False)
class Prompts:
    """Pairs of prompts, and for each the answer between which and a wrong one they tell most."""

    clean: Tensor
    corrupted: Tensor
    answer: Tensor
    wrong: Tensor

    @classmethod
    def make(
        cls, model: HookedGPTNeo, n_pairs: int, n_tokens: int, differing: Sequence[int]
    ) -> Prompts:
        """Draw tokens, and others at the differing positions."""
        generator = torch.Generator().manual_seed(0)
        vocab = model.config.d_vocab
        clean = torch.randint(vocab, (n_pairs, n_tokens), generator=generator)
        corrupted = clean.clone()
        shift = torch.randint(1, vocab, (n_pairs, len(differing)), generator=generator)
        corrupted[:, differing] = (clean[:, differing] + shift) % vocab
        clean, corrupted = clean.to(model.device), corrupted.to(model.device)
        with torch.no_grad():
            gap = (model(clean) - model(corrupted))[:, -1]
        return cls(clean, corrupted, gap.argmax(-1), gap.argmin(-1))

    @property
    def differs(self) -> list[np.ndarray[Any, np.dtype[np.bool_]]]:
        """For each pair where its prompts differ."""
        return list((self.clean != self.corrupted).cpu().numpy())

    def metric(self, logits: Tensor) -> Tensor:
        """The logit difference of each pair."""
        rows = torch.arange(len(logits), device=logits.device)
        return logits[rows, -1, self.answer] - logits[rows, -1, self.wrong]


@dataclass(frozen=True, eq=False)
class Sweep:
    """One sweep by TransformerLens; the clean run is cached beforehand, which costs it nothing."""

    model: Any
    prompts: Prompts
    site: str
    each_position: bool
    stride: int = 1
    """Run every so manieth cell only; it has no factor in common with an axis that runs fast."""

    @property
    def kind(self) -> tuple[tuple[str, ...], Callable[..., Tensor]]:
        """Axes, and the function that patches a cell."""
        if self.site == "pattern":
            return _PATTERN
        if self.site == "resid_pre":
            return _STREAM
        return _HEAD_POS if self.each_position else _HEAD

    @functools.cached_property
    def cells(self) -> Any:
        """One row a cell that is run."""
        c = self.model.cfg
        sizes = {"layer": c.n_layers, "pos": self.prompts.clean.shape[1]}
        axes = self.kind[0]
        lengths = [sizes.get(axis, c.n_heads) for axis in axes]
        return patching.make_df_from_ranges(lengths, axes)

    @property
    def fold(self) -> float:
        """How many times as many cells there are as are run."""
        return len(self.cells) / len(self.cells.iloc[:: self.stride])

    @functools.cached_property
    def cache(self) -> Any:
        """The clean run."""
        with torch.no_grad():
            return self.model.run_with_cache(self.prompts.clean)[1]

    def __call__(self) -> Tensor:
        """Return the metric in the patched runs, [cells that are run, pairs]."""
        with mock.patch.object(patching, "tqdm", lambda cells: cells):
            found = patching.generic_activation_patch(
                self.model,
                self.prompts.corrupted,
                self.cache,
                self.prompts.metric,
                self.kind[1],
                self.site,
                index_df=self.cells.iloc[:: self.stride].reset_index(drop=True),
                reduce="none",
            )
        return found.values

    def corrupted(self) -> Tensor:
        """The metric in the unpatched runs, [pairs]."""
        found: Tensor = self.prompts.metric(self.model(self.prompts.corrupted))
        return found

    def same_cells(self, patched: Tensor) -> Tensor:
        """Of ours, [pairs, layer, head or pos, pos], those that are run, [cells, pairs]."""
        if self.kind is _HEAD_POS:
            patched = patched.transpose(2, 3)
        return patched.flatten(1).T[:: self.stride]


@dataclass(frozen=True, eq=False)
class Edges:
    """Edge attribution of one pair by TransformerLens on our model, which its bridge cannot do."""

    model: HookedGPTNeo
    prompts: Prompts
    steps: int

    def metric(self, logits: Tensor) -> Tensor:
        """The logit difference."""
        return self.prompts.metric(logits).mean()

    def repeated(self) -> dict[Any, float]:
        """Its function with as many backward passes: it knows one step, and takes pairs singly."""
        config = EdgeAttributionConfig(granularity="edge")
        clean, corrupted = (
            x.expand(self.steps, -1) for x in (self.prompts.clean, self.prompts.corrupted)
        )
        with torch.inference_mode(False), torch.enable_grad():
            found = attribution_patch(self.model, clean, corrupted, self._one, config)
        return found.edge_scores

    def _one(self, logits: Tensor) -> Tensor:
        difference = logits[0, -1, self.prompts.answer] - logits[0, -1, self.prompts.wrong]
        return difference.squeeze()

    def integrated(self) -> dict[Any, float]:
        """EAP-IG put together from the same function's parts: gradients averaged, edges once."""
        names = parts._edge_hook_names(self.model.config.n_layers)
        keep = functools.partial(
            parts.cache_activation_and_gradient,
            self.model,
            metric_fn=self._one,
            names_filter=names,
        )
        with (
            torch.inference_mode(False),
            torch.enable_grad(),
            parts._edge_hook_flags(self.model),
        ):
            clean = keep(self.prompts.clean, compute_gradient=False)
            base = keep(self.prompts.corrupted)
            begin, end = (run.activations["hook_embed"] for run in (base, clean))
            total = {name: grad.clone() for name, grad in base.gradients.items()}
            for step in range(1, self.steps):
                embedded = torch.lerp(begin, end, step / self.steps)

                def put(x: Tensor, *, hook: Any, embedded: Tensor = embedded) -> Tensor:
                    return embedded + 0 * x

                with self.model.hooks(fwd_hooks=[("hook_embed", put)]):
                    for name, grad in keep(self.prompts.corrupted).gradients.items():
                        total[name] += grad
            mean = {name: grad / self.steps for name, grad in total.items()}
            averaged = dataclasses.replace(base, gradients=mean)
            edges = parts.enumerate_edges(self.model, base)
            return parts._edge_effects(clean, averaged, edges)

    def matrix(self, scores: dict[Any, float]) -> Tensor:
        """Its scores summed over positions, [senders, receivers] of our graph; 0 for no edge."""
        graph = Graph.of(self.model.config)
        senders = {name: i for i, name in enumerate(graph.senders)}
        receivers = {name: i for i, name in enumerate(graph.receivers)}
        out = np.zeros((len(senders), len(receivers)))
        for (sender, receiver), score in scores.items():
            out[senders[_name(sender)], receivers[_name(receiver)]] += score
        return torch.from_numpy(out)


def _name(node: Any) -> str:
    """Our name of a node of TransformerLens's graph."""
    if node.kind in ("embed", "logits"):
        return str(node.kind)
    if node.kind in ("mlp_out", "mlp_in"):
        return f"m{node.layer}"
    inputs = "" if node.kind == "attn_head_out" else f"<{node.kind[0]}>"
    return f"a{node.layer}.h{node.head}{inputs}"
