"""The table of sites: short name, place, axes, switch and meaning, in forward order.

Names are TransformerLens's (``transformer_lens/utilities/components_utils.py``), so that habits and
tools carry over.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

_STREAM = ("batch", "pos", "d_model")
_HEADS = ("batch", "pos", "head", "d_head")
_SPLIT = ("batch", "pos", "head", "d_model")
_SQUARE = ("batch", "head", "query", "key")
_MLP = ("batch", "pos", "d_mlp")
_SCALE = ("batch", "pos", "one")


@dataclass(frozen=True)
class SiteKind:
    """One kind of site: its short name, where it stands, and what its axes mean."""

    short: str
    template: str
    """Full name; ``{layer}`` stands for the layer where there is one."""
    axes: tuple[str, ...]
    switch: str | None = None
    """The ``cfg`` switch that must be on for the site to exist; None where it always does."""
    meaning: str = ""

    @property
    def layered(self) -> bool:
        """Whether every block has one."""
        return "{layer}" in self.template


# In the order in which a forward meets them.
BLOCK = "blocks.{layer}."
KINDS: tuple[SiteKind, ...] = (
    SiteKind("embed", "hook_embed", _STREAM, None, "token embeddings"),
    SiteKind("pos_embed", "hook_pos_embed", _STREAM, None, "position embeddings"),
    SiteKind("resid_pre", BLOCK + "hook_resid_pre", _STREAM, None, "residual stream into a block"),
    SiteKind("attn_in", BLOCK + "hook_attn_in", _SPLIT, "use_attn_in", "a head's own input"),
    SiteKind("q_input", BLOCK + "attn.hook_q_input", _SPLIT, "use_split_qkv_input", "input of q"),
    SiteKind("k_input", BLOCK + "attn.hook_k_input", _SPLIT, "use_split_qkv_input", "input of k"),
    SiteKind("v_input", BLOCK + "attn.hook_v_input", _SPLIT, "use_split_qkv_input", "input of v"),
    SiteKind("ln1.scale", BLOCK + "ln1.hook_scale", _SCALE, None, "sqrt(variance + eps)"),
    SiteKind("ln1.normalized", BLOCK + "ln1.hook_normalized", _STREAM, None, "before gain, bias"),
    SiteKind("q", BLOCK + "attn.hook_q", _HEADS, None, "queries"),
    SiteKind("k", BLOCK + "attn.hook_k", _HEADS, None, "keys"),
    SiteKind("v", BLOCK + "attn.hook_v", _HEADS, None, "values"),
    SiteKind("attn_scores", BLOCK + "attn.hook_attn_scores", _SQUARE, None, "masked, pre-softmax"),
    SiteKind("pattern", BLOCK + "attn.hook_pattern", _SQUARE, None, "attention probabilities"),
    SiteKind("z", BLOCK + "attn.hook_z", _HEADS, None, "a head's weighted values"),
    SiteKind("result", BLOCK + "attn.hook_result", _SPLIT, "use_attn_result", "a head's output"),
    SiteKind("attn_out", BLOCK + "hook_attn_out", _STREAM, None, "attention output, with bias"),
    SiteKind("resid_mid", BLOCK + "hook_resid_mid", _STREAM, None, "stream after attention"),
    SiteKind("mlp_in", BLOCK + "hook_mlp_in", _STREAM, "use_hook_mlp_in", "input of ln2 alone"),
    SiteKind("ln2.scale", BLOCK + "ln2.hook_scale", _SCALE, None, "sqrt(variance + eps)"),
    SiteKind("ln2.normalized", BLOCK + "ln2.hook_normalized", _STREAM, None, "before gain, bias"),
    SiteKind("pre", BLOCK + "mlp.hook_pre", _MLP, None, "neurons before the activation"),
    SiteKind("post", BLOCK + "mlp.hook_post", _MLP, None, "neurons after the activation"),
    SiteKind("mlp_out", BLOCK + "hook_mlp_out", _STREAM, None, "MLP output, with bias"),
    SiteKind("resid_post", BLOCK + "hook_resid_post", _STREAM, None, "stream out of a block"),
    SiteKind("ln_final.scale", "ln_final.hook_scale", _SCALE, None, "sqrt(variance + eps)"),
    SiteKind("ln_final.normalized", "ln_final.hook_normalized", _STREAM, None, "before gain, bias"),
)
BY_SHORT: Mapping[str, SiteKind] = {kind.short: kind for kind in KINDS}
ORDER: Mapping[str, int] = {kind.short: i for i, kind in enumerate(KINDS)}

# What TransformerLens users type, beside the short names above.
SYNONYMS: Mapping[str, str] = {
    "attn": "pattern",
    "attn_logits": "attn_scores",
    "scores": "attn_scores",
    "key": "k",
    "query": "q",
    "value": "v",
    "mlp_pre": "pre",
    "mlp_post": "post",
    "neurons": "post",
    "head_out": "result",
    "scale": "ln_final.scale",
    "normalized": "ln_final.normalized",
}
# TransformerLens 3 kept these on the block; its 4th version moved them into the attention.
MOVED: Mapping[str, str] = {
    f"hook_{name}_input": f"attn.hook_{name}_input" for name in ("q", "k", "v")
}
