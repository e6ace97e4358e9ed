from __future__ import annotations

import numpy as np
import pytest
import torch

import neoscope as ns
from neoscope.errors import PatchingError
from neoscope.organism import compiled
from neoscope.patching.circuits.graph import Graph
from neoscope.patching.metrics import logit_diff
from neoscope.patching.paths.path_patching import exact_edges, path_patch
from neoscope.patching.prompts.pairs import read_prompts
from neoscope.patching.sweeps.sweeping import sweep
from tests.neoscope.patching.paths.plain_paths import path_logits
from tests.neoscope.patching.plain import random_model

CLEAN = [[1, 2, 3, 4, 5, 6, 7, 8], [9, 8, 7, 6, 5]]
CORRUPTED = [[1, 2, 9, 4, 5, 7, 7, 8], [9, 8, 3, 6, 5]]
METRIC = logit_diff(5, 6)


@pytest.fixture(scope="module")
def model() -> ns.HookedGPTNeo:
    return random_model(n_layers=3, window_size=3)


def _plain(model, senders, receivers, pairs=slice(None), **options) -> np.ndarray:
    prompts = read_prompts(model, CLEAN[pairs], CORRUPTED[pairs])
    logits = path_logits(model, prompts, senders, receivers, **options)
    return (logits[:, 5] - logits[:, 6]).numpy()


@pytest.mark.parametrize("direction", ["denoise", "noise"])
@pytest.mark.parametrize("mlps", ["frozen", "recomputed"])
def test_every_edge_is_what_two_plain_runs_give(model, mlps, direction) -> None:
    found = path_patch(
        model, CLEAN, CORRUPTED, METRIC, receivers=None, mlps=mlps, direction=direction
    )
    graph = Graph.of(model.config)
    base = found.base
    for i, sender in enumerate(graph.senders):
        for j, receiver in enumerate(graph.receivers):
            if not graph.reach[i, j]:
                assert (found.values[:, i, j] == 0).all() and not found.ran[i, j]
                continue
            plain = _plain(
                model, [sender], [receiver], recompute=mlps == "recomputed", direction=direction
            )
            np.testing.assert_allclose(found.patched[:, i, j], plain, atol=1e-5 * abs(base).max())


@pytest.mark.parametrize("mlps", ["frozen", "recomputed"])
def test_sets_of_senders_and_receivers_in_several_layers(model, mlps) -> None:
    senders = [("embed", "a0.h1", "m0"), ("a0.h0", "a0.h1"), ("m0", "a1.h1")]
    receivers = [
        ("a1.h0<q>", "a2.h1<k>"),
        ("a2.h0<q>", "a2.h0<k>", "a2.h0<v>"),
        ("m1", "a2.h0<v>", "a2.h1<v>", "a1.h1<k>", "m2"),
    ]
    found = path_patch(model, CLEAN, CORRUPTED, METRIC, senders, receivers, mlps=mlps)
    for i, sent in enumerate(senders):
        for j, read in enumerate(receivers):
            plain = _plain(model, sent, read, recompute=mlps == "recomputed")
            np.testing.assert_allclose(found.patched[:, i, j], plain, atol=2e-5)


def test_senders_at_some_positions_only(model) -> None:
    found = path_patch(
        model, CLEAN[:1], CORRUPTED[:1], METRIC, ["embed", "a0.h1"], "q", positions=[2, 5]
    )
    assert [axis.name for axis in found.axes] == ["sender", "receiver", "pos"]
    graph = Graph.of(model.config)
    receivers = [name for name in graph.receivers if name.endswith("<q>")]
    for i, sender in enumerate(["embed", "a0.h1"]):
        for j, receiver in enumerate(receivers):
            if not graph.reach[graph.senders.index(sender), graph.receivers.index(receiver)]:
                continue
            for k, column in enumerate([2, 5]):
                columns = torch.tensor([[column]])
                plain = _plain(model, [sender], [receiver], slice(1), columns=columns)
                np.testing.assert_allclose(found.patched[:, i, j, k], plain, atol=1e-5)


