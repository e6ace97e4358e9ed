from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.neighbors import KNeighborsClassifier
from sklearn.svm import LinearSVC

import neoscope as ns
import probes
from neoscope import organism
from neoscope.errors import ProbeError
from neoscope.export import FeatureSpec, to_store
from probes.judging.metrics import scores
from probes.sweeping import running, work

Array = NDArray[Any]
N_LAYERS = 3


def planted(n: int = 600, d: int = 12, seed: int = 0) -> probes.ProbeData:
    """Types in sentences of ten; the last layer knows the label best, the first knows nothing."""
    rng = np.random.default_rng(seed)
    types, groups = rng.integers(0, 30, n), np.repeat(np.arange(n // 10), 10)
    y = rng.integers(0, 3, 30)[types]
    y = np.where(rng.random(n) < 0.1, rng.integers(0, 3, n), y)
    signal, noise = np.eye(3, d)[y] * 3, rng.normal(size=(N_LAYERS, n, d))
    features: dict[probes.Place, Array] = {
        probes.Place("resid_post", layer): (signal * layer + noise[layer]).astype(np.float32)
        for layer in range(N_LAYERS)
    }
    named = np.array(["adj", "noun", "verb"])[y]
    return probes.ProbeData(features, named, groups, types=types.astype(str), label="upos")


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


def test_a_sweep_goes_on_where_it_was_interrupted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data, folder = planted(), tmp_path / "sweep"
    whole = probes.sweep(data, mdl=True, n_bootstrap=50)
    judge, seen = work.judge, []

    def interrupted(*given: Any) -> Any:
        seen.append(1)
        if len(seen) == 4:
            raise KeyboardInterrupt
        return judge(*given)

    monkeypatch.setattr(work, "judge", interrupted)
    with pytest.warns(UserWarning, match="1 of 3 places"):
        part = probes.sweep(data, mdl=True, n_bootstrap=50, folder=folder)
    assert not part.complete and len(part.places) == 1

    seen.clear()
    monkeypatch.setattr(work, "judge", lambda *given: (seen.append(1), judge(*given))[1])
    rest = probes.sweep(data, mdl=True, n_bootstrap=50, folder=folder)
    assert len(seen) == 4  # two places with a control each
    assert rest.complete
    assert rest.to_dataframe().equals(whole.to_dataframe())
    place = data.places[0]
    assert rest.probe(place).coef_.tobytes() == whole.probe(place).coef_.tobytes()
    assert rest.probe(place).card_ == whole.probe(place).card_


def test_the_folder_of_another_sweep_is_refused(tmp_path: Path) -> None:
    data, folder = planted(), tmp_path / "sweep"
    probes.sweep(data, n_bootstrap=10, controls=False, folder=folder)
    with pytest.raises(ProbeError, match=r"holds another sweep.*seed: the folder has 0, now 1"):
        probes.sweep(data, n_bootstrap=10, controls=False, folder=folder, seed=1)
    features = {place: data.matrix(place) for place in data.places}
    features[data.places[1]][57, 3] += 1
    other = probes.ProbeData(features, data.y, data.groups, types=data.types, label="upos")
    with pytest.raises(ProbeError, match="resid_post 1 was made of other features"):
        probes.sweep(other, n_bootstrap=10, controls=False, folder=folder)
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "thesis.txt").write_text("mine")
    with pytest.raises(ProbeError, match="something else"):
        probes.sweep(data, folder=tmp_path / "other")
    result = folder / "resid_post_0" / "result.json"
    result.write_text(json.dumps({"place": 1}))
    with pytest.raises(ProbeError, match="is damaged"):
        probes.sweep(data, n_bootstrap=10, controls=False, folder=folder)


@pytest.mark.parametrize("inside", ["", "x", "x/y"])
def test_a_folder_that_cannot_be_is_named(inside: str, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    with pytest.raises(ProbeError, match=r"cannot write .*file|file holds something else"):
        probes.sweep(planted(200), n_bootstrap=10, folder=tmp_path / "file" / inside)


def test_a_place_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    data = planted(200)
    first = probes.sweep(data, layers=[1], n_bootstrap=10, folder=tmp_path, controls=False)
    assert first.complete
    (tmp_path / "resid_post_2").write_text("mine")
    with pytest.raises(ProbeError, match=r"cannot write .*resid_post_2"):
        probes.sweep(data, layers=[1, 2], n_bootstrap=10, folder=tmp_path, controls=False)


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
        probes.MLPProbe(),
        probes.MassMeanProbe(),
        probes.CentroidProbe(),
        probes.SparseProbe(k=3),
        KNeighborsClassifier(),
    ):
        found = probes.sweep(data, probe, n_bootstrap=10, cv=2)
        assert found.places[0].task.scores["accuracy"] > 0.7


@pytest.mark.slow
def test_a_probe_that_cannot_be_kept_is_refused_before_it_runs(tmp_path: Path) -> None:
    with pytest.raises(ProbeError, match="KNeighborsClassifier cannot be kept"):
        probes.sweep(planted(300), KNeighborsClassifier(), folder=tmp_path / "sweep")
    assert not (tmp_path / "sweep").exists()


def test_the_organism_knows_number_above_its_random_twin() -> None:
    model = ns.load("organism")
    sentences = organism.sentences("agreement", 150, seed=3)
    texts = [one.prompt for one in sentences]
    labels = [
        "plural" if one.answer in {"are", "were", "have"} else "singular" for one in sentences
    ]
    found = probes.sweep(
        model, texts=texts, labels=labels, pool="last", layers=[0, 3], n_bootstrap=100, cv=3
    )
    last = found.places[-1]
    assert last.random_init is not None
    assert last.task.scores["accuracy"] > 0.95
    assert last.task.intervals["accuracy"].low > last.random_init.scores["accuracy"]
    assert set(found.baselines) == {"majority", "embeddings"}
    card = found.best().card_
    assert card.source.model == model.fingerprint() and card.source.pool == "last"


def test_a_store_is_swept(tmp_path: Path) -> None:
    import pandas as pd

    sentences = organism.sentences("sentiment", 80, seed=1)
    frame = pd.DataFrame(
        {"text": [one.prompt for one in sentences], "label": [one.answer for one in sentences]}
    )
    report = to_store(
        ns.load("organism"),
        frame,
        tmp_path / "features",
        FeatureSpec(layers=[1, 3], pool="last"),
        progress=False,
    )
    found = probes.sweep(report.store, labels="label", n_bootstrap=20, cv=2, layers=[3])
    assert [str(one.place) for one in found.places] == ["resid_post 3"]
    with pytest.raises(ProbeError, match="labels= is missing"):
        probes.sweep(report.store)
    with pytest.raises(ProbeError, match="2"):
        probes.sweep(report.store, labels="label", layers=[2])


def test_bad_input_is_named() -> None:
    data = planted(200)
    with pytest.raises(ProbeError, match="a sweep reads ProbeData, a FeatureStore or a model"):
        probes.sweep([1, 2])
    with pytest.raises(ProbeError, match="texts= and labels="):
        probes.sweep(ns.load("organism"), labels=[1])
    with pytest.raises(ProbeError, match="has its own labels"):
        probes.sweep(data, labels=[1])
    with pytest.raises(ProbeError, match="give one of its objects"):
        probes.sweep(data, probes.LogisticProbe)
    with pytest.raises(ProbeError, match=r"asks for a classifier.*LogisticProbe"):
        probes.sweep(data, probes.RidgeProbe())
    with pytest.raises(ProbeError, match="did you mean 'accuracy'"):
        probes.sweep(data, metric="acuracy")
    with pytest.raises(ProbeError, match="cv=1"):
        probes.sweep(data, cv=1)
    with pytest.raises(ProbeError, match="folds"):
        probes.sweep(data, cv=500)
    rows = np.arange(data.n_rows)
    with pytest.raises(ProbeError, match="group 5 leaks"):
        probes.sweep(data, cv=[(rows[:55], rows[55:100])])
    with pytest.raises(ProbeError, match="leave some out"):
        probes.sweep(data, cv=[(rows[:100], rows[100:])])
    features = {place: data.matrix(place) for place in data.places}
    features[data.places[1]][17, 3] = np.inf
    broken = probes.ProbeData(features, data.y, data.groups)
    with pytest.raises(ProbeError, match=r"resid_post 1.*row 17"):
        probes.sweep(broken, controls=False, n_bootstrap=10)


def test_a_folder_grows_by_layers(tmp_path: Path) -> None:
    data = planted()
    first = probes.sweep(data, layers=[1], n_bootstrap=10, folder=tmp_path, controls=False)
    both = probes.sweep(data, layers=[1, 2], n_bootstrap=10, folder=tmp_path, controls=False)
    assert both.places[0].task == first.places[0].task
    assert len(both.places) == 2


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


def test_rare_classes_are_named_where_nothing_tests_them() -> None:
    rng = np.random.default_rng(0)
    y = np.array(["a", "b"] * 50 + ["c"])
    found = probes.sweep(
        probes.ProbeData(rng.normal(size=(101, 3)), y), controls=False, n_bootstrap=10
    )
    assert found.notes["untested"] == ["c"]
    with pytest.raises(ProbeError, match="can be tested on: most classes have one group only"):
        probes.sweep(probes.ProbeData(rng.normal(size=(40, 3)), np.arange(40).astype(str)), cv=2)


def test_heads_of_a_model_are_those_asked_for() -> None:
    sentences = organism.sentences("agreement", 60, seed=3)
    texts, labels = [one.prompt for one in sentences], [one.answer for one in sentences]
    options: dict[str, Any] = {"n_bootstrap": 5, "controls": False, "baselines": False, "cv": 2}
    found = probes.sweep(
        ns.load("organism"), texts=texts, labels=labels, sites="z", layers=[0], heads=[1], **options
    )
    assert [str(one.place) for one in found.places] == ["z 0.1"]
    with pytest.raises(ProbeError, match="77"):
        probes.sweep(ns.load("organism"), texts=texts, labels=labels, sites="z", heads=[77])


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"cv": "a"}, "neither a number of folds nor pairs of rows"),
        ({"cv": 3.5}, "neither a number of folds nor pairs of rows"),
        ({"strengths": []}, "strengths is empty"),
        ({"strengths": "a"}, "no list of numbers"),
        ({"strengths": 1.0}, "no list of numbers"),
        ({"strengths": [-1.0]}, "each of strengths must be a number from 0 on"),
        ({"seed": -1}, "seed must be a whole number from 0 on"),
        ({"n_bootstrap": 0}, "n_bootstrap must be a whole number from 1 on"),
        ({"level": 95.0}, "level=95.0; expected a share"),
    ],
)
def test_options_that_mean_nothing_are_named(options: dict[str, Any], said: str) -> None:
    with pytest.raises(ProbeError, match=said):
        running.check_options(
            **{"cv": 5, "strengths": None, "n_bootstrap": 9, "level": 0.9, "seed": 0, **options}
        )


