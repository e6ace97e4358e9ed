"""What every row is called in a table, and the target that was set for it.

A benchmark looks its rows up here by their names; a row that is not here is measured and shown by
its own name, without a target. What a missed target is missed for stands in ``shortfalls``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from tests.benchmarks.shapes import DTYPES, FORMATS, POOLS, SHAPES


@dataclass(frozen=True)
class Row:
    """One row of a table."""

    name: str
    """As the benchmark calls it."""
    work: str
    """As a table calls it."""
    at_least: Mapping[str, float] = field(default_factory=dict)
    """Per peer: its time over ours."""
    at_most: float | None = None
    """Of a figure that is not a race."""
    share: float | None = None
    """At least so much of the machine's matrix-product rate."""
    form: str = "{:.2f}"
    """How a figure is written."""

    @property
    def has_target(self) -> bool:
        """Whether one was set."""
        return bool(self.at_least) or self.at_most is not None or self.share is not None


PEERS: dict[str, tuple[str, str]] = {
    # name in a benchmark: name in a table; package whose version stands after its first words
    "transformers": ("transformers", "transformers"),
    "bridge": ("TransformerLens, its bridge", "transformer-lens"),
    "TransformerLens": ("TransformerLens, its bridge", "transformer-lens"),
    "TransformerLens on our model": ("TransformerLens, on our model", "transformer-lens"),
    "EAP-IG of its parts": ("TransformerLens, EAP-IG of its parts", "transformer-lens"),
    "TransformerLens, by layer": ("TransformerLens, layer by layer", "transformer-lens"),
    "TransformerLens, at once": ("TransformerLens, at once", "transformer-lens"),
    "plain loop": ("transformers, a plain loop", "transformers"),
    "plain loop, bf16": ("transformers, a plain loop in bfloat16", "transformers"),
    "pipeline": ("transformers, its pipeline", "transformers"),
    "pipeline, fp32": ("transformers, its pipeline in float32", "transformers"),
    "sentence-transformers": ("sentence-transformers", "sentence-transformers"),
    "one layer": ("one layer", ""),
    "whole text each step": ("the whole text at each step", ""),
    "tuned-lens's loop": ("a loop written after tuned-lens 0.2.0's", ""),
    "LogisticRegressionCV": ("scikit-learn, LogisticRegressionCV", "scikit-learn"),
    "RidgeCV": ("scikit-learn, RidgeCV", "scikit-learn"),
    "concept-erasure, float64": ("concept-erasure, float64", "concept-erasure"),
    "concept-erasure, float32": ("concept-erasure, float32", "concept-erasure"),
    **{
        f"HFLM, batch {n}": (f"lm-eval's HF model, batch {n}", "lm-eval") for n in (1, 4, 8, 16, 32)
    },
}


def _all(peers: str, target: float, *values: object) -> dict[str, float]:
    return {peers.format(value): target for value in values}


