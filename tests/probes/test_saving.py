"""A probe that is kept comes back equal, whole, or not at all."""

from __future__ import annotations

import importlib
import json
import os
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.base import clone

from neoscope.errors import ProbeError
from probes import base, saving
from probes.base import LinearClassifierProbe, RegressorProbe
from probes.card import ProbeCard
from probes.places import Place, Source
from probes.saving import digest, load, save

RANDOM = np.random.default_rng(0)
X = RANDOM.normal(size=(60, 7))
CARD = ProbeCard(
    Place("z", 2, 1),
    Source("0123456789abcdef", "organism", "mean", {"prepend_bos": False, "layers": (1, 2)}),
    label="upos",
    n_rows=60,
    n_groups=12,
    metrics={"accuracy": 0.875, "auc": float("nan"), "f1": np.float32(0.25), "by": {3: [1.0]}},
    version="0.1.0",
    notes={"strengths": [0.1, 1.0], "kept": True, "none": None},
)


class MeansProbe(LinearClassifierProbe):
    """Reads the difference of two means; keeps whatever ``fitted`` says beside it."""

    def __init__(self, scale: Any = 1.0, *, fitted: Any = None) -> None:
        self.scale = scale
        self.fitted = fitted

    def fit(self, X: Any, y: Any) -> MeansProbe:
        X, targets, _ = self._read_training(X, y)
        means = [X[targets[:, 0] == k].mean(0) for k in (0, 1)]
        self.coef_ = (means[1] - means[0])[None] * 1.0
        self.intercept_ = -self.coef_ @ (means[0] + means[1]) / 2
        self._private = "gone after loading"
        return self


