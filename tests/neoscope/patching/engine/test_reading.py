from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

import neoscope as ns
from neoscope.errors import PatchingError
from neoscope.patching import metrics
from neoscope.patching.engine import reading
from neoscope.patching.engine.reading import read_baselines, read_values
from neoscope.patching.metrics import metric_columns
from neoscope.patching.prompts.pairs import Prompts, read_prompts
from neoscope.tokens import Tokens

CONFIG = ns.NeoConfig(n_layers=2, d_model=16, n_heads=2, n_ctx=12, d_vocab=30, init_range=0.3)
CLEAN = [[1, 2, 3, 4, 5], [6, 7, 8], [4, 4, 4, 4]]
CORRUPTED = [[1, 9, 3, 9, 5], [6, 7, 9], [4, 4, 4, 5]]
METRICS = {
    "logit_diff": metrics.logit_diff([3, 4, 5], 7),
    "probability": metrics.probability([3, 4, 5]),
    "rank": metrics.rank(3),
    "kl": metrics.kl(),
    "loss": metrics.loss(),
    "normalised": metrics.normalised(metrics.logit_diff([3, 4, 5], 7)),
    "custom": metrics.as_metric(lambda x: x[:, -1, 3] - x.mean((1, 2))),
}


@pytest.fixture(scope="module")
def model() -> ns.HookedGPTNeo:
    return ns.HookedGPTNeo.from_config(CONFIG, seed=3)


@pytest.fixture(scope="module")
def prompts(model: ns.HookedGPTNeo) -> Prompts:
    return read_prompts(model, CLEAN, CORRUPTED)


def stream(model: ns.HookedGPTNeo, prompts: Prompts, side: str, columns: Tensor) -> Tensor:
    tokens = Tokens(ids=prompts.ids(side), mask=prompts.mask)
    last = CONFIG.n_layers - 1
    _, cache = model.run_with_cache(tokens, sites="resid_post", layers=last)
    whole = cache["resid_post", last]
    return whole.gather(1, columns[:, :, None].expand(-1, -1, whole.shape[-1]))


def baselines(model: ns.HookedGPTNeo, prompts: Prompts, metric: Any) -> reading.Baselines:
    columns = metric_columns(prompts, metrics.as_metric(metric).positions)
    sides = [stream(model, prompts, side, columns) for side in ("clean", "corrupted")]
    return read_baselines(model, metric, prompts, columns, *sides)


@pytest.mark.parametrize("name", METRICS)
def test_values_are_the_metric_of_the_models_own_logits(
    model: ns.HookedGPTNeo, prompts: Prompts, name: str
) -> None:
    found = baselines(model, prompts, METRICS[name])
    columns = metric_columns(prompts, found.metric.positions)
    for side in ("clean", "corrupted"):
        logits = model(prompts.ids(side), prompts.mask.int()).detach()
        at = logits.gather(1, columns[:, :, None].expand(-1, -1, logits.shape[-1]))
        expected = found.metric.from_logits(at, torch.arange(3))
        values = getattr(found, side)
        torch.testing.assert_close(values, expected, rtol=1e-5, atol=1e-5)
        assert not values.requires_grad
        if found.metric.ids is not None:
            own = at[:, -1].gather(1, found.metric.ids)
            parts = getattr(found, f"{side}_components")
            torch.testing.assert_close(parts, own, rtol=1e-5, atol=1e-5)


def test_divergence_of_a_run_from_itself_is_exactly_zero(
    model: ns.HookedGPTNeo, prompts: Prompts
) -> None:
    found = baselines(model, prompts, metrics.kl())
    assert found.clean is not None and found.corrupted is not None
    assert (found.clean == 0).all() and (found.corrupted > 0).all()


