"""What the interop tests share: one GPT-Neo, loaded by us and by TransformerLens, and an oracle."""

from __future__ import annotations

import contextlib
import functools
import logging
import tempfile
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from transformer_lens.model_bridge import TransformerBridge
from transformers import AutoTokenizer, GPTNeoConfig, GPTNeoForCausalLM

from neoscope import HookedGPTNeo
from neoscope.organism.compiled import write_induction

N_LAYERS, N_HEADS, N_POS = 3, 2, 6
Writer = tuple[str, int, int]
Writers = dict[Writer, Tensor]
Read = Callable[[str, int, int, Writers], Tensor]


@dataclass(frozen=True)
class Pair:
    """One random GPT-Neo twice, two rows of clean and corrupted tokens, and a metric."""

    folder: str
    ours: HookedGPTNeo
    bridge: Any
    clean: Tensor
    corrupted: Tensor
    answer: int
    wrong: int
    """The metric is the last position's logit of ``answer`` less that of ``wrong``."""

    def metric(self, logits: Tensor) -> Tensor:
        """The mean logit difference; its gap between clean and corrupted is the widest there is."""
        return self.by_row(logits).mean()

    def by_row(self, logits: Tensor) -> Tensor:
        """The logit difference of each row."""
        return logits[:, -1, self.answer] - logits[:, -1, self.wrong]


@functools.cache
def pair() -> Pair:
    """Return the pair; whoever changes a model works on ``fresh()`` or ``fresh_bridge()``."""
    folder = tempfile.mkdtemp()
    write_induction(f"{folder}/tokenizer")
    AutoTokenizer.from_pretrained(f"{folder}/tokenizer").save_pretrained(folder)
    config = GPTNeoConfig(
        hidden_size=16,
        num_layers=N_LAYERS,
        num_heads=N_HEADS,
        attention_types=[[["global", "local", "global"], 1]],
        intermediate_size=24,
        vocab_size=16,
        max_position_embeddings=32,
        window_size=4,
        initializer_range=0.25,
        bos_token_id=0,
        eos_token_id=0,
    )
    with torch.random.fork_rng(devices=[]), quiet(), torch.no_grad():
        torch.manual_seed(0)
        model = GPTNeoForCausalLM(config)
        for parameter in model.parameters():
            if parameter.ndim == 1:  # No bias is zero and no gain is one: none can be forgotten.
                parameter += 0.3 * torch.randn_like(parameter)
        model.save_pretrained(folder)
        clean = torch.randint(1, 16, (2, N_POS))
        corrupted = clean.clone()
        corrupted[:, 2] = (clean[:, 2] + 6) % 15 + 1
        ours = HookedGPTNeo.from_pretrained(folder)
        gap = (ours(clean) - ours(corrupted))[:, -1].mean(0)
    return Pair(
        folder, ours, _bridge(folder), clean, corrupted, int(gap.argmax()), int(gap.argmin())
    )


def fresh() -> HookedGPTNeo:
    """Return our model, freshly loaded."""
    return HookedGPTNeo.from_pretrained(pair().folder)


def fresh_bridge() -> Any:
    """Return TransformerLens's model, freshly loaded."""
    return _bridge(pair().folder)


def _bridge(folder: str) -> Any:
    with quiet():
        bridge = TransformerBridge.boot_transformers(
            folder,
            hf_model=GPTNeoForCausalLM.from_pretrained(folder, attn_implementation="eager"),
            tokenizer=AutoTokenizer.from_pretrained(folder),
            device="cpu",
        )
    # It adds a beginning-of-text token to every text; GPT-Neo was trained without.
    bridge.cfg.default_prepend_bos = False
    return bridge.eval()


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Let the libraries under comparison warn and log as they like."""
    logging.disable(logging.CRITICAL)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(logging.NOTSET)


def gap(x: Tensor, y: Tensor) -> float:
    """The largest absolute difference of two tensors of one shape."""
    assert x.shape == y.shape, f"{tuple(x.shape)} and {tuple(y.shape)}"
    return float((x - y).detach().abs().max())


def whole(kind: str, layer: int, head: int, writers: Writers) -> Tensor:
    """What everyone reads in an ordinary run: the sum of all that was written."""
    return torch.stack(list(writers.values())).sum(0)


def plain(
    model: HookedGPTNeo,
    tokens: Tensor,
    read: Read = whole,
    pattern: Callable[[int, int, Tensor], Tensor] = lambda layer, head, x: x,
) -> tuple[Tensor, Writers]:
    """Run GPT-Neo written as a sum over writers that every reader may form differently.

    It shares nothing with neoscope but the weights. Writers are ``("embed", -1, -1)``,
    ``("head", layer, head)``, ``("mlp", layer, -1)`` and the constant ``pos_embed`` and ``b_O``;
    ``read`` is asked for what ``q``, ``k``, ``v``, ``mlp`` and ``logits`` see before their norm.
    """
    w, c = model.tl_parameters(), model.config
    n = tokens.shape[1]
    distance = torch.arange(n)[:, None] - torch.arange(n)

    def norm(x: Tensor, name: str) -> Tensor:
        return F.layer_norm(x, (c.d_model,), w[f"{name}.w"], w[f"{name}.b"], c.ln_eps)

    embed = w["embed.W_E"][tokens]
    writers = {
        ("embed", -1, -1): embed,
        ("pos_embed", -1, -1): w["pos_embed.W_pos"][:n].expand_as(embed),
    }
    for layer in range(c.n_layers):
        block = f"blocks.{layer}"
        hidden = (distance < 0) | (distance >= (c.window(layer) or n))
        written: Writers = {("b_O", layer, -1): w[f"{block}.attn.b_O"].expand_as(embed)}
        for head in range(c.n_heads):
            q, k, v = (
                norm(read(kind, layer, head, writers), f"{block}.ln1")
                @ w[f"{block}.attn.W_{kind.upper()}"][head]
                for kind in "qkv"
            )
            attention = (q @ k.mT).masked_fill(hidden, float("-inf")).softmax(-1)
            z = pattern(layer, head, attention) @ v
            written["head", layer, head] = z @ w[f"{block}.attn.W_O"][head]
        writers |= written
        seen = norm(read("mlp", layer, -1, writers), f"{block}.ln2")
        post = F.gelu(seen @ w[f"{block}.mlp.W_in"] + w[f"{block}.mlp.b_in"], approximate="tanh")
        writers["mlp", layer, -1] = post @ w[f"{block}.mlp.W_out"] + w[f"{block}.mlp.b_out"]
    last = read("logits", c.n_layers - 1, -1, writers)
    return norm(last, "ln_final") @ w["unembed.W_U"], writers