@pytest.fixture(autouse=True)
def known(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the probe of this file be one that can be kept."""
    monkeypatch.setitem(saving.HOMES, "MeansProbe", "probes.base")
    monkeypatch.setattr(base, "MeansProbe", MeansProbe, raising=False)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "probe"


def fitted(classes: Any = ("no", "yes"), **parameters: Any) -> MeansProbe:
    y = np.array(list(classes))[np.arange(len(X)) % len(classes)]
    return MeansProbe(**parameters).fit(X, y)


def same(found: Any, expected: Any) -> None:
    """Equal, and of one type, all the way down."""
    assert type(found) is type(expected)
    if isinstance(expected, np.ndarray):
        assert found.dtype == expected.dtype
        assert found.shape == expected.shape
        assert found.flags.f_contiguous == expected.flags.f_contiguous
        if expected.dtype == object:
            for ours, theirs in zip(found.ravel(), expected.ravel(), strict=True):
                same(ours, theirs)
        else:
            assert found.tobytes("A") == expected.tobytes("A")
    elif isinstance(expected, dict):
        assert list(found) == list(expected)
        for key in expected:
            same(found[key], expected[key])
    elif isinstance(expected, list | tuple):
        assert len(found) == len(expected)
        for ours, theirs in zip(found, expected, strict=True):
            same(ours, theirs)
    elif isinstance(expected, float) and np.isnan(expected):
        assert np.isnan(found)
    else:
        assert found == expected


# ---- what comes back --------------------------------------------------------------------------


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
    probe.save(folder)
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


# ---- what cannot be kept ----------------------------------------------------------------------


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


# ---- the folder -------------------------------------------------------------------------------


def test_earlier_probe_is_replaced_whole(folder: Path) -> None:
    save(fitted(), folder)
    (folder / "notes.txt").write_text("mine")
    save(fitted((1, 2)), folder)
    assert load(folder).classes_.tolist() == [1, 2]
    names = sorted(path.name for path in folder.iterdir())
    assert len(names) == 3 and names[:1] == ["notes.txt"] and names[2] == "probe.json"
    save(fitted((1, 2)), folder)
    assert sorted(path.name for path in folder.iterdir()) == names


@pytest.mark.parametrize("at", [0, 1])
def test_crash_while_saving_leaves_the_earlier_probe(
    at: int, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save(fitted(), folder)
    calls, replace = 0, Path.replace

    def crash(self: Path, target: Any) -> Path:
        nonlocal calls
        calls += 1
        if calls > at:
            raise KeyboardInterrupt
        return replace(self, target)

    probe = fitted((1, 2))
    probe.coef_ = probe.coef_ * 2
    with monkeypatch.context() as patched:
        patched.setattr(Path, "replace", crash)
        with pytest.raises(KeyboardInterrupt):
            save(probe, folder)
    assert load(folder).classes_.tolist() == ["no", "yes"]
    save(probe, folder)
    assert load(folder).classes_.tolist() == [1, 2]


def test_folder_of_something_else_is_left_alone(folder: Path) -> None:
    folder.mkdir()
    (folder / "thesis.tex").write_text("mine")
    with pytest.raises(ProbeError, match=r"it holds something that is no probe \(thesis.tex\)"):
        save(fitted(), folder)
    (folder / "thesis.tex").rename(folder / "probe.json")
    with pytest.raises(ProbeError, match=r"it is no JSON .*remove it first"):
        save(fitted(), folder)
    assert [path.name for path in folder.iterdir()] == ["probe.json"]
    with pytest.raises(ProbeError, match="it is no folder"):
        save(fitted(), folder / "probe.json")


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may write")
def test_folder_that_cannot_be_written_is_named(folder: Path) -> None:
    folder.mkdir(mode=0o500)
    with pytest.raises(ProbeError, match="cannot write"):
        save(fitted(), folder)


def test_what_a_crash_left_is_no_hindrance(folder: Path) -> None:
    folder.mkdir()
    (folder / "probe-0123456789abcdef.safetensors").write_bytes(b"")
    (folder / ".probe.json.x1.tmp").write_bytes(b"")
    save(fitted(), folder)
    load(folder)


# ---- damage -----------------------------------------------------------------------------------


def weights(folder: Path) -> Path:
    return next(folder.glob("*.safetensors"))


def edit(folder: Path, change: Any) -> None:
    """Alter the card, with the hash that belongs to it."""
    path = folder / "probe.json"
    facts = json.loads(path.read_text())
    change(facts)
    facts["sha256"] = saving._hash(facts)
    path.write_text(json.dumps(facts))


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda f: weights(f).unlink(), r"probe-\w+.safetensors is missing, which probe.json na"),
        (lambda f: weights(f).write_bytes(weights(f).read_bytes()[:-5]), "was altered: .* bytes"),
        (lambda f: weights(f).write_bytes(b""), "damaged or was altered: 0 bytes"),
        (lambda f: (f / "probe.json").unlink(), "there is no probe in .*: it has no probe.json"),
        (lambda f: (f / "probe.json").write_text("{"), "probe.json is damaged: it is no JSON"),
        (lambda f: (f / "probe.json").write_text("[" * 99999), "probe.json is damaged"),
        (lambda f: (f / "probe.json").write_text("{}"), "is no card of a probe that neoscope"),
        (lambda f: edit(f, lambda c: c.update(format_version=2)), "of format 2, .*upgrade neosc"),
        (
            lambda f: edit(f, lambda c: c.update({"class": "LogisticProb"})),
            "of a LogisticProb, a class that is not known; did you mean 'LogisticProbe'",
        ),
        (lambda f: edit(f, lambda c: c["params"].update(spam=1)), "does not take its parameters"),
        (
            lambda f: edit(f, lambda c: c["weights"].update(file="../other.safetensors")),
            "names '../other.safetensors' as its numbers, which is no such file",
        ),
        (
            lambda f: edit(f, lambda c: c["fitted"].update(x_={"$pickle": "gASV"})),
            "fitted.x_ cannot be read: there is no kind of value called",
        ),
        (
            lambda f: edit(f, lambda c: c["fitted"].update(x_={"$tensor": "no", "order": "C"})),
            "fitted.x_ cannot be read: 'no'",
        ),
    ],
)
def test_damage_is_told_apart(damage: Any, message: str, folder: Path) -> None:
    save(fitted(), folder)
    damage(folder)
    with pytest.raises(ProbeError, match=message):
        load(folder)


def test_altered_card_is_noticed(folder: Path) -> None:
    save(fitted(), folder)
    path = folder / "probe.json"
    text = path.read_text()
    path.write_text(re.sub(r'"no",(\s+)"yes"', r'"yes",\1"no"', text))
    assert path.read_text() != text
    with pytest.raises(ProbeError, match="was altered since it was saved"):
        load(folder)


def test_missing_folder_and_file_are_told_apart(folder: Path) -> None:
    with pytest.raises(ProbeError, match="there is no probe in"):
        load(folder)
    save(fitted(), folder)
    with pytest.raises(ProbeError, match="is a file; give the folder"):
        load(folder / "probe.json")


def test_reader_meets_no_mix_of_two_saves(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save(fitted(), folder)
    read_card = saving.read_card
    calls = 0

    def replaced_meanwhile(where: Path) -> dict[str, Any]:
        nonlocal calls
        facts = read_card(where)
        calls += 1
        if calls == 1:
            monkeypatch.setattr(saving, "read_card", read_card)
            probe = fitted((1, 2))
            probe.coef_ = probe.coef_ * 2
            save(probe, where)
            monkeypatch.setattr(saving, "read_card", replaced_meanwhile)
        return facts

    monkeypatch.setattr(saving, "read_card", replaced_meanwhile)
    assert load(folder).classes_.tolist() == [1, 2]
