"""GPT-Neo's attention: no scaling of the scores, global and sliding-window layers.

Reference: ``GPTNeoSelfAttention`` in ``transformers/models/gpt_neo/modeling_gpt_neo.py``.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from neoscope.config import NeoConfig
from neoscope.kv_cache import KVCache
from neoscope.layernorm import LayerNorm
from neoscope.linear import linear
from neoscope.run import Run, Site
from neoscope.visibility import Visibility

Stream = Float[Tensor, "batch pos d_model"]
Heads = Float[Tensor, "batch pos head d_head"]
ByHead = Float[Tensor, "batch head _ d_head"]


def fused_attention(
    q: ByHead, k: ByHead, v: ByHead, visibility: Visibility, window: int | None
) -> ByHead:
    """Attend without materialising the pattern; scores are float32 inside the kernel.

    A window much shorter than the text is walked in blocks of queries, each seeing only the keys
    that its window reaches, so that time and memory grow linearly with the text. Texts packed into
    one row know themselves how to attend.
    """
    own = visibility.attend(q, k, v, window, fused_attention)
    if own is not None:
        return own
    n_query, n_key, n_past = visibility.n_query, visibility.n_key, visibility.n_past
    if window is not None and window >= n_key:
        window = None
    block = n_query if window is None else max(window, 128)
    out = []
    for start in range(0, n_query, block):
        stop = min(start + block, n_query)
        first = 0 if window is None else _first_key(visibility, window, start)
        columns = (first, n_past + stop)
        causal = visibility.causal_only and window is None
        mask = None
        if not (causal and (n_query == 1 or n_past == 0)):
            mask = visibility.allowed(window, (start, stop), columns)
        out.append(
            F.scaled_dot_product_attention(
                q[:, :, start:stop],
                k[:, :, slice(*columns)],
                v[:, :, slice(*columns)],
                attn_mask=mask,
                is_causal=mask is None and n_query > 1,
                scale=1.0,
            )
        )
    return out[0] if len(out) == 1 else torch.cat(out, dim=2)


def _first_key(visibility: Visibility, window: int, start: int) -> int:
    """The first column that a block of queries can see; padding may push it further back."""
    if not visibility.causal_only:
        return 0
    return max(0, visibility.n_past + start - window + 1)


class Attention(nn.Module):
    """One attention layer.

    Weights lie as the matrix products want them, ``[out, in]``; ``W_Q``, ``W_K``, ``W_V`` and
    ``W_O`` are views of them in TransformerLens's layout.
    """

    def __init__(self, config: NeoConfig, layer: int) -> None:
        """Allocate weights (not yet filled) and sites."""
        super().__init__()
        self.layer, self.n_heads, self.d_head = layer, config.n_heads, config.d_head
        self.window = config.window(layer)
        d = config.d_model
        self.weight_qkv = nn.Parameter(torch.empty(3 * d, d))
        """[3 * d_model, d_model]: rows of q, then k, then v, each head by head."""
        self.weight_o = nn.Parameter(torch.empty(d, d))
        self.b_O = nn.Parameter(torch.empty(d))
        self._std = config.init_range
        self.hook_q_input, self.hook_k_input, self.hook_v_input = Site(), Site(), Site()
        self.hook_q, self.hook_k, self.hook_v = Site(), Site(), Site()
        self.hook_attn_scores, self.hook_pattern = Site(), Site()
        self.hook_z, self.hook_result = Site(), Site()

    def reset_parameters(self) -> None:
        """Draw the weights anew, as GPT-Neo's own initialisation does."""
        nn.init.normal_(self.weight_qkv, std=self._std)
        nn.init.normal_(self.weight_o, std=self._std)
        nn.init.zeros_(self.b_O)

    def _by_head(self, index: int) -> Float[Tensor, "head d_model d_head"]:
        rows: Tensor = self.weight_qkv.unflatten(0, (3, self.n_heads, self.d_head))[index]
        return rows.transpose(1, 2)

    @property
    def W_Q(self) -> Float[Tensor, "head d_model d_head"]:  # noqa: N802
        """Query weights."""
        return self._by_head(0)

    @property
    def W_K(self) -> Float[Tensor, "head d_model d_head"]:  # noqa: N802
        """Key weights."""
        return self._by_head(1)

    @property
    def W_V(self) -> Float[Tensor, "head d_model d_head"]:  # noqa: N802
        """Value weights."""
        return self._by_head(2)

    @property
    def W_O(self) -> Float[Tensor, "head d_head d_model"]:  # noqa: N802
        """Output weights."""
        by_head: Tensor = self.weight_o.T.unflatten(0, (self.n_heads, self.d_head))
        return by_head

    def forward(
        self, stream: Stream, attn_in: Site, ln1: LayerNorm, run: Run, past: KVCache | None
    ) -> Stream:
        """Read the residual stream (before its LayerNorm) and return the attention output."""
        q, k, v = self._project(stream, attn_in, ln1, run)
        q, k, v = run.tap(self.hook_q, q), run.tap(self.hook_k, k), run.tap(self.hook_v, v)
        query, key, value = (x.transpose(1, 2) for x in (q, k, v))
        if past is not None:
            key, value = past.append(self.layer, key, value)
        if run.looks(self.hook_attn_scores, self.hook_pattern):
            z = self._materialised(query, key, value, run)
        else:
            z = fused_attention(query, key, value, run.visibility, self.window)
        z = run.tap(self.hook_z, z.transpose(1, 2))
        if run.looks(self.hook_result):
            run.require(self.hook_result, "use_attn_result")
            result = torch.einsum("bphe,hed->bphd", z, self.W_O)
            return run.tap(self.hook_result, result).sum(2) + self.b_O
        return linear(z.flatten(2), self.weight_o, self.b_O)

    def _project(
        self, stream: Stream, attn_in: Site, ln1: LayerNorm, run: Run
    ) -> tuple[Tensor, Tensor, Tensor]:
        inputs = (self.hook_q_input, self.hook_k_input, self.hook_v_input)
        for site, switch in [
            (attn_in, "use_attn_in"),
            *((s, "use_split_qkv_input") for s in inputs),
        ]:
            if run.looks(site):
                run.require(site, switch)
        if not run.looks(attn_in, *inputs):
            qkv = linear(ln1(stream, run), self.weight_qkv)
            q, k, v = qkv.unflatten(-1, (3, self.n_heads, self.d_head)).unbind(2)
            return q, k, v
        split = stream[:, :, None].expand(-1, -1, self.n_heads, -1)
        if run.looks(attn_in):
            split = run.tap(attn_in, split)
        weights = (self.W_Q, self.W_K, self.W_V)
        q, k, v = (
            torch.einsum("bphd,hde->bphe", ln1(run.tap(site, split), run), weight)
            for site, weight in zip(inputs, weights, strict=True)
        )
        return q, k, v

    def _materialised(self, q: ByHead, k: ByHead, v: ByHead, run: Run) -> ByHead:
        """Attend through the scores and the pattern, both of them sites; scores are float32."""
        visibility = run.visibility
        scores = q.float() @ k.float().transpose(-1, -2)
        seen = visibility.allowed(self.window, (0, visibility.n_query), (0, visibility.n_key))

        def mask(scores: Tensor) -> Tensor:
            return scores.masked_fill(~seen, float("-inf"))

        scores = mask(scores) if torch.is_grad_enabled() else scores.masked_fill_(~seen, -torch.inf)
        # Whatever is written there, no query sees the future, padding, or beyond its window.
        scores = run.tap(self.hook_attn_scores, scores, guard=mask)
        padding = visibility.padding_keys()

        def unpadded(pattern: Tensor) -> Tensor:
            return pattern if padding is None else pattern.masked_fill(padding, 0.0)

        # A pattern may be written at will, also ahead; but padding is no token of the text.
        pattern = run.tap(self.hook_pattern, scores.softmax(-1).to(v.dtype), guard=unpadded)
        # A gradient, too, says that nothing written there would matter.
        return (unpadded(pattern) if torch.is_grad_enabled() else pattern) @ v
