from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

import neoscope as ns
from neoscope.errors import PatchingError
from neoscope.patching import metrics
from neoscope.patching.metrics import metric_columns
from neoscope.patching.prompts.pairs import Prompts, read_prompts

CONFIG = ns.NeoConfig(n_layers=2, d_model=8, n_heads=2, n_ctx=12, d_vocab=30, init_range=0.3)
CLEAN = [[1, 2, 3, 4, 5], [6, 7, 8], [4, 4, 4, 4]]
CORRUPTED = [[1, 9, 3, 9, 5], [6, 7, 9], [4, 4, 4, 5]]
ANSWER, WRONG = [3, 4, 5], [6, 7, 8]


@pytest.fixture(scope="module")
def model() -> ns.HookedGPTNeo:
    return ns.HookedGPTNeo.from_config(CONFIG)


@pytest.fixture(scope="module")
def prompts(model: ns.HookedGPTNeo) -> Prompts:
    return read_prompts(model, CLEAN, CORRUPTED)


def logits(n: int = 6, positions: int = 1, seed: int = 0) -> Tensor:
    return torch.randn(n, positions, 30, generator=torch.Generator().manual_seed(seed)) * 3


PAIRS = torch.tensor([0, 1, 2, 2, 1, 0])


def measured(model: ns.HookedGPTNeo, prompts: Prompts, metric: metrics.Metric, x: Tensor) -> Tensor:
    columns = metric_columns(prompts, "all" if x.shape[1] > 1 else None)
    return metric.bind(model, prompts, columns).from_logits(x, PAIRS)


def test_answer_metrics_equal_their_definitions(model: ns.HookedGPTNeo, prompts: Prompts) -> None:
    x = logits()
    p = x.double().softmax(-1)
    for row, pair in enumerate(PAIRS.tolist()):
        own, a, w = x[row, -1].double(), ANSWER[pair], WRONG[pair]
        expected = {
            metrics.logit_diff(ANSWER, WRONG): own[a] - own[w],
            metrics.logit(ANSWER): own[a],
            metrics.probability(ANSWER): p[row, -1, a],
            metrics.log_prob(ANSWER): p[row, -1, a].log(),
            metrics.rank(ANSWER): 1.0 + sum(float(v > own[a]) for v in own),
        }
        for metric, value in expected.items():
            found = measured(model, prompts, metric, x)[row]
            assert float(found) == pytest.approx(float(value), abs=1e-5), metric


def test_answers_are_read_at_the_last_metric_position(
    model: ns.HookedGPTNeo, prompts: Prompts
) -> None:
    x = logits(positions=5)
    metric = metrics.logit_diff(ANSWER, WRONG)
    assert measured(model, prompts, metric, x).equal(measured(model, prompts, metric, x[:, -1:]))


def test_divergence_is_that_of_torch_and_zero_from_itself(
    model: ns.HookedGPTNeo, prompts: Prompts
) -> None:
    x, reference = logits(3, 5), logits(3, 5, seed=1)
    everyone = torch.arange(3)
    columns = metric_columns(prompts, "all")
    bound = metrics.kl().bind(model, prompts, columns, reference)
    for k, length in enumerate(prompts.lengths):
        expected = F.kl_div(
            x[k, -length:].double().log_softmax(-1), reference[k, -length:].double().softmax(-1),
            reduction="batchmean",
        )  # fmt: skip
        assert float(bound.from_logits(x, everyone)[k]) == pytest.approx(float(expected), abs=1e-5)
    assert (bound.from_logits(reference, everyone) == 0).all()
    assert (bound.from_logits(x, everyone) > 0).all()


def test_loss_is_that_of_the_model_on_each_text(model: ns.HookedGPTNeo, prompts: Prompts) -> None:
    for direction, of, rows in (
        ("denoise", "base", CORRUPTED), ("noise", "base", CLEAN), ("denoise", "clean", CLEAN),
    ):  # fmt: skip
        ids = torch.zeros(3, 5, dtype=torch.long)
        for k, row in enumerate(rows):
            ids[k, 5 - len(row) :] = torch.tensor(row)
        with torch.no_grad():
            x = model(ids, prompts.mask.int())
            expected = [float(model([row], return_type="loss")) for row in rows]
        metric = metrics.loss(of)
        assert metric.positions == "all"
        bound = metric.bind(model, prompts, metric_columns(prompts, "all"), direction=direction)
        found = bound.from_logits(x, torch.arange(3))
        torch.testing.assert_close(found, torch.tensor(expected), rtol=0, atol=1e-5)


def test_the_loss_needs_a_token_that_comes_next(model: ns.HookedGPTNeo, prompts: Prompts) -> None:
    with pytest.raises(PatchingError, match="nothing comes after"):
        metrics.loss().bind(model, prompts, metric_columns(prompts))


