"""One transformer block: two residual additions, and a site at every step."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn

from neoscope.attention import Attention
from neoscope.config import NeoConfig
from neoscope.kv_cache import KVCache
from neoscope.layernorm import LayerNorm
from neoscope.mlp import MLP
from neoscope.run import Run, Site

Stream = Float[Tensor, "batch pos d_model"]


class Block(nn.Module):
    """``x + attn(ln1(x))``, then ``x + mlp(ln2(x))``."""

    hook_out_is_single_residual_stream = True
    """Tells TransformerLens's logit lens that ``resid_post`` can be unembedded directly."""

    def __init__(self, config: NeoConfig, layer: int) -> None:
        """Allocate weights (not yet filled) and sites."""
        super().__init__()
        self.ln1 = LayerNorm(config.d_model, config.ln_eps)
        self.attn = Attention(config, layer)
        self.ln2 = LayerNorm(config.d_model, config.ln_eps)
        self.mlp = MLP(config)
        self.hook_resid_pre, self.hook_attn_in = Site(), Site()
        self.hook_attn_out, self.hook_resid_mid = Site(), Site()
        self.hook_mlp_in, self.hook_mlp_out = Site(), Site()
        self.hook_resid_post = Site()

    def forward(self, stream: Stream, run: Run, past: KVCache | None) -> Stream:
        """Return the residual stream after the block."""
        stream = run.tap(self.hook_resid_pre, stream)
        attn_out = self.attn(stream, self.hook_attn_in, self.ln1, run, past)
        stream = self._add(stream, attn_out, self.hook_attn_out, run)
        stream = run.tap(self.hook_resid_mid, stream)
        mlp_in = stream
        if run.looks(self.hook_mlp_in):
            run.require(self.hook_mlp_in, "use_hook_mlp_in")
            mlp_in = run.tap(self.hook_mlp_in, stream)
        stream = self._add(stream, self.mlp(self.ln2(mlp_in, run), run), self.hook_mlp_out, run)
        return run.tap(self.hook_resid_post, stream)

    @staticmethod
    def _add(stream: Stream, write: Stream, site: Site, run: Run) -> Stream:
        if torch.is_grad_enabled() or run.looks(site):
            return stream + run.tap(site, write)
        # Nobody else holds `write`: adding into it saves an allocation a layer.
        return write.add_(stream)
