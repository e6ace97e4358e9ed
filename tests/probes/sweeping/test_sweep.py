"""What a sweep chooses, and what it reports."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.neighbors import KNeighborsClassifier

import probes
from probes.judging.metrics import scores
from tests.probes.sweeping.cases import N_LAYERS, planted


def test_best_place_is_chosen_on_folds_and_reported_on_test_rows() -> None:
    data = planted()
    found = probes.sweep(data, n_bootstrap=50)
    best = found.best_place
    assert best.place == probes.Place("resid_post", 2)
    validation = {one.place: one.task.selected for one in found.places}
    assert all(one is not None for one in validation.values())
    assert max(validation, key=lambda p: validation[p].score) == best.place  # type: ignore[union-attr]
    development, test = data.split(0.2, 0)
    assert not set(data.groups[development]) & set(data.groups[test])
    probe = found.best()
    X = data.matrix(best.place)
    by_hand = scores(
        data.y[test], probe.predict(X[test]), probe.predict_proba(X[test]), probe.classes_
    )
    assert best.task.scores == pytest.approx(by_hand)
    again = probes.LogisticProbe(best.task.selected.strength)  # type: ignore[union-attr,arg-type]
    np.testing.assert_allclose(
        probe.coef_, again.fit(X[development], data.y[development]).coef_, atol=1e-6
    )


def test_test_labels_have_no_say_in_any_choice() -> None:
    data = planted()
    _, test = data.split(0.2, 0)
    labels = data.y.copy()
    # Within each label the test rows are permuted among themselves: the split stays the same.
    labels[test] = np.random.default_rng(1).permutation(labels[test])
    features = {place: data.matrix(place) for place in data.places}
    development, held = data.split(0.2, 0)
    folds = data.folds(5, 0, development)
    other = probes.ProbeData(features, labels, data.groups, types=data.types)
    first = probes.sweep(data, cv=folds, n_bootstrap=10, controls=False)
    second = probes.sweep(other, cv=folds, n_bootstrap=10, controls=False)
    for one, two in zip(first.places, second.places, strict=True):
        assert one.task.selected == two.task.selected
        assert one.task.scores != two.task.scores
    assert len(held) == first.n_test


def test_selectivity_of_type_features_is_the_closed_form() -> None:
    rng = np.random.default_rng(0)
    n, n_types = 2000, 8
    types, groups = rng.integers(0, n_types, n), np.repeat(np.arange(n // 10), 10)
    y = np.where(rng.random(n) < 0.2, rng.integers(0, 4, n), np.arange(n_types)[types] % 4)
    one_hot = np.eye(n_types, dtype=np.float32)[types]
    data = probes.ProbeData(one_hot, y, groups, types=types.astype(str))
    found = probes.sweep(data, n_bootstrap=50, strengths=[100.0]).places[0]
    assert found.control is not None and found.selectivity is not None
    assert found.control.scores["accuracy"] == 1.0
    _, test = data.split(0.2, 0)
    closed = np.mean(data.y[test] == np.arange(n_types)[types[test]] % 4) - 1
    assert found.selectivity.value == pytest.approx(closed)
    assert found.selectivity.unseen == 0.0


def test_table_has_places_and_baselines() -> None:
    found = probes.sweep(planted(), mdl=True, n_bootstrap=50)
    frame = found.to_dataframe()
    assert frame["kind"].tolist() == ["place"] * N_LAYERS + ["baseline"]
    assert frame["site"].tolist() == ["resid_post"] * N_LAYERS + ["majority"]
    assert frame["layer"].tolist()[:N_LAYERS] == [0, 1, 2]
    ours = frame[:N_LAYERS]
    assert (ours["accuracy_low"] <= ours["accuracy"]).all()
    assert (ours["accuracy"] <= ours["accuracy_high"]).all()
    np.testing.assert_allclose(ours["selectivity"], ours["accuracy"] - ours["control_accuracy"])
    assert ours["compression"].is_monotonic_increasing
    assert 0.9 < ours["compression"][0] < 1.1 < ours["compression"][2]
    assert "no random twin" in found.notes["random-init"]
    assert "best resid_post 2" in repr(found)
    assert "<script" not in found._repr_html_()


def test_names_in_the_html_table_are_escaped() -> None:
    rng = np.random.default_rng(0)
    place = probes.Place("<script>alert(1)</script>")
    data = probes.ProbeData({place: rng.normal(size=(60, 3))}, rng.integers(0, 2, 60))
    found = probes.sweep(data, controls=False, n_bootstrap=10, cv=2)
    assert "<script>" not in found._repr_html_()


@pytest.mark.parametrize("metric", ["log_loss", "accuracy"])
def test_more_selectivity_is_better_whatever_the_score(metric: str) -> None:
    found = probes.sweep(planted(), metric=metric, n_bootstrap=20, cv=2).places[-1]
    assert found.selectivity is not None and found.control is not None
    less = metric == "log_loss"
    task, control = found.task.scores[metric], found.control.scores[metric]
    assert found.selectivity.value == pytest.approx(control - task if less else task - control)
    assert found.selectivity.value > 0
    interval = found.selectivity.interval
    assert interval is not None and 0 < interval.low < found.selectivity.value < interval.high


def test_numbers_are_swept_with_ridge() -> None:
    rng = np.random.default_rng(0)
    X = rng.normal(size=(400, 6))
    data = probes.ProbeData(X, X @ np.arange(6.0) + rng.normal(size=400))
    found = probes.sweep(data, n_bootstrap=50, mdl=True)
    assert found.metric == "r2"
    assert isinstance(found.best(), probes.RidgeProbe)
    assert found.places[0].task.scores["r2"] == pytest.approx(55 / 56, abs=0.02)
    assert found.baselines["majority"].scores["r2"] == pytest.approx(0, abs=0.05)
    assert "no codelength" in found.notes["mdl"]


def test_several_labels_at_once_are_swept() -> None:
    rng = np.random.default_rng(0)
    X = rng.normal(size=(300, 5))
    found = probes.sweep(
        probes.ProbeData(X, (X[:, :3] > 0).astype(int)), controls=False, n_bootstrap=20
    )
    assert found.metric == "f1"
    assert found.places[0].task.scores["f1"] > 0.9


@pytest.mark.slow
def test_any_estimator_is_swept() -> None:
    data = planted(300).select(layers=[2])
    for probe in (
        probes.MLPProbe((8,), learning_rate=0.03, max_epochs=10),
        probes.MassMeanProbe(),
        probes.CentroidProbe(),
        probes.SparseProbe(k=3),
        KNeighborsClassifier(),
    ):
        found = probes.sweep(data, probe, n_bootstrap=10, cv=2)
        assert found.places[0].task.scores["accuracy"] > 0.7


def test_equal_scores_are_told_apart_by_how_likely_the_labels_are() -> None:
    rng = np.random.default_rng(0)
    y = rng.integers(0, 2, 200)
    X = np.eye(2)[y] + rng.normal(size=(200, 2)) / 20
    found = probes.sweep(probes.ProbeData(X, y), controls=False, n_bootstrap=10).places[0].task
    assert found.scores["accuracy"] == 1.0
    assert found.scores["log_loss"] < 0.05


def test_the_code_pays_for_its_strengths_and_is_never_far_above_the_uniform_one() -> None:
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(200, 40)), rng.integers(0, 2, 200)
    code = (
        probes.sweep(probes.ProbeData(X, y), controls=False, mdl=True, n_bootstrap=10)
        .places[0]
        .codelength
    )
    assert code is not None
    alone = [
        probes.judging.online_codelength(probes.LogisticProbe(C), X, y, progress=False).bits
        for C in probes.LogisticProbe.strengths
    ]
    assert code.bits <= min(alone) + np.log2(len(alone)) + 1 + 0.1
    assert 200 < code.bits < 1.05 * 200
    assert code.bits == pytest.approx(
        sum(one.bits for one in code.blocks) + code.notes["strengths_bits"]
    )


def test_a_probe_that_holds_rows_out_is_told_the_groups() -> None:
    told = []

    class Told(probes.MassMeanProbe):
        def fit(self, X: Any, y: Any, sample_weight: Any = None, groups: Any = None) -> Any:
            told.append((len(X), groups))
            return super().fit(X, y, sample_weight)

    data = planted(200).select(layers=[2])
    probes.sweep(data, Told(), n_bootstrap=5, cv=2, controls=False, mdl=True)
    assert len(told) > 4
    assert all(groups is not None and len(groups) == n for n, groups in told)
    development, _ = data.split(0.2, 0)
    assert any(np.array_equal(groups, data.groups[development]) for _, groups in told)