def test_transformer_lens_measures_the_same_edges(model) -> None:
    from transformer_lens.patching import get_act_patch_direct_path_all_sources

    clean, corrupted = torch.tensor(CLEAN[:1]), torch.tensor(CORRUPTED[:1])
    with torch.no_grad():
        _, ours = model.run_with_cache(clean)
        _, theirs = model.run_with_cache(corrupted)
        for kind in "qkv":
            expected = get_act_patch_direct_path_all_sources(
                model,
                corrupted,
                ours,
                theirs,
                lambda logits: (logits[:, -1, 5] - logits[:, -1, 6]).mean(),
                component=kind,
                verbose=False,
            )
            found = path_patch(
                model, clean, corrupted, METRIC, "heads", kind, progress=False
            ).patched[0]
            n_layers, n_heads = model.config.n_layers, model.config.n_heads
            by_head = found.reshape(n_layers, n_heads, n_layers, n_heads)
            for source in range(n_layers):
                later = slice(source + 1, None)
                np.testing.assert_allclose(
                    by_head[source][:, later], expected[source][:, later].numpy(), atol=1e-5
                )


def test_a_tiny_budget_changes_nothing(model) -> None:
    prompts = read_prompts(model, CLEAN, CORRUPTED)
    edges = Graph.of(model.config).edges
    whole = exact_edges(model, prompts, METRIC, edges, mlps="recomputed")
    parts = exact_edges(model, prompts, METRIC, edges, mlps="recomputed", batch_tokens=8)
    np.testing.assert_allclose(whole.patched, parts.patched, atol=1e-6)


def test_the_direct_paths_to_the_logits_add_up_where_the_last_norm_is_linear() -> None:
    """With one sender's difference at a time so small that LayerNorm is its own tangent."""
    model = random_model(n_layers=2)
    clean = [[1, 2, 3, 4]]
    with torch.no_grad():
        model.embed.W_E[9] = model.embed.W_E[3] + 1e-3 * torch.randn(16)
    found = path_patch(model, clean, [[1, 2, 9, 4]], METRIC, receivers="logits", progress=False)
    whole = sweep(model, clean, [[1, 2, 9, 4]], METRIC, site="resid_post", layers=1, positions=-1)
    assert abs(whole.mean.item()) > 1e-5
    assert found.mean.sum() == pytest.approx(whole.mean.item(), rel=0.02, abs=2e-6)


def test_a_sender_that_reads_nothing_but_the_norm_is_its_own_patch() -> None:
    """Of the last layer's MLP nothing comes later: the path to the logits is the whole patch."""
    model = random_model()
    last = model.config.n_layers - 1
    direct = path_patch(model, CLEAN, CORRUPTED, METRIC, f"m{last}", "logits")
    patch = sweep(model, CLEAN, CORRUPTED, METRIC, "mlp_out", layers=last, positions="all")
    np.testing.assert_allclose(direct.patched[:, 0, 0], patch.patched[:, 0], atol=1e-6)


def test_the_compiled_circuit_tells_its_keys_where_the_previous_token_was() -> None:
    model = ns.load("induction")
    pairs = compiled.pairs(4, "key")
    metric = logit_diff(pairs.answer, pairs.wrong)
    found = path_patch(
        model, pairs.clean, pairs.corrupted, metric, "a0.h0", "heads", progress=False
    )
    key = found.select(receiver="a1.h0<k>").mean.item()
    span = (found.clean - found.corrupted).mean()
    assert key == pytest.approx(span, rel=1e-4)
    others = found.mean[0].copy()
    others[found.axes[1].labels.index("a1.h0<k>")] = 0
    assert np.abs(others).max() < 1e-4 * abs(span)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"senders": "a0.h9"}, "'a0.h9' is no sender; did you mean"),
        ({"senders": ["logits"]}, "is no sender"),
        ({"receivers": "a1.h1"}, "it reads at a1.h1<q>, a1.h1<k>, a1.h1<v>"),
        ({"receivers": [("logits", "m1")]}, "cannot hold them and others"),
        ({"receivers": []}, r"receivers=\[\] names none"),
        ({"senders": ["m0", "m0"]}, "senders names m0 twice"),
        ({"mlps": "melted"}, "expected 'frozen'"),
    ],
)
def test_names_that_do_not_exist_are_refused(model, arguments, said) -> None:
    with pytest.raises(PatchingError, match=said):
        path_patch(model, CLEAN, CORRUPTED, METRIC, **arguments)
