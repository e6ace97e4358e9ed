"""A probe that is kept comes back equal."""

from __future__ import annotations

import importlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.base import clone

from neoscope.errors import ProbeError
from probes.data.places import Place
from probes.estimating.base import RegressorProbe
from probes.keeping import saving
from probes.keeping.card import ProbeCard
from probes.keeping.saving import digest, load, save
from tests.probes.keeping.conftest import CARD, MeansProbe, X, fitted, same


@pytest.mark.parametrize(
    "classes", [("no", "yes"), (3, 11), (False, True), (1.0, 2.0), ("ä\u2028", "日本")], ids=str
)
def test_loaded_probe_predicts_the_same_bits(classes: tuple[Any, Any], folder: Path) -> None:
    probe = fitted(classes)
    save(probe, folder)
    found = load(folder)
    assert type(found) is MeansProbe
    same(found.predict(X), probe.predict(X))
    same(found.predict_proba(X), probe.predict_proba(X))
    same(found.classes_, probe.classes_)
    assert not hasattr(found, "_private")


@pytest.mark.parametrize(
    "value",
    [
        None, True, 3, -0.0, 1e-310, float("inf"), float("nan"), "", "\ud800", "a\x00b", 10**30,
        (1, (2.5, "x")), [None, [1]], {"a": {"b": 1}}, {0: 1.0, "1": 2}, {"$array": 1},
        np.float32(0.1), np.int64(-3), np.str_("word"), np.bool_(True),
        np.arange(6).reshape(2, 3), np.asfortranarray(np.arange(6.0).reshape(2, 3)),
        np.array([], np.float16), np.array(2.5), np.array([True, False]), np.uint8([1, 255]),
        np.array(["a", "bcd"]), np.array(["a", None, 2, 2.5, True], object),
        np.array([["x"], ["y"]], object), [np.ones(2), np.zeros((1, 2), np.float32)],
        {"layer": np.ones(3)},
    ],
    ids=lambda x: f"{type(x).__name__}-{x!r:.30}",
)  # fmt: skip
def test_any_fitted_value_comes_back_equal(value: Any, folder: Path) -> None:
    probe = fitted()
    probe.extra_ = value
    save(probe, folder)
    same(load(folder).extra_, value)


def test_card_comes_back_equal(folder: Path) -> None:
    probe = fitted()
    probe.card_ = CARD
    save(probe, folder)
    found = load(folder).card_
    assert found is not None
    assert (found.place, found.source) == (CARD.place, CARD.source)
    for name in ("label", "n_rows", "n_groups", "metrics", "version", "notes"):
        same(getattr(found, name), getattr(CARD, name))
    facts = json.loads((folder / "probe.json").read_text())
    assert facts["trained_on"]["source"]["model"] == CARD.source.model
    assert facts["trained_on"]["metrics"]["accuracy"] == 0.875


def test_probe_without_a_card_has_none_afterwards(folder: Path) -> None:
    save(fitted(), folder)
    assert load(folder).card_ is None


def test_parameters_come_back_equal(folder: Path) -> None:
    weights = {"no": 1.0, "yes": 2.0, 3: (1, 2)}
    save(fitted(scale=weights), folder)
    found = load(folder)
    same(found.get_params(), {"fitted": None, "scale": weights})
    assert isinstance(clone(found), MeansProbe)


def test_strided_arrays_are_kept_as_what_they_hold(folder: Path) -> None:
    probe = fitted()
    probe.extra_ = np.arange(24.0).reshape(4, 6)[::2, ::-3]
    probe.other_ = np.arange(3, dtype=">i4")
    save(probe, folder)
    found: Any = load(folder)
    np.testing.assert_array_equal(found.extra_, probe.extra_)
    assert found.other_.tolist() == [0, 1, 2]
    found.extra_[0, 0] = 7.0  # what was read can be written


@pytest.mark.parametrize("name", sorted(saving.HOMES))
def test_every_kind_of_probe_comes_back(name: str, folder: Path) -> None:
    if name == "MeansProbe":
        pytest.skip("of this file")
    probe: Any = getattr(importlib.import_module(saving.HOMES[name]), name)()
    if "progress" in probe.get_params():
        probe.set_params(progress=False)
    numbers = isinstance(probe, RegressorProbe) or name == "DistanceProbe"
    probe.fit(X, abs(X[:, 0]) if numbers else np.where(X[:, 0] + X[:, 1] > 0, "yes", "no"))
    assert probe.save(folder) == folder
    found: Any = load(folder)
    assert type(found) is type(probe)
    for method in ("predict", "predict_proba", "transform"):
        if hasattr(probe, method):
            same(getattr(found, method)(X), getattr(probe, method)(X))
    assert digest(found) == digest(probe)


def test_digest_tells_probes_apart(folder: Path) -> None:
    probe = fitted()
    before = digest(probe)
    assert before == digest(fitted())
    save(probe, folder)
    assert json.loads((folder / "probe.json").read_text())["sha256"] == before
    assert digest(load(folder)) == before
    probe.coef_ = probe.coef_ + 1e-12
    assert digest(probe) != before
    other = fitted()
    other.card_ = CARD
    assert digest(other) != before


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"scale": np.random.default_rng(0)}, r"MeansProbe\(scale=\) is Generator: .*cannot be k"),
        ({"scale": {"a": [object()]}}, r"MeansProbe\(scale=\)\['a'\]\[0\] is object: "),
        ({"extra_": object()}, "extra_ is object: "),
        ({"extra_": [1, {2}]}, r"extra_\[1\] is set: "),
        ({"extra_": np.ones(2, complex)}, "extra_ is an array of complex128, which cannot be kept"),
        ({"extra_": np.array([object()])}, "extra_ is object: "),
        ({"extra_": b"bytes"}, "extra_ is bytes: "),
        ({"card_": ProbeCard(Place("z"), notes={"a": {1}})}, r"card_.notes\['a'\] is set: "),
    ],
)
def test_what_has_no_place_in_json_is_named(
    change: dict[str, Any], message: str, folder: Path
) -> None:
    probe = fitted()
    for name, value in change.items():
        setattr(probe, name, value)
    with pytest.raises(ProbeError, match=message):
        save(probe, folder)
    assert not folder.exists()


def test_probe_that_is_not_fitted_is_refused(folder: Path) -> None:
    with pytest.raises(ProbeError, match="this MeansProbe is not fitted"):
        save(MeansProbe(), folder)


def test_class_of_somebody_else_is_refused(folder: Path) -> None:
    class LogisticProb(MeansProbe):
        pass

    probe = LogisticProb().fit(X, np.arange(60) % 2)
    with pytest.raises(ProbeError, match="LogisticProb cannot be kept; did you mean 'LogisticP"):
        save(probe, folder)
    LogisticProb.__name__ = "MeansProbe"
    with pytest.raises(ProbeError, match="a MeansProbe cannot be kept"):
        save(probe, folder)
