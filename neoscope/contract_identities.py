"""Read identities: the sites of a run add up to each other as the architecture says."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from neoscope.cache import ActivationCache
from neoscope.contract_report import Check, tolerance
from neoscope.model import HookedGPTNeo


def check(model: HookedGPTNeo, tokens: Tensor) -> list[Check]:
    """Check every identity in every layer on one recorded run.

    Args:
        model: With ``use_attn_result`` and ``use_hook_mlp_in`` on.
        tokens: [batch, pos].
    """
    logits, cache = model.run_with_cache(tokens)
    plain = model(tokens)
    limit = tolerance(model.dtype)
    rows = []

    def equal(what: str, kind: str, left: Tensor, right: Tensor) -> None:
        error = relative(left, right)
        rows.append(Check("read identity", what, kind, error <= limit, error, limit))

    error, whole = relative(logits, plain), tolerance(model.dtype, whole_run=True)
    what = "looked at = not looked at (logits)"
    rows.append(Check("same text, same numbers", what, "", error <= whole, error, whole))
    equal(
        "embed + pos_embed = resid_pre of layer 0",
        "",
        cache["embed"] + cache["pos_embed"],
        cache["resid_pre", 0],
    )
    for layer, kind in enumerate(model.config.kinds):
        for what, left, right in _block(model, cache, layer):
            equal(f"{what} (layer {layer})", kind, left(), right())
    final = cache["ln_final.normalized"] * model.ln_final.w + model.ln_final.b
    equal("unembed(ln_final) = logits", "", model.unembed(final), logits)
    rows += _bands(model)
    return rows


Side = Callable[[], Tensor]


def _block(model: HookedGPTNeo, cache: ActivationCache, layer: int) -> list[tuple[str, Side, Side]]:
    block: Any = model.blocks[layer]
    attn, mlp = block.attn, block.mlp

    def at(site: str) -> Tensor:
        return cache[site, layer]

    def normed(norm: str) -> Tensor:
        ln = getattr(block, norm)
        out: Tensor = cache["normalized", layer, norm] * ln.w + ln.b
        return out

    def heads(x: Tensor, weight: Tensor) -> Tensor:
        return torch.einsum("bpd,hde->bphe", x, weight)

    def centred(site: str, norm: str) -> Tensor:
        x = at(site).float()
        return ((x - x.mean(-1, keepdim=True)) / cache["scale", layer, norm]).to(x.dtype)

    ones = torch.ones_like(at("pattern")[..., 0])
    following = cache["resid_pre", layer + 1] if layer + 1 < model.config.n_layers else None
    rows: list[tuple[str, Side, Side]] = [
        ("(resid_pre - mean) / ln1.scale = ln1.normalized",
         lambda: centred("resid_pre", "ln1"), lambda: cache["normalized", layer, "ln1"]),
        ("ln1 W_Q = q", lambda: heads(normed("ln1"), attn.W_Q), lambda: at("q")),
        ("ln1 W_K = k", lambda: heads(normed("ln1"), attn.W_K), lambda: at("k")),
        ("ln1 W_V = v", lambda: heads(normed("ln1"), attn.W_V), lambda: at("v")),
        ("softmax(attn_scores) = pattern", lambda: at("attn_scores").softmax(-1),
         lambda: at("pattern")),
        ("rows of pattern sum to one", lambda: at("pattern").float().sum(-1), lambda: ones),
        ("pattern v = z", lambda: torch.einsum("bhqk,bkhe->bqhe", at("pattern"), at("v")),
         lambda: at("z")),
        ("z W_O = result", lambda: torch.einsum("bphe,hed->bphd", at("z"), attn.W_O),
         lambda: at("result")),
        ("sum of result + b_O = attn_out", lambda: at("result").sum(2) + attn.b_O,
         lambda: at("attn_out")),
        ("resid_pre + attn_out = resid_mid", lambda: at("resid_pre") + at("attn_out"),
         lambda: at("resid_mid")),
        ("mlp_in = resid_mid", lambda: at("mlp_in"), lambda: at("resid_mid")),
        ("(resid_mid - mean) / ln2.scale = ln2.normalized",
         lambda: centred("resid_mid", "ln2"), lambda: cache["normalized", layer, "ln2"]),
        ("ln2 W_in + b_in = pre", lambda: normed("ln2") @ mlp.W_in + mlp.b_in, lambda: at("pre")),
        ("act(pre) = post", lambda: mlp.act(at("pre")), lambda: at("post")),
        ("post W_out + b_out = mlp_out", lambda: at("post") @ mlp.W_out + mlp.b_out,
         lambda: at("mlp_out")),
        ("resid_mid + mlp_out = resid_post", lambda: at("resid_mid") + at("mlp_out"),
         lambda: at("resid_post")),
    ]  # fmt: skip
    if following is not None:
        rows.append(("resid_post = next resid_pre", lambda: at("resid_post"), lambda: following))
    return rows


def _bands(model: HookedGPTNeo) -> list[Check]:
    """Each query sees exactly the keys that it may, on a text longer than the window."""
    config = model.config
    length = min(config.n_ctx, config.window_size + 8)
    tokens = torch.arange(length, device=model.device)[None] % config.d_vocab
    _, cache = model.run_with_cache(tokens, sites=["attn_scores", "pattern"], return_type=None)
    i = torch.arange(length, device=model.device)
    distance = i[:, None] - i[None]
    rows = []
    for layer, kind in enumerate(config.kinds):
        hidden = (distance < 0) | (distance >= (config.window(layer) or length))
        outside = float(cache["pattern", layer][..., hidden].abs().sum())
        # A pattern may round to zero where a key is seen; its score is still finite.
        wrong = float((cache["attn_scores", layer].isinf() != hidden).sum())
        for what, error in (("pattern outside its band = 0", outside),
                            ("scores are finite inside their band only", wrong)):  # fmt: skip
            rows.append(Check("read identity", f"{what} (layer {layer})", kind,
                              error == 0, error, 0.0))  # fmt: skip
    return rows


def relative(left: Tensor, right: Tensor) -> float:
    """Return the largest difference of two tensors, relative to the largest finite value."""
    left, right = left.double(), right.double()
    scale = max(float(right.abs().nan_to_num(0, 0, 0).max()), 1e-12)
    difference = torch.where(left == right, 0.0, left - right)
    return float(difference.abs().max()) / scale