def test_normalised_puts_the_baselines_means_at_zero_and_one(
    model: ns.HookedGPTNeo, prompts: Prompts
) -> None:
    metric = metrics.normalised(metrics.logit_diff(ANSWER, WRONG))
    bound = metric.bind(model, prompts, metric_columns(prompts))
    x = logits()
    with pytest.raises(PatchingError, match="call settle first"):
        bound.from_logits(x, PAIRS)
    clean, corrupted = torch.tensor([2.0, 4.0, 3.0]), torch.tensor([-1.0, 0.0, 1.0])
    settled = bound.settle(clean, corrupted)
    raw = bound.raw.from_logits(x, PAIRS)
    torch.testing.assert_close(settled.from_logits(x, PAIRS), raw / 3)
    assert float(settled.rescaled(clean).mean()) == 1 and settled.component_names == (
        "answer",
        "wrong",
    )
    assert not settled.needs_vocab and settled.reads_last and settled.needs_baselines


def test_a_tiny_span_is_refused_with_its_numbers_and_not_divided_by(
    model: ns.HookedGPTNeo, prompts: Prompts
) -> None:
    columns = metric_columns(prompts)
    inner = metrics.logit_diff(ANSWER, WRONG)
    bound = metrics.normalised(inner).bind(model, prompts, columns)
    near = torch.tensor([3.0, 3.0, 3.0])
    with pytest.raises(PatchingError, match=r"3.002 in the clean and 3 in the corrupted.*0.002"):
        bound.settle(near + 0.002, near)
    with pytest.raises(PatchingError, match="minimum="):
        bound.settle(near + 0.002, near)
    with pytest.raises(PatchingError, match="nothing between them to divide by"):
        bound.settle(near, near)
    lax = metrics.normalised(inner, minimum=1e-3).bind(model, prompts, columns)
    assert lax.settle(near + 0.002, near).needs_baselines
    with pytest.raises(PatchingError, match="cannot normalise"):
        metrics.normalised(inner, minimum=0.0).bind(model, prompts, columns).settle(near, near)


def test_half_precision_logits_are_measured_in_float32(
    model: ns.HookedGPTNeo, prompts: Prompts
) -> None:
    x = logits().bfloat16()
    for metric in (metrics.logit_diff(ANSWER, WRONG), metrics.log_prob(ANSWER)):
        found = measured(model, prompts, metric, x)
        assert found.dtype == torch.float32
        torch.testing.assert_close(found, measured(model, prompts, metric, x.float()))


def test_a_function_gets_the_logits_and_names_the_metric(
    model: ns.HookedGPTNeo, prompts: Prompts
) -> None:
    def mine(x: Tensor) -> Tensor:
        return x[:, -1, 3] - x[:, -1, 6]

    metric = metrics.as_metric(mine)
    assert metric.name == "mine" and metric.joint and metrics.as_metric(metric) is metric
    x = logits(3)
    bound = metric.bind(model, prompts, metric_columns(prompts))
    assert bound.from_logits(x, torch.arange(3)).equal(mine(x))
    as_numpy = metrics.as_metric(lambda x: mine(x).numpy())
    assert as_numpy.from_logits(x, torch.arange(3)).equal(mine(x))
    assert metrics.as_metric(lambda x: x[0, -1, 3]).from_logits(x[:1], PAIRS[:1]).shape == (1,)


@pytest.mark.parametrize(
    ("function", "said"),
    [
        (lambda x: x[:, -1, 3].mean(), r"shape \[\] .* expected \[3\].*keep the axis of pairs"),
        (lambda x: x[:, :, 3], r"shape \[3, 1\].*choose a position"),
        (lambda x: x[:2, -1, 3], r"shape \[2\]"),
        (lambda x: torch.where(torch.arange(3) == 1, torch.nan, x[:, -1, 0]), "nan for pair 1"),
        (lambda x: x[:, -1, 3] / 0, "inf for pair 0"),
        (lambda x: None, "returned NoneType"),
        (lambda x: "high", "returned str"),
        (lambda x: x[:, -1, 3] + 1j, "complex"),
    ],
)
def test_what_a_function_returns_is_checked(
    model: ns.HookedGPTNeo, prompts: Prompts, function: Any, said: str
) -> None:
    bound = metrics.as_metric(function).bind(model, prompts, metric_columns(prompts))
    with pytest.raises(PatchingError, match=said):
        bound.from_logits(logits(3).abs() + 1, torch.arange(3))


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: metrics.kl("clear"), "did you mean 'clean'"),
        (lambda: metrics.loss("bass"), "did you mean 'base'"),
        (lambda: metrics.as_metric("logit_diff"), "is no metric"),
        (lambda: metrics.as_metric(metrics.logit_diff), r"call it, as in patching.logit_diff\("),
        (lambda: metrics.normalised(metrics.normalised(metrics.kl())), "normalised already"),
        (lambda: metrics.normalised(3), "is no metric"),
    ],
)
def test_mistakes_are_named(make: Any, said: str) -> None:
    with pytest.raises(PatchingError, match=said):
        make()


def test_metric_positions_become_columns(prompts: Prompts) -> None:
    assert metric_columns(prompts).tolist() == [[4]] * 3
    assert metric_columns(prompts, "last").tolist() == [[4]] * 3
    assert metric_columns(prompts, "all").tolist() == [list(range(5))] * 3
    assert metric_columns(prompts, [0, -1]).tolist() == [[0, 4], [2, 4], [1, 4]]
    with pytest.raises(PatchingError, match="did you mean 'all'"):
        metric_columns(prompts, "alll")
    with pytest.raises(PatchingError, match="selects no token"):
        metric_columns(prompts, [])
