"""Why a target is missed on the machine that was measured, and what to try next.

By benchmark, row and peer; ``"rate"`` for a share of the matrix rate, ``""`` for a figure.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Shortfall:
    """One missed target."""

    reason: str
    idea: str


_FP32 = "In float32 nearly all of the time is matrix products, for ours as for the peer"
_WEIGHTS = Shortfall(
    f"{_FP32}; over weights that are not in the processor's cache they reach nine tenths of the "
    "machine's rate, and with them alone the plain loop would be beaten 1.5 times.",
    "float32 out of three bfloat16 products was no faster with MKL's; a kernel that packs the "
    "weights once and keeps the three products in AMX tiles may be.",
)

SHORTFALLS: dict[tuple[str, str, str], Shortfall] = {
    ("forward", "hidden, fp32", "transformers"): Shortfall(
        f"{_FP32}; what is left to win is its large temporaries, which it maps anew in some runs "
        "and not in others. Products alone would give 1.45.",
        "one kernel for attention's and the MLP's small steps, in C++.",
    ),
    ("forward", "logits, fp32", "transformers"): Shortfall(
        f"{_FP32}, and a third of them are the unembedding's, which both do alike.",
        "as for the hidden state.",
    ),
    ("forward", "run_with_cache, every site, fp32", "bridge"): Shortfall(
        f"{_FP32}, a third of them the logits; products alone would give 1.35.",
        "the logits left out where nobody reads them (`return_type=None`), or run in bfloat16, "
        "where the bridge's copies weigh more.",
    ),
    ("export", "export, mean of last layer, fp32", "plain loop"): _WEIGHTS,
    ("export", "export, mean of last layer, fp32", "pipeline"): Shortfall(
        _WEIGHTS.reason.rpartition(",")[0] + "; padding is what the pipeline loses by.",
        _WEIGHTS.idea,
    ),
    ("export", "export, mean of last layer, fp32", "rate"): Shortfall(
        "short texts: attention, LayerNorms and GELU take a fifth of the time.",
        "one kernel for the small steps, in C++.",
    ),
    ("export", "export, mean of last layer, bf16", "plain loop, bf16"): Shortfall(
        "the products are eight times as fast as in float32, so that a third of the time goes to "
        "attention, GELU, LayerNorms and the residual additions.",
        "fuse GELU and the residual addition into the products' epilogue.",
    ),
    ("patching", "z, all positions, 8 pairs", "TransformerLens"): Shortfall(
        "with eight pairs 87 % of the time is matrix products, near the machine's rate; the peer, "
        "too, runs full batches by then.",
        "bfloat16 for the rows that are patched, with float32 for the cells that matter.",
    ),
    ("probes", "LEACE", "concept-erasure, float32"): Shortfall(
        "its float32 answer is another one, with class means up to 0.01 apart on these correlated "
        "features; ours makes the products again in float64 where float32 is too coarse.",
        "float64's accuracy from two float32 products with compensation.",
    ),
    ("patching", "pattern, all positions", "TransformerLens on our model"): Shortfall(
        "the target was set beside the bridge, which cannot patch patterns; on our model, whose "
        "forward is faster, TransformerLens is a harder peer.",
        "nothing: ours takes as long as for `z`.",
    ),
}