_ON_BRIDGE = "TransformerLens"
ROWS: dict[str, tuple[Row, ...]] = {
    "start": (
        Row("import neoscope", "`import neoscope`", at_most=0.2, form="{:.2f} s"),
        Row("neoscope --help", "`neoscope --help`", at_most=0.6, form="{:.2f} s"),
    ),
    "forward": (
        Row("hidden, fp32", "last hidden state, float32, 8 x 256 tokens", {"transformers": 1.3}),
        Row("logits, fp32", "logits, float32, 8 x 256", {"transformers": 1.25}),
        Row("hidden, left padded, fp32", "last hidden state, float32, 8 x 256, left padded"),
        Row("hidden, long, fp32", "last hidden state, float32, 1 x 2048"),
        Row("greedy step, fp32", "one greedy step after 256 tokens, float32"),
        Row("hidden, bf16", "last hidden state, bfloat16, 8 x 256", {"transformers": 1.6}),
        Row(
            "run_with_cache, every site, fp32",
            "`run_with_cache`, every site, float32, 8 x 256",
            {"bridge": 1.6},
        ),
        Row(
            "run_with_cache, one prompt, fp32",
            "`run_with_cache`, every site, 15 tokens",
            {"bridge": 1.3},
        ),
        Row(
            "cache bytes / bridge's keys",
            "bytes of the cache of 8 x 256 tokens, of what the bridge's keys add up to",
            at_most=0.45,
        ),
        Row(
            "cache bytes / bridge's storages",
            "bytes of that cache, of what the bridge's tensors hold",
        ),
    ),
    "export": (
        Row(
            "export, mean of last layer, fp32",
            "features of texts, mean of the last layer, float32",
            {"plain loop": 1.7, "sentence-transformers": 1.3, "pipeline": 2.0},
            share=0.75,
        ),
        Row("pipeline's own mean, error", "the pipeline's own error, as it pads", form="{:.1%}"),
        Row(
            "export, 13 residual layers vs one",
            "all 13 residual states, pooled",
            {"one layer": 0.95},
        ),
        Row(
            "export, mean of last layer, bf16",
            "features of texts, mean of the last layer, bfloat16",
            {"plain loop, bf16": 2.0, "pipeline, fp32": 6.0},
        ),
        Row("bf16 feature error", "error of a feature in bfloat16, median text", form="{:.1%}"),
        Row(
            "share of time not overlapped with compute",
            "time in which nothing is computed, 13 states, bfloat16",
            at_most=0.03,
            form="{:.1%}",
        ),
        Row(
            "peak memory, 100,000 rows / 10,000",
            "peak memory of an export at 100,000 rows, of that at 10,000",
            at_most=1.05,
        ),
    ),
    "patching": (
        Row("resid_pre", "`resid_pre`, 12 layers x 15 positions", {_ON_BRIDGE: 40}),
        Row(
            "resid_pre, 8 pairs", "`resid_pre`, 12 layers x 15 positions, 8 pairs", {_ON_BRIDGE: 10}
        ),
        Row(
            "resid_pre, all but the first",
            "`resid_pre`, the pair differing from position 1 on",
            {_ON_BRIDGE: 25},
        ),
        Row("resid_pre, all but the first, 8 pairs", "`resid_pre`, 8 such pairs", {_ON_BRIDGE: 6}),
        Row("z, all positions", "`z`, 12 x 12 heads, all positions", {_ON_BRIDGE: 20}),
        Row(
            "z, all positions, 8 pairs",
            "`z`, 12 x 12 heads, all positions, 8 pairs",
            {_ON_BRIDGE: 6},
        ),
        Row("z, by position", "`z`, 12 x 12 heads x 15 positions", {_ON_BRIDGE: 40}),
        *(Row(f"{site}, all positions", f"`{site}` by head", {_ON_BRIDGE: 15}) for site in "qkv"),
        Row(
            "pattern, all positions",
            "`pattern` by head, which the bridge cannot do",
            {"TransformerLens on our model": 15},
        ),
        Row("resid_pre, 100 positions", "`resid_pre`, 12 layers x 100 positions", {_ON_BRIDGE: 8}),
        Row(
            "EAP-IG, all edges",
            "EAP-IG, 5 steps, all edges, which the bridge cannot do",
            {"TransformerLens on our model": 3},
        ),
        *(
            Row(f"time a cell, z, {n} cells", f"time a cell, `z`, {n} cells", form="{:.1f} ms")
            for n in (12, 36, 144)
        ),
        Row(
            "time a cell, 144 cells / 12",
            "time a cell of 144 cells, of that of 12",
            at_most=1.0,
        ),
        *(
            Row(
                f"peak memory, {n:,}",
                f"peak memory of a sweep, 100 positions, budget of {n:,} tokens",
                form="{:.0f} MB",
            )
            for n in (1_024, 4_096)
        ),
        Row("memory of one more token of budget", "one more token of budget", form="{:.0f} kB"),
    ),
    "probes": (
        Row(
            "logistic, 4 classes",
            "logistic, 4 classes: 13 layers x 10 strengths x 5 folds, 8,000 x 768",
            {"LogisticRegressionCV": 8.0},
        ),
        Row("logistic, binary", "logistic, 2 classes: the same", {"LogisticRegressionCV": 8.0}),
        Row("ridge", "ridge: 13 layers x 20 strengths x 5 folds, 8,000 x 768", {"RidgeCV": 5.0}),
        Row(
            "LEACE",
            "LEACE: 13 layers, 50,000 x 768, 17 classes",
            _all("concept-erasure, {}", 2.0, "float64", "float32"),
        ),
        Row(
            "part-of-speech sweep",
            "part-of-speech sweep of a treebank: 12 layers, control task, code, random twin",
            at_most=600,
            form="{:.0f} s",
        ),
    ),
    "lens": (
        Row(
            "logit lens, top 10 and KL",
            "logit lens, 13 layers x 512 positions, top 10 and KL",
            _all("TransformerLens, {}", 1.5, "by layer", "at once"),
        ),
        Row(
            "logit lens, peak memory / TransformerLens's, by layer",
            "peak memory of the logit lens, of TransformerLens's, layer by layer",
            at_most=1 / 3,
        ),
        Row(
            "logit lens, peak memory / TransformerLens's, at once",
            "peak memory of the logit lens, of TransformerLens's at once",
        ),
        Row(
            "tuned-lens training, float32",
            "tuned lens, a step of training, float32",
            {"tuned-lens's loop": 1.5},
        ),
        Row(
            "tuned-lens training, bfloat16",
            "tuned lens, a step of training, bfloat16",
            {"tuned-lens's loop": 1.5},
        ),
    ),
    "generation": (
        Row(
            "greedy, 1 prompt, fp32",
            "greedy, 64 tokens, 1 prompt, float32",
            {"transformers": 1.2, "bridge": 1.4},
        ),
        Row(
            "greedy, 8 prompts, fp32",
            "greedy, 64 tokens, 8 prompts of unequal length",
            {"transformers": 1.3},
        ),
        *(
            Row(f"bandwidth, greedy, {n}, fp32", f"its share of the bandwidth, {n}", form="{:.0%}")
            for n in ("1 prompt", "8 prompts")
        ),
        Row("beam search, 4 beams, fp32", "4 beams, 64 tokens"),
        Row("greedy, a head off, fp32", "greedy with a head switched off"),
        Row("greedy, 1 prompt, bf16", "greedy, 64 tokens, 1 prompt, bfloat16"),
    ),
    "evaluation": (
        Row("BLiMP", "BLiMP's pairs, through the harness", _all("HFLM, batch {}", 1.3, 8, 16, 32)),
        Row(
            "HellaSwag-like",
            "4 endings of a context of 300 tokens, as in HellaSwag",
            _all("HFLM, batch {}", 2.0, 1, 4, 8),
        ),
        Row("one ending a context", "one ending of such a context: nothing to share"),
    ),
    "scale": (
        *(
            Row(
                f"bytes a row, {name}, {pool}, {dtype}",
                f"bytes on disk of a row, {name}'s width, pool `{pool}`, {dtype}",
                form="{:,.0f}",
            )
            for name in SHAPES
            for pool in POOLS
            for dtype in DTYPES
        ),
        Row("model, float32", "tokens a second, 125M, float32", form="{:,.0f}"),
        Row("model, bfloat16", "tokens a second, 125M, bfloat16", form="{:,.0f}"),
        Row("reading", "tokens a second, reading and hashing Parquet", form="{:,.0f}"),
        Row("tokenizing", "tokens a second, tokenizing", form="{:,.0f}"),
        *(
            Row(
                f"writing, {f}, {d}",
                f"rows of 768 numbers written a second, {f}, {d}",
                form="{:,.0f}",
            )
            for f in FORMATS
            for d in DTYPES
        ),
        *(
            Row(f"manifest, {n} shards", f"listing one more shard, at {n}", form="{:,.0f} ms")
            for n in ("1,000", "10,000")
        ),
    ),
    "growth": (
        Row("export, a row a text, organism", "export, a row a text, organism"),
        Row("export, a row a token, organism", "export, a row a token, organism"),
        Row("export, a row a text, 125M", "export, a row a text, 125M, bfloat16"),
        Row("patching, pairs, 125M", "patching every head, pairs, 125M"),
        Row("patching, cells, 125M", "patching `resid_pre`, cells, 125M"),
        Row("probes, organism", "probes of every layer, words, organism"),
    ),
}


def find(benchmark: str, name: str) -> Row:
    """Return a row; one that is not known has its own name, and no target."""
    known = (row for row in ROWS.get(benchmark, ()) if row.name == name)
    return next(known, Row(name, name))
