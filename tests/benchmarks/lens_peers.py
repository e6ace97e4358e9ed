"""TransformerLens's logit lens on our model, and tuned-lens's training loop on transformers'."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from transformer_lens.tools.analysis.logit_lens import logit_lens
from transformers import GPTNeoForCausalLM

_K = 10


def by_layer(cache: Any) -> tuple[Tensor, Tensor]:
    """Top tokens' log-probabilities and KL, with one layer's log-probabilities at a time.

    What a user of TransformerLens does who must not run out of memory: its function gives top
    tokens or all log-probabilities, never KL, and one call for everything takes gigabytes.
    """
    n = cache.model.cfg.n_layers + 1
    final = _log_probs(cache, [n - 1])[0]
    weight = final.exp()
    found = [
        _read(final if i == n - 1 else _log_probs(cache, [i])[0], final, weight) for i in range(n)
    ]
    top, kl = zip(*found, strict=True)
    return torch.stack(top), torch.stack(kl)


def at_once(cache: Any) -> tuple[Tensor, Tensor]:
    """The same with one call for all layers."""
    every = _log_probs(cache, None)
    weight = every[-1].exp()
    top, kl = zip(*(_read(layer, every[-1], weight) for layer in every), strict=True)
    return torch.stack(top), torch.stack(kl)


def _log_probs(cache: Any, layers: Sequence[int] | None) -> Tensor:
    return logit_lens(cache, layers=layers, positions=None, return_type="log_probs").values


def _read(layer: Tensor, final: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
    return layer.topk(_K).values, (weight * (final - layer)).sum(-1)


class Loop:
    """The loss loop of tuned-lens 0.2.0 (``scripts/train_loop.py``), written after it.

    Its training script needs torchdata and simple_parsing, which nothing else here does, so the
    loop is written anew. One step is its body: hidden states from transformers, one layer after
    another through its translator, KL, and autograd; then clipping and SGD. It runs under bfloat16
    autocast there.
    """

    def __init__(self, model: GPTNeoForCausalLM, *, half: bool) -> None:
        """Make the translators, all zero.

        Args:
            model: Frozen, as the package's copies of its norm and unembedding are.
            half: Under autocast, as the package does.
        """
        self.model, self.half = model.requires_grad_(False), half
        d = model.config.hidden_size
        with torch.inference_mode(False):
            self.translators = nn.ModuleList(
                nn.Linear(d, d) for _ in range(model.config.num_layers)
            )
            for weight in self.translators.parameters():
                nn.init.zeros_(weight)
            self.optimizer = torch.optim.SGD(
                self.translators.parameters(), 0.1, 0.9, weight_decay=1e-3, nesterov=True
            )

    def __call__(self, ids: Tensor) -> list[float]:
        """Take one step and return each layer's loss."""
        with torch.inference_mode(False), torch.enable_grad():
            return self._step(ids.clone())

    def _step(self, ids: Tensor) -> list[float]:
        with torch.no_grad():
            output = self.model(ids, output_hidden_states=True)
        labels = output.logits.float().log_softmax(-1)
        losses = []
        for translator, h in zip(self.translators, output.hidden_states[:-1], strict=True):
            with torch.autocast("cpu", torch.bfloat16, enabled=self.half):
                hidden = self.model.transformer.ln_f(h + translator(h))
                logits = self.model.lm_head(hidden)
                loss = torch.sum(labels.exp() * (labels - logits.log_softmax(-1)), -1).mean()
            losses.append(loss.item())
            loss.backward()
        nn.utils.clip_grad_norm_(self.translators.parameters(), 1.0)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=False)
        return losses
