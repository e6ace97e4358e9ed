"""A GPT-Neo in plain numpy: one text, no padding, float64, every intermediate named as it comes.

Written from the architecture alone (Black et al. 2021; ``modeling_gpt_neo.py``) and sharing no code
with what it judges: weights come in, and a function that may change what stands at a site.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

import neoscope as ns

Array = npt.NDArray[Any]
Change = Callable[[str, Array], Array]
"""From a site's full name and what stands there (no batch axis) to what shall stand there."""
Tap = Callable[..., Array]

_erf = np.vectorize(math.erf, otypes=[np.float64])
ACTIVATIONS: dict[str, Callable[[Array], Array]] = {
    "gelu_new": lambda x: 0.5 * x * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3))),
    "gelu": lambda x: 0.5 * x * (1 + _erf(x / math.sqrt(2))),
    "relu": lambda x: np.maximum(x, 0),
    "silu": lambda x: x / (1 + np.exp(-x)),
}


class PlainGPTNeo:
    """The weights of a model as float64 arrays, and a forward that is read off the paper."""

    def __init__(self, model: ns.HookedGPTNeo) -> None:
        self.config, self.on = model.config, model.cfg
        self.weights = {
            name: value.detach().double().numpy() for name, value in model.named_parameters()
        }

    def run(self, ids: list[int], change: Change | None = None) -> tuple[Array, dict[str, Array]]:
        """Return logits [pos, d_vocab] and what stood at every site, without a batch axis."""
        sites: dict[str, Array] = {}

        def tap(name: str, x: Array, guard: Callable[[Array], Array] | None = None) -> Array:
            x = x if change is None else change(name, x)
            sites[name] = x if guard is None else guard(x)
            return sites[name]

        x = tap("hook_embed", self.weights["embed.W_E"][ids])
        x = x + tap("hook_pos_embed", self.weights["pos_embed.W_pos"][: len(ids)])
        for layer in range(self.config.n_layers):
            x = self._block(x, layer, tap)
        x = self._norm(x, "ln_final", tap)
        unembed = self.weights.get("unembed.weight", self.weights["embed.W_E"])
        return x @ unembed.T, sites

    def _block(self, x: Array, layer: int, tap: Tap) -> Array:
        at = f"blocks.{layer}."
        x = tap(f"{at}hook_resid_pre", x)
        x = x + tap(f"{at}hook_attn_out", self._attention(x, layer, tap))
        x = tap(f"{at}hook_resid_mid", x)
        mlp_in = tap(f"{at}hook_mlp_in", x) if self.on.use_hook_mlp_in else x
        pre = self._linear(self._norm(mlp_in, f"{at}ln2", tap), f"{at}mlp.", "in")
        pre = tap(f"{at}mlp.hook_pre", pre)
        post = tap(f"{at}mlp.hook_post", ACTIVATIONS[self.config.act_fn](pre))
        x = x + tap(f"{at}hook_mlp_out", self._linear(post, f"{at}mlp.", "out"))
        return tap(f"{at}hook_resid_post", x)

    def _attention(self, x: Array, layer: int, tap: Tap) -> Array:
        at, heads = f"blocks.{layer}.attn.", self.config.n_heads
        q, k, v = (part.swapaxes(0, 1) for part in self._qkv(x, layer, tap))
        distance = np.arange(len(x))[:, None] - np.arange(len(x))
        window = self.config.window_size if self.config.kinds[layer] == "local" else len(x)
        hidden = (distance < 0) | (distance >= window)

        def masked(scores: Array) -> Array:
            return np.where(hidden, -np.inf, scores)

        # GPT-Neo does not divide the scores by the root of d_head.
        scores = tap(f"{at}hook_attn_scores", masked(q @ k.swapaxes(1, 2)), masked)
        shares = np.exp(scores - scores.max(-1, keepdims=True))
        pattern = tap(f"{at}hook_pattern", shares / shares.sum(-1, keepdims=True))
        z = tap(f"{at}hook_z", (pattern @ v).swapaxes(0, 1))
        weight, bias = self.weights[f"{at}weight_o"], self.weights[f"{at}b_O"]
        if not self.on.use_attn_result:
            return z.reshape(len(x), -1) @ weight.T + bias
        by_head = weight.T.reshape(heads, -1, len(bias))
        result = tap(f"{at}hook_result", np.einsum("phe,hed->phd", z, by_head))
        return result.sum(1) + bias

    def _qkv(self, x: Array, layer: int, tap: Tap) -> list[Array]:
        """Queries, keys and values [pos, head, d_head]."""
        at, heads = f"blocks.{layer}.", self.config.n_heads
        weights = np.split(self.weights[f"{at}attn.weight_qkv"], 3)
        if self.on.use_attn_in or self.on.use_split_qkv_input:
            split = np.repeat(x[:, None], heads, axis=1)
            if self.on.use_attn_in:
                split = tap(f"{at}hook_attn_in", split)
            parts = []
            for name, weight in zip("qkv", weights, strict=True):
                given = split
                if self.on.use_split_qkv_input:
                    given = tap(f"{at}attn.hook_{name}_input", split)
                normed = self._norm(given, f"{at}ln1", None)
                by_head = weight.reshape(heads, -1, weight.shape[1])
                parts.append(np.einsum("phd,hed->phe", normed, by_head))
        else:
            normed = self._norm(x, f"{at}ln1", tap)
            parts = [(normed @ weight.T).reshape(len(x), heads, -1) for weight in weights]
        return [tap(f"{at}attn.hook_{name}", part) for name, part in zip("qkv", parts, strict=True)]

    def _norm(self, x: Array, name: str, tap: Tap | None) -> Array:
        centred = x - x.mean(-1, keepdims=True)
        scale = np.sqrt((centred**2).mean(-1, keepdims=True) + self.config.ln_eps)
        scale = scale if tap is None else tap(f"{name}.hook_scale", scale)
        normed = centred / scale
        normed = normed if tap is None else tap(f"{name}.hook_normalized", normed)
        return normed * self.weights[f"{name}.w"] + self.weights[f"{name}.b"]

    def _linear(self, x: Array, at: str, name: str) -> Array:
        out: Array = x @ self.weights[f"{at}weight_{name}"].T + self.weights[f"{at}b_{name}"]
        return out