def test_probes_that_cannot_do_what_is_asked_are_refused() -> None:
    data = planted(200)
    with pytest.raises(ProbeError, match="is no estimator"):
        probes.sweep(data, "logistic")
    with pytest.raises(ProbeError, match="DistanceProbe is neither"):
        probes.sweep(data, probes.DistanceProbe())
    with pytest.raises(ProbeError, match="mdl=True needs probabilities"):
        probes.sweep(data, LinearSVC(), mdl=True)
    with pytest.raises(ProbeError, match="metric='log_loss' needs probabilities"):
        probes.sweep(data, LinearSVC(), metric="log_loss")


def test_what_was_finished_is_never_done_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sentences = organism.sentences("agreement", 60, seed=3)
    texts, labels = [one.prompt for one in sentences], [one.answer for one in sentences]
    data = probes.ProbeData.from_texts(
        ns.load("organism"), texts, labels, pool="last", layers=[0, 3]
    )
    options: dict[str, Any] = {"n_bootstrap": 5, "cv": 2, "folder": tmp_path / "sweep"}
    first = probes.sweep(data, **options)
    assert set(first.baselines) == {"majority", "embeddings"}
    monkeypatch.setattr(work, "judge", None)
    monkeypatch.setattr(type(data.model), "from_config", None)  # the random twin
    again = probes.sweep(data, **options)
    assert again.to_dataframe().equals(first.to_dataframe())
    assert again.notes == first.notes
