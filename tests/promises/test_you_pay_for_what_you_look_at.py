"""Promise 2: what nobody looks at is not computed. Kernels and bytes are counted, never seconds."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

import neoscope as ns
from neoscope import analysis, organism, patching
from neoscope.edits import transform
from neoscope.export import FeatureSpec, Featurizer, to_store
from neoscope.sites import SiteRef, all_sites
from tests.promises.kernels import Launched, kernels

N = 11
"""Columns: no axis of the model has as many."""
CONFIG = ns.NeoConfig(
    n_layers=4, n_heads=3, d_model=24, n_ctx=40, d_vocab=50, window_size=5, init_range=0.2
)
IDS = (torch.arange(2 * N).view(2, N) * 5) % 50
PRODUCTS = ("attn.weight_qkv", "attn.weight_o", "mlp.weight_in", "mlp.weight_out")
SWITCHES = ("use_attn_result", "use_hook_mlp_in")
SITES = all_sites(CONFIG, frozenset(SWITCHES))
KINDS = sorted({ref.kind.short for ref in SITES})
SQUARE = ("attn_scores", "pattern")
STREAM = 4 * 2 * N * CONFIG.d_model
"""Bytes of a residual stream."""
RECORD = 512
"""Bytes of ids and mask, which a cache keeps."""


@pytest.fixture(scope="module")
def model() -> ns.HookedGPTNeo:
    model = ns.HookedGPTNeo.from_config(CONFIG)
    for switch in SWITCHES:
        getattr(model, f"set_{switch}")(True)
    return model


@pytest.fixture(scope="module")
def plain(model: ns.HookedGPTNeo) -> Launched:
    with kernels(model) as launched:
        model(IDS)
    return launched


def assert_layers_equal(found: Launched, expected: Launched, layers: Sequence[int]) -> None:
    """The same kernels in the same order, reading the same weights, making the same shapes."""
    for layer in layers:
        assert found.of(layer) == expected.of(layer), f"layer {layer} pays for what it is not asked"


def of_kind(short: str) -> list[SiteRef]:
    return [ref for ref in SITES if ref.kind.short == short]


def others(ref: SiteRef) -> list[int]:
    return [layer for layer in range(CONFIG.n_layers) if layer != ref.layer]


def products(launched: Launched) -> dict[str, int]:
    """How often each matrix was read."""
    return {w: n for w, n in launched.weights.items() if w.endswith(PRODUCTS) or "W_E" in w}


def rows(launched: Launched, weight: str, layers: Sequence[int]) -> list[int]:
    """Rows that went through a weight of each layer."""
    return [sum(k.rows for k in launched.readers(f"blocks.{i}.{weight}")) for i in layers]


# ---- nobody looks -----------------------------------------------------------------------------


def test_nobody_looks_and_the_forward_is_the_fastest_one(plain: Launched) -> None:
    for layer in range(CONFIG.n_layers):
        launched = plain.of(layer)
        read = {w: [k for k in launched if f"blocks.{layer}.{w}" in k.weights] for w in PRODUCTS}
        assert {w: len(found) for w, found in read.items()} == dict.fromkeys(PRODUCTS, 1)
        assert read["attn.weight_qkv"][0].shapes == ((2, N, 3 * CONFIG.d_model),)
        assert sum("attention" in kernel.name for kernel in launched) == 1
        assert not any("softmax" in kernel.name for kernel in launched)
        # Residual sums are made in place: the stream is allocated as the products' own output.
        streams = [k for k in launched if (2, N, CONFIG.d_model) in k.shapes and k.nbytes]
        assert len(streams) == 4  # two LayerNorms, two products
    assert plain.squares(N) == {}
    assert set(products(plain).values()) == {1, 2}
    assert [k.shapes for k in plain.readers("embed.W_E")] == [((2, N, 24),), ((2, N, 50),)]


@pytest.mark.parametrize("side", ["left", "right"])
def test_padding_makes_no_layer_materialise(model: ns.HookedGPTNeo, side: str) -> None:
    mask = torch.ones_like(IDS)
    mask[0, : 3 if side == "left" else -3] = 0
    with kernels(model) as launched:
        model(IDS, mask if side == "left" else mask.flip(1))
    assert launched.squares(N) == {}


@pytest.mark.parametrize(
    ("asked", "unembedded"),
    [({}, 1), ({"return_type": "loss"}, 1), ({"return_type": "hidden"}, 0),
     ({"return_type": None}, 0), ({"stop_at_layer": 4}, 0)],
)  # fmt: skip
def test_nobody_wants_logits_and_nothing_is_unembedded(
    model: ns.HookedGPTNeo, asked: dict[str, Any], unembedded: int
) -> None:
    with kernels(model) as launched:
        model(IDS, **asked)
    assert len(launched.readers("embed.W_E")) == 1 + unembedded
    if asked.get("stop_at_layer"):
        assert "ln_final.w" not in launched.weights


# ---- somebody looks ---------------------------------------------------------------------------

# What a site needs and what comes after it in its layer.
UNREAD = {
    "resid_pre": PRODUCTS, "ln1.normalized": PRODUCTS, "v": PRODUCTS[1:], "pattern": PRODUCTS[1:],
    "z": PRODUCTS[1:], "attn_out": PRODUCTS[2:], "resid_mid": PRODUCTS[2:], "pre": PRODUCTS[3:],
    "post": PRODUCTS[3:],
}  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
def test_the_forward_ends_with_the_last_site_wanted(
    model: ns.HookedGPTNeo, plain: Launched, kind: str
) -> None:
    for ref in of_kind(kind):
        with kernels(model) as launched:
            model.run_with_cache(IDS, sites=ref.name, return_type=None)
        order = ref.order(CONFIG.n_layers)[0]
        below = range(min(order, CONFIG.n_layers))
        assert set(below) <= set(launched.layers) <= {*below, order}
        assert_layers_equal(launched, plain, below)
        assert len(launched.readers("embed.W_E")) == 1
        for weight in UNREAD.get(kind, ()):
            assert f"blocks.{ref.layer}.{weight}" not in launched.weights


@pytest.mark.parametrize("kind", KINDS)
def test_who_looks_in_one_layer_pays_in_that_layer(
    model: ns.HookedGPTNeo, plain: Launched, kind: str
) -> None:
    for ref in of_kind(kind):
        with kernels(model) as launched:
            model.run_with_cache(IDS, sites=ref.name)
        assert_layers_equal(launched, plain, others(ref))
        assert set(launched.squares(N)) == ({ref.layer} if kind in SQUARE else set())
        assert products(launched) == products(plain)
        own, extra = 4 * ref.numel(CONFIG, 2, N), launched.nbytes - plain.nbytes
        # Scores and pattern, and q, k, v in the layout of their products; or one tensor in place
        # of which the fused kernel has none.
        limit = 2 * own + 4 * STREAM if kind in SQUARE else own + STREAM
        assert extra <= limit + RECORD, ref.name


@pytest.mark.parametrize("kind", KINDS)
def test_an_edit_takes_part_at_its_site_alone(
    model: ns.HookedGPTNeo, plain: Launched, kind: str
) -> None:
    for ref in of_kind(kind):
        with kernels(model) as by_edit, model.edits(transform(ref.name, function=lambda x: x * 2)):
            model(IDS)
        with kernels(model) as by_hook:
            model.run_with_hooks(IDS, fwd_hooks=[(ref.name, lambda x, hook: x * 2)])
        for launched in (by_edit, by_hook):
            assert_layers_equal(launched, plain, others(ref))
            assert set(launched.squares(N)) == ({ref.layer} if kind in SQUARE else set())
            assert products(launched) == products(plain)
    with kernels(model) as afterwards:
        model(IDS)
    assert afterwards.all == plain.all


# ---- who asks through something else ----------------------------------------------------------


@pytest.fixture(scope="module")
def reader() -> ns.HookedGPTNeo:
    return ns.load("organism")


TEXTS = [sentence.text for sentence in organism.sentences("filler", 20, seed=0)]


@pytest.mark.parametrize(
    ("spec", "n_layers", "unembeds"),
    [
        (FeatureSpec("resid_post", layers=[1], pool=["mean", "last"]), 2, False),
        (FeatureSpec("z", layers=[0, 2], pool="max"), 3, False),
        (FeatureSpec("hidden"), 4, False),
        (FeatureSpec("entropy"), 4, True),
        (FeatureSpec("pattern", layers=[1], pool="none"), 2, False),
    ],
    ids=lambda value: str(getattr(value, "sites", value)),
)
def test_an_export_runs_each_token_once_and_no_further_than_its_features(
    reader: ns.HookedGPTNeo, tmp_path: Path, spec: FeatureSpec, n_layers: int, unembeds: bool
) -> None:
    n_tokens = sum(reader.tokenize(TEXTS).lengths)
    with kernels(reader) as launched:
        to_store(reader, TEXTS, tmp_path / "store", spec, progress=False)
    assert launched.layers == list(range(n_layers))
    softmaxes = {at for at, kernel in launched.all if "softmax" in kernel.name and at is not None}
    if "pattern" in spec.sites:
        assert softmaxes == {1}
    else:  # batches are packed: not even padding is run
        assert rows(launched, "attn.weight_qkv", range(n_layers)) == [n_tokens] * n_layers
        assert softmaxes == set()
    unembedded = [k.rows for k in launched.readers("embed.W_E") if "embedding" not in k.name]
    assert sum(unembedded) == n_tokens * unembeds


def test_a_featurizer_runs_each_text_once(reader: ns.HookedGPTNeo) -> None:
    n_tokens = sum(reader.tokenize(TEXTS).lengths)
    with kernels(reader) as launched:
        made = Featurizer(reader, layer=1, cache=False).fit(TEXTS).transform(TEXTS)
    assert made.shape == (20, reader.config.d_model)
    assert launched.layers == [0, 1]
    assert rows(launched, "attn.weight_qkv", [0, 1]) == [n_tokens] * 2


def test_generation_runs_each_token_once_and_unembeds_only_the_last(
    reader: ns.HookedGPTNeo,
) -> None:
    n_prompt, n_new = reader.tokenize(TEXTS[0]).ids.shape[1], 6
    with kernels(reader) as launched:
        reader.generate(TEXTS[0], max_new_tokens=n_new, eos_token_id=None, progress=False)
    # The last token that was made is read by nobody.
    assert rows(launched, "mlp.weight_in", range(4)) == [n_prompt + n_new - 1] * 4
    unembedded = [k.rows for k in launched.readers("embed.W_E") if "embedding" not in k.name]
    assert unembedded == [1] * n_new


def test_a_lens_unembeds_the_layers_and_positions_it_is_asked_for(reader: ns.HookedGPTNeo) -> None:
    _, cache = reader.run_with_cache(TEXTS[:3], sites="resid_post")
    with kernels(reader) as launched:
        analysis.logit_lens(cache, reader, layers=[0, 2], positions=-1)
    assert launched.layers == []
    # Two layers and the model's own output, each at one position of three texts.
    assert [k.rows for k in launched.readers("embed.W_E")] == [3, 3, 3]


def test_a_sweep_runs_nothing_below_or_left_of_a_patch(reader: ns.HookedGPTNeo) -> None:
    pairs = organism.pairs("ioi", n=4)
    clean, corrupted = (reader.tokenize(texts).ids for texts in (pairs.clean, pairs.corrupted))
    first = int((clean != corrupted).any(0).nonzero()[0])
    n = clean.shape[1]
    metric = patching.logit_diff(pairs.answer, pairs.wrong)
    with kernels(reader) as launched:
        found = patching.sweep(
            reader, pairs.clean, pairs.corrupted, metric, layers=[2, 3], progress=False
        )
    both = 2 * clean.numel()
    assert rows(launched, "attn.weight_qkv", [0, 1]) == [both, both]
    # Layer 2: the one patched position that differs and what comes after it, from each start.
    starts = n - first
    patched = 4 * starts * (starts + 1) // 2
    assert rows(launched, "mlp.weight_in", [2]) == [both + patched]
    # Layer 3, the last: only the position that the metric reads, in each patched run.
    assert rows(launched, "mlp.weight_in", [3]) == [both + 4 * 2 * starts]
    assert found.ran.sum() == 2 * starts
    # Nothing is unembedded whole: the metric reads two words.
    unembedded = [k for k in launched.readers("embed.W_E") if "embedding" not in k.name]
    assert all(kernel.shapes[0][-1] == reader.config.d_model for kernel in unembedded)
