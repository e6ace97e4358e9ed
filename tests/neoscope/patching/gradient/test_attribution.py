"""Attribution patching against plain autograd, exact patching and known circuits."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
import torch

import neoscope as ns
from neoscope.errors import PatchingError, SiteError
from neoscope.model import HookedGPTNeo
from neoscope.organism import compiled
from neoscope.patching.gradient.attribution import attribution
from neoscope.patching.gradient.result import AttributionResult
from neoscope.patching.metrics import kl, logit_diff, rank
from tests.neoscope.patching.gradient import oracle

METRIC = logit_diff(oracle.ANSWER, oracle.WRONG)


@pytest.fixture(scope="module")
def model() -> HookedGPTNeo:
    return oracle.small()


def by_plain_autograd(model: HookedGPTNeo, site: str, direction: str) -> np.ndarray:
    """Scores of every cell, [pairs, layer, head, pos] or less."""
    products = oracle.plain_products(model, *oracle.prompts(), site, direction)
    parts = []
    for product in products.values():
        if site in ("pattern", "attn_scores"):
            parts.append(product.sum(-1))
        elif site in oracle.BY_HEAD:
            parts.append(product.sum(-1).transpose(1, 2))
        else:
            parts.append(product.sum(-1))
    found = torch.stack(parts, dim=1) if site != "embed" else parts[0]
    return found.numpy()


@pytest.mark.parametrize("direction", ["denoise", "noise"])
@pytest.mark.parametrize("site", oracle.SITES)
def test_scores_are_change_times_plain_gradient(
    model: HookedGPTNeo, site: str, direction: str
) -> None:
    found = attribution(model, *oracle.prompts(), METRIC, site, direction=direction)
    expected = by_plain_autograd(model, site, direction)
    assert found.values.shape == expected.shape
    assert np.abs(expected).max() > 0.1
    np.testing.assert_allclose(found.values, expected, atol=2e-5, rtol=1e-4)
    clean, corrupted = (
        oracle.diff(model(torch.tensor(ids))).detach().numpy() for ids in oracle.prompts()
    )
    np.testing.assert_allclose(found.clean, clean, rtol=1e-4)
    np.testing.assert_allclose(found.corrupted, corrupted, rtol=1e-4)
    difference = found.components["answer"]["clean"] - found.components["wrong"]["clean"]
    np.testing.assert_allclose(difference, clean, rtol=1e-4, atol=1e-5)


def test_a_result_of_a_head_scores_as_its_z(model: HookedGPTNeo) -> None:
    z, result = (attribution(model, *oracle.prompts(), METRIC, site) for site in ("z", "result"))
    np.testing.assert_array_equal(z.values, result.values)
    assert result.site == "result"


def test_heads_sum_to_the_attention_output(model: HookedGPTNeo) -> None:
    heads = attribution(model, *oracle.prompts(), METRIC, "z", heads="all")
    out = attribution(model, *oracle.prompts(), METRIC, "attn_out")
    np.testing.assert_allclose(heads.values, out.values, atol=2e-5)


def test_cells_are_parts_of_the_whole_grid(model: HookedGPTNeo) -> None:
    pairs = oracle.prompts()
    whole = attribution(model, *pairs, METRIC, "z").values
    part = attribution(model, *pairs, METRIC, "z", layers=[2, 0], heads=1, positions=[-1, 2])
    np.testing.assert_allclose(part.values, whole[:, [2, 0]][:, :, [1]][..., [6, 2]], atol=1e-6)
    assert [axis.labels[0] for axis in part.axes[:2]] == [2, 1]
    summed = attribution(model, *pairs, METRIC, "z", positions="all")
    np.testing.assert_allclose(summed.values, whole.sum(-1), atol=1e-5)
    assert [axis.name for axis in summed.axes] == ["layer", "head"]
    pattern = attribution(model, *pairs, METRIC, "pattern", keys="each")
    assert [axis.name for axis in pattern.axes] == ["layer", "head", "pos", "key"]
    queries = attribution(model, *pairs, METRIC, "pattern").values
    np.testing.assert_allclose(pattern.values.sum(-1), queries, atol=1e-5)
    neurons = attribution(model, *pairs, METRIC, "post", units="each", positions="all")
    assert [axis.name for axis in neurons.axes] == ["layer", "neuron"]
    few = attribution(model, *pairs, METRIC, "post", units=[5, -1], positions="all")
    np.testing.assert_allclose(few.values, neurons.values[..., [5, -1]], atol=1e-6)
    total = attribution(model, *pairs, METRIC, "mlp_out", positions="all")
    np.testing.assert_allclose(neurons.values.sum(-1), total.values, atol=1e-4)


def test_spans_and_groups_are_sums_of_their_positions(model: HookedGPTNeo) -> None:
    pairs = oracle.prompts()
    whole = attribution(model, *pairs, METRIC, "z").values
    spans = attribution(model, *pairs, METRIC, "z", positions=[slice(1, 4), slice(4, 7)])
    np.testing.assert_allclose(spans.values[..., 0], whole[..., 1:4].sum(-1), atol=1e-5)
    np.testing.assert_allclose(spans.values[..., 1], whole[..., 4:].sum(-1), atol=1e-5)
    assert [axis.labels[0] for axis in spans.axes] == [0, 0, "1:4"]
    groups = {"early": [[2], [2, 4], []], "end": -1}
    named = attribution(model, *pairs, METRIC, "z", positions=groups)
    assert named.axes[-1].labels == ("early", "end")
    np.testing.assert_allclose(named.values[0, ..., 0], whole[0, ..., 2], atol=1e-6)
    np.testing.assert_allclose(named.values[1, ..., 0], whole[1, ..., [2, 4]].sum(0), atol=1e-5)
    assert np.isnan(named.values[2, ..., 0]).all()
    cut = {"query": {"end": -1}, "key": {"early": [2, 3], "late": [5]}}
    pattern = attribution(
        model, *pairs, METRIC, "pattern", positions=cut["query"], keys=cut["key"]
    ).values
    each = attribution(model, *pairs, METRIC, "pattern", keys="each").values
    np.testing.assert_allclose(pattern[..., 0, 0], each[..., -1, 2:4].sum(-1), atol=1e-5)
    np.testing.assert_allclose(pattern[..., 0, 1], each[..., -1, 5], atol=1e-6)


def test_nothing_moves_left_of_the_first_difference(model: HookedGPTNeo) -> None:
    for site in oracle.SITES:
        found = attribution(model, *oracle.prompts(), METRIC, site)
        assert not found.values[..., :2].any()
        assert not found.ran[..., :2].any() and found.ran[..., [2, 4]].all()
        assert (found.values.any(0) <= found.ran).all()
    first = attribution(model, *oracle.prompts(), METRIC, "resid_pre", layers=0)
    assert set(np.flatnonzero(first.values.any((0, 1)))) == {2, 4}


def test_padding_changes_no_score(model: HookedGPTNeo) -> None:
    (long, long_other), (short, short_other) = oracle.prompts(2, 7), oracle.prompts(2, 5)
    for options in ({}, {"steps": 3}, {"grad_drop": True}, {"positions": "all"}):
        kept: dict[str, Any] = {"site": "z", **options}
        both = attribution(model, long + short, long_other + short_other, METRIC, **kept)
        alone = attribution(model, short, short_other, METRIC, **kept)
        if "positions" in options:
            np.testing.assert_allclose(both.values[2:], alone.values, atol=2e-5)
        else:
            np.testing.assert_allclose(both.values[2:, ..., 2:], alone.values, atol=2e-5)
            assert np.isnan(both.values[2:, ..., :2]).all()
            assert np.isfinite(both.mean).all()


@pytest.mark.parametrize(
    "options",
    [{}, {"steps": 4}, {"steps": 3, "path": "site"}, {"grad_drop": True}],
    ids=["plain", "inputs", "site", "drop"],
)
def test_a_budget_changes_no_score(model: HookedGPTNeo, options: dict[str, Any]) -> None:
    whole = attribution(model, *oracle.prompts(), METRIC, "z", **options)
    small = attribution(model, *oracle.prompts(), METRIC, "z", batch_tokens=7, **options)
    np.testing.assert_allclose(small.values, whole.values, atol=2e-5)


def close_pair(step: float) -> tuple[HookedGPTNeo, list[list[int]], list[list[int]]]:
    """Two words whose embeddings differ by little; float64, in which little is enough."""
    model = oracle.small().double()
    with torch.no_grad():
        direction = torch.randn(12, generator=torch.Generator().manual_seed(3))
        model.embed.W_E[11] = model.embed.W_E[10] + step * direction
    return model, [[1, 4, 10, 6, 2]], [[1, 4, 11, 6, 2]]


@pytest.mark.parametrize("site", ["resid_pre", "z", "q", "k", "v", "attn_out", "mlp_out"])
def test_the_error_shrinks_with_the_square_of_the_change(site: str) -> None:
    errors, sizes = [], []
    for step in (4e-4, 1e-4):
        model, clean, corrupted = close_pair(step)
        found = attribution(model, clean, corrupted, METRIC, site)
        assert found.problem is not None and found.sums is not None
        exact = [
            oracle.exact(model, found.problem.prompts, found.sums.cell(i))[0]
            for i in range(found.mean.size)
        ]
        errors.append(np.abs(found.mean.reshape(-1) - exact).max())
        sizes.append(np.abs(exact).max())
    assert sizes[0] > 3.5 * sizes[1] > 1e-5
    assert errors[1] < 0.01 * sizes[1]
    assert 14 < errors[0] / errors[1] < 18


@pytest.mark.parametrize("kind", ["value", "key"])
def test_first_order_effects_of_the_induction_circuit(kind: Literal["value", "key"]) -> None:
    asked, truth = compiled.pairs(4, kind, seed=2), getattr(compiled.INDUCTION_TRUTH, kind)
    metric = logit_diff(asked.answer, asked.wrong)
    found = attribution(
        ns.load("induction"), asked.clean, asked.corrupted, metric, "z", positions="all"
    )
    expected = np.broadcast_to(truth.first_order, found.values.shape)
    scores = found.values / (truth.clean - truth.corrupted)
    np.testing.assert_allclose(scores, expected, atol=1e-4, rtol=1e-5)


@pytest.mark.parametrize("gate", ["and", "or"])
def test_first_order_effects_of_the_gates(gate: Literal["and", "or"]) -> None:
    truths = {"and": compiled.GATES_TRUTH.both, "or": compiled.GATES_TRUTH.either}
    asked, truth = compiled.gate_pairs(gate), truths[gate]
    metric = logit_diff(asked.answer, asked.wrong)
    found = attribution(ns.load("gates"), asked.clean, asked.corrupted, metric, positions="all")
    expected = np.broadcast_to(truth.first_order, found.values.shape)
    np.testing.assert_allclose(found.values / (truth.clean - truth.corrupted), expected, atol=1e-6)


def test_first_order_effects_of_the_duplicate_token_circuit() -> None:
    asked, truth = compiled.duplicate_pairs(4, seed=2), compiled.DUPLICATE_TRUTH.earlier
    metric = logit_diff(asked.answer, asked.wrong)
    model = ns.load("duplicate-token")
    found = attribution(model, asked.clean, asked.corrupted, metric, positions="all")
    expected = np.broadcast_to(truth.first_order, found.values.shape)
    np.testing.assert_allclose(found.values / (truth.clean - truth.corrupted), expected, atol=1e-5)


def test_statistics_and_tables(model: HookedGPTNeo) -> None:
    found = attribution(model, *oracle.prompts(), METRIC, "z")
    np.testing.assert_allclose(found.mean, found.values.mean(0), atol=1e-6)
    spread = found.values.std(0, ddof=1) / np.sqrt(3)
    np.testing.assert_allclose(found.stderr, spread, atol=1e-5)
    assert found.interval.shape == (2, 3, 2, 7) and found.p_value.shape == (3, 2, 7)
    assert (found.p_value[..., :2] == 1).all()
    table = found.to_dataframe()
    assert len(table) == 42
    assert [*table.columns[:5]] == ["layer", "head", "pos", "agree", "score"]
    top = found.top(3)
    assert (top["score"].abs().diff().dropna() <= 0).all()
    assert (found.top(42, "negative")["score"] < 0).all()
    assert "attribution patching of z" in repr(found) and f"layer {top['layer'][0]}" in repr(found)
    with pytest.raises(PatchingError, match="magnitude"):
        found.top(3, "magnitud")
    with pytest.raises(PatchingError, match="k=0"):
        found.top(0)


def test_a_result_survives_its_file(model: HookedGPTNeo, tmp_path: Path) -> None:
    found = attribution(model, *oracle.prompts(), METRIC, "z", steps=2)
    again = AttributionResult.load(found.save(tmp_path / "scores.safetensors"))
    np.testing.assert_array_equal(again.values, found.values)
    np.testing.assert_array_equal(again.ran, found.ran)
    assert again.axes == found.axes and repr(again) == repr(found)
    assert again.to_dataframe().equals(found.to_dataframe())
    np.testing.assert_array_equal(
        again.components["wrong"]["corrupted"], found.components["wrong"]["corrupted"]
    )
    with pytest.raises(PatchingError, match="no model"):
        again.audit()
    (tmp_path / "other.safetensors").write_bytes(b"12345678 no")
    with pytest.raises(PatchingError, match="is damaged or no AttributionResult"):
        AttributionResult.load(tmp_path / "other.safetensors")


@pytest.mark.parametrize(
    ("options", "error", "said"),
    [
        ({"site": "resid_pos"}, SiteError, "resid_post"),
        ({"site": "ln1.scale"}, SiteError, "cannot be patched"),
        ({"site": "resid_pre", "heads": 0}, SiteError, "not by head"),
        ({"heads": 2}, SiteError, "0 to 1"),
        ({"heads": "every"}, SiteError, "'all'"),
        ({"heads": [0, 0]}, SiteError, "names 0 twice"),
        ({"layers": 3}, SiteError, "layers 0 to 2"),
        ({"site": "embed", "layers": 0}, SiteError, "before all layers"),
        ({"positions": 7}, SiteError, "out of range"),
        ({"positions": "every"}, PatchingError, "'all'"),
        ({"keys": 0}, SiteError, "pattern has"),
        ({"site": "pattern", "units": 0}, SiteError, "use keys"),
        ({"site": "result", "units": 0}, PatchingError, "site='z'"),
        ({"site": "post", "units": 48}, SiteError, "0 to 47"),
        ({"direction": "denois"}, PatchingError, "denoise"),
        ({"metric": rank(3)}, PatchingError, "no gradient"),
        ({"steps": 0}, PatchingError, "at least 1"),
        ({"steps": 2, "rule": "middle"}, PatchingError, "midpoint"),
        ({"steps": 2, "path": "input"}, PatchingError, "inputs"),
        ({"steps": 2, "grad_drop": True}, PatchingError, "choose one"),
        ({"rule": "left"}, PatchingError, "rule='left' says .* give steps="),
        ({"path": "site"}, PatchingError, "path='site' says .* give steps="),
        ({"qk_fix": True}, PatchingError, "'q' or 'k'"),
        ({"site": "q", "units": 0, "qk_fix": True}, PatchingError, "leave units out"),
        ({"site": "k", "positions": [slice(1, 3)], "qk_fix": True}, PatchingError, "not spans"),
        ({"batch_tokens": 6}, PatchingError, "batch_tokens=6"),
    ],
)
def test_what_cannot_be_is_refused(
    model: HookedGPTNeo, options: dict[str, Any], error: type[Exception], said: str
) -> None:
    clean, corrupted = oracle.prompts()
    asked: dict[str, Any] = {"metric": METRIC, **options}
    with pytest.raises(error, match=said):
        attribution(model, clean, corrupted, **asked)


def test_a_metric_that_is_flat_at_the_base_is_told(model: HookedGPTNeo) -> None:
    asked = (*oracle.prompts(), kl())
    for options in ({}, {"steps": 1}, {"steps": 1, "path": "site"}):
        with pytest.warns(UserWarning, match=r"clean run is the base.*with steps=5.*'denoise'"):
            flat = attribution(model, *asked, direction="noise", **options)
        assert np.abs(flat.values).max() < 1e-5
    for options in ({"steps": 2}, {"steps": 1, "rule": "midpoint"}):
        seen = attribution(model, *asked, direction="noise", **options)
        assert np.abs(seen.values).max() > 1e-3