@pytest.mark.parametrize("name", METRICS)
def test_the_limit_on_logits_changes_no_value(
    model: ns.HookedGPTNeo, prompts: Prompts, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    metric = baselines(model, prompts, METRICS[name]).metric
    columns = metric_columns(prompts, metric.positions)
    hidden = stream(model, prompts, "corrupted", columns).detach()
    hidden = torch.cat([hidden, hidden.flip(2), hidden * 2, hidden.roll(1, 2)])  # four cells
    pairs = torch.arange(3).repeat(4)
    whole = read_values(model, metric, hidden, pairs)
    for limit in (1, 4 * 30 * 5 * 4, 4 * 30 * 5 * 7):
        monkeypatch.setattr(reading, "LOGIT_BYTES", limit)
        part = read_values(model, metric, hidden, pairs)
        torch.testing.assert_close(part, whole, rtol=1e-6, atol=1e-6)


def test_no_more_logits_stand_at_once_than_the_limit(
    model: ns.HookedGPTNeo, prompts: Prompts, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = []
    unembed = model.unembed.forward
    monkeypatch.setattr(model.unembed, "forward", lambda x: rows.append(len(x)) or unembed(x))
    monkeypatch.setattr(reading, "LOGIT_BYTES", 4 * 30 * 7)
    hidden, pairs = torch.randn(21, 1, 16), torch.arange(3).repeat(7)
    probability = metrics.probability(3).bind(model, prompts, metric_columns(prompts))
    read_values(model, probability, hidden, pairs)
    assert rows == [7, 7, 7]
    custom = metrics.as_metric(lambda x: x[:, -1, 0]).bind(model, prompts, metric_columns(prompts))
    read_values(model, custom, hidden, pairs)
    assert rows[3:] == [6, 6, 6, 3]  # whole cells of three pairs
    difference = metrics.logit_diff(3, 4).bind(model, prompts, metric_columns(prompts))
    read_values(model, difference, hidden, pairs)
    assert len(rows) == 7  # no vocabulary was needed


def test_a_values_bits_do_not_depend_on_what_is_read_with_it(
    model: ns.HookedGPTNeo, prompts: Prompts
) -> None:
    metric = metrics.logit_diff([3, 4, 5], 7).bind(model, prompts, metric_columns(prompts))
    hidden, pairs = torch.randn(300, 1, 16), torch.arange(3).repeat(100)
    whole, _ = read_values(model, metric, hidden, pairs)
    alone, _ = read_values(model, metric, hidden[7:8], pairs[7:8])
    assert whole[7] == alone[0]


def test_any_rows_of_any_pairs_can_be_read(model: ns.HookedGPTNeo, prompts: Prompts) -> None:
    metric = baselines(model, prompts, METRICS["probability"]).metric
    hidden = torch.randn(5, 1, 16)
    pairs = torch.tensor([2, 0, 0, 1, 2])
    values, parts = read_values(model, metric, hidden, pairs)
    logits = model.unembed(model.ln_final(hidden))[:, -1]
    for row, answer in enumerate([5, 3, 3, 4, 5]):
        torch.testing.assert_close(values[row], logits[row].softmax(-1)[answer])
        torch.testing.assert_close(parts[row, 0], logits[row, answer])
    none, nothing = read_values(model, metric, hidden[:0], pairs[:0])
    assert none.shape == (0,) and nothing.shape == (0, 1)


def test_gradients_flow_through_reading(model: ns.HookedGPTNeo, prompts: Prompts) -> None:
    for name in ("logit_diff", "normalised", "kl", "custom"):
        metric = baselines(model, prompts, METRICS[name]).metric
        hidden = torch.randn(3, 1, 16, requires_grad=True)
        read_values(model, metric, hidden, torch.arange(3))[0].sum().backward()
        assert hidden.grad is not None and bool((hidden.grad != 0).any(-1).all()), name


def test_a_function_sees_all_pairs_of_a_cell_in_order(
    model: ns.HookedGPTNeo, prompts: Prompts
) -> None:
    shapes = []
    metric = metrics.as_metric(lambda x: shapes.append(tuple(x.shape)) or x[:, -1, 3])
    bound = metric.bind(model, prompts, metric_columns(prompts))
    read_values(model, bound, torch.randn(6, 1, 16), torch.arange(3).repeat(2))
    assert shapes == [(3, 1, 30)] * 2
    for pairs in ([0, 1], [0, 2, 1], [1, 1, 1]):
        with pytest.raises(PatchingError, match="all 3 pairs at once"):
            read_values(model, bound, torch.randn(len(pairs), 1, 16), torch.tensor(pairs))


def test_what_is_not_finite_is_refused(model: ns.HookedGPTNeo, prompts: Prompts) -> None:
    metric = metrics.logit_diff(3, 4).bind(model, prompts, metric_columns(prompts))
    hidden = torch.randn(3, 1, 16)
    hidden[1] = torch.nan
    with pytest.raises(PatchingError, match="logit_diff is nan in a run of pair 2"):
        read_values(model, metric, hidden, torch.tensor([1, 2, 0]))


def test_a_metric_that_needs_a_run_that_there_is_not_says_so(
    model: ns.HookedGPTNeo, prompts: Prompts
) -> None:
    alone = read_prompts(model, CLEAN)
    columns = metric_columns(alone)
    clean = stream(model, alone, "clean", columns)
    for metric, said in (
        (metrics.kl("corrupted"), "corrupted run, which there is not"),
        (METRICS["normalised"], "needs clean and corrupted prompts"),
        (metrics.loss("corrupted"), "no corrupted prompts"),
    ):
        with pytest.raises(PatchingError, match=said):
            read_baselines(model, metric, alone, columns, clean, None)
    found = read_baselines(model, METRICS["logit_diff"], alone, columns, clean, None)
    assert found.corrupted is None and found.clean is not None


def test_half_precision_is_read_in_float32(prompts: Prompts) -> None:
    model = ns.HookedGPTNeo.from_config(CONFIG, dtype="bfloat16")
    hidden = torch.randn(3, 1, 16).bfloat16()
    for metric in (metrics.logit_diff(3, 4), metrics.log_prob(3)):
        bound = metric.bind(model, prompts, metric_columns(prompts))
        values, parts = read_values(model, bound, hidden, torch.arange(3))
        assert values.dtype == parts.dtype == torch.float32
