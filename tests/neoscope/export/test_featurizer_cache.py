"""What a Featurizer remembers: the cost of a grid, and that nothing is mistaken for another."""

from __future__ import annotations

import pickle
import shutil
import threading
import warnings
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.base import clone
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import Pipeline, make_pipeline

import neoscope as ns
from neoscope import organism
from neoscope.edits import ablate
from neoscope.errors import ExportError
from neoscope.export.extractor import Extractor
from neoscope.export.featurizer import Featurizer, clear_cache
from neoscope.export.featurizer import cache as featurizer_cache
from neoscope.export.featurizer import model as featurizer_model
from neoscope.export.featurizer.cache import CACHE, GRID_POOLS, FeatureCache
from neoscope.export.spec import FeatureSpec
from tests.neoscope.export.featurizing import FEW, LABELS, TEXTS, features


@pytest.fixture(autouse=True)
def _nothing_known() -> Iterator[None]:
    CACHE.clear()
    yield
    CACHE.clear()


@pytest.fixture
def forwards(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """How often each text was run, and how many columns that gave."""
    counts: Counter[str] = Counter()
    real_encode, real_run = Extractor.encode, Extractor.run
    pending: dict[int, list[str]] = {}

    def encode(self: Extractor, texts: Any, **options: Any) -> Any:
        encoded = real_encode(self, texts, **options)
        pending[id(encoded)] = list(texts)
        return encoded

    def run(self: Extractor, encoded: Any, progress: Any = None) -> Any:
        counts.update(pending.pop(id(encoded)))
        counts["columns"] += len(self.features) * encoded.n_texts
        return real_run(self, encoded, progress)

    monkeypatch.setattr(Extractor, "encode", encode)
    monkeypatch.setattr(Extractor, "run", run)
    return counts


def test_a_grid_runs_every_text_at_most_twice(forwards: Counter[str]) -> None:
    pipe = Pipeline(
        [("features", Featurizer("organism")), ("clf", LogisticRegression(max_iter=1000))]
    )
    grid = {"features__layer": [0, 1, 2, 3], "features__pool": ["mean", "last", ["first", "max"]]}
    search = GridSearchCV(pipe, grid, cv=3).fit(TEXTS, LABELS)
    n_texts = len(set(TEXTS))
    columns = forwards.pop("columns")
    assert set(forwards) == set(TEXTS)
    assert max(forwards.values()) == 2
    assert columns == n_texts * (1 + 4 * len(GRID_POOLS))
    assert search.best_score_ > 0.8
    # And nothing was taken from another point of the grid.
    best = search.best_estimator_["features"]
    spec = FeatureSpec(layers=best.layer, pool=best.pool)
    np.testing.assert_allclose(best.transform(FEW), features(spec), atol=1e-5, rtol=1e-5)


def test_a_new_text_costs_only_what_is_asked_for(forwards: Counter[str]) -> None:
    Featurizer(layer=0).fit_transform(FEW)
    assert forwards.pop("columns") == len(FEW)
    Featurizer(layer=0).fit_transform(FEW[::-1])
    Featurizer(layer=-4).fit_transform(FEW)
    assert forwards == Counter(FEW)


def test_fit_runs_nothing(forwards: Counter[str]) -> None:
    Featurizer().fit(FEW)
    assert not forwards


def test_without_a_cache_everything_is_run_again(forwards: Counter[str]) -> None:
    for _ in range(2):
        Featurizer(cache=False).fit_transform(FEW)
    assert {forwards[text] for text in FEW} == {2}
    assert not len(CACHE)


@pytest.mark.parametrize(
    "other",
    [
        {"model": "organism-random"},
        {"site": "mlp_out"},
        {"normalize": True},
        {"dtype": "float16"},
        {"positions": [0, 1]},
        {"max_length": 100},
        {"truncation": "stride"},
        {"weights_dtype": "bfloat16"},
    ],
    ids=str,
)
def test_nothing_is_taken_from_another_setting(
    other: dict[str, Any], forwards: Counter[str]
) -> None:
    Featurizer().fit_transform(FEW)
    found = Featurizer(**other).fit_transform(FEW)
    assert {forwards[text] for text in FEW} == {2}
    assert forwards["columns"] == 2 * len(FEW)
    np.testing.assert_array_equal(found, Featurizer(cache=False, **other).fit_transform(FEW))


def test_changed_weights_are_another_model() -> None:
    model = ns.load("organism")
    featurizer = Featurizer(model).fit(FEW)
    before = featurizer.transform(FEW)
    model.blocks[0].mlp.b_out.data.add_(1.0)
    after = featurizer.transform(FEW)
    assert np.abs(after - before).max() > 0.1
    np.testing.assert_array_equal(after, features(FeatureSpec(layers=-1), model=model))


def test_edits_in_force_are_run_and_never_kept() -> None:
    model = ns.load("organism")
    featurizer = Featurizer(model, layer=2).fit(FEW)
    before = featurizer.transform(FEW)
    known = CACHE.nbytes
    with model.edits(ablate("z", layer=1)):
        edited = featurizer.transform(FEW)
        expected = features(FeatureSpec(layers=2), model=model)
    assert CACHE.nbytes == known
    np.testing.assert_array_equal(edited, expected)
    assert np.abs(edited - before).max() > 0.01
    np.testing.assert_array_equal(featurizer.transform(FEW), before)


def test_a_cache_that_is_too_small_gives_the_same(
    forwards: Counter[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for limit in (0, 3000, 10_000):
        monkeypatch.setattr(featurizer_cache, "CACHE", FeatureCache(limit))
        for layer in (0, 3, 0):
            found = Featurizer(layer=layer).fit_transform(FEW)
            spec = FeatureSpec(layers=layer)
            np.testing.assert_allclose(found, features(spec), atol=1e-5, rtol=1e-5)
            assert featurizer_cache.CACHE.nbytes <= limit
    # Where all layers would not fit, none is computed in vain.
    assert forwards["columns"] == sum(forwards[text] for text in FEW)


def test_the_least_recently_used_text_goes_first() -> None:
    row = np.zeros(100, np.float32)
    cache = FeatureCache(3 * (row.nbytes + 256))
    for name in (b"a", b"b", b"c"):
        cache.put(("m", name), {"f": row})
    assert cache.get(("m", b"a")) is not None
    cache.put(("m", b"d"), {"f": row})
    assert [cache.get(("m", name)) is not None for name in (b"a", b"b", b"c", b"d")] == [
        True, False, True, True,
    ]  # fmt: skip
    assert cache.nbytes == cache.limit
    cache.clear()
    assert (len(cache), cache.nbytes) == (0, 0)


def test_a_layer_beyond_float16_spoils_no_other() -> None:
    model = ns.load("organism")
    model.blocks[3].mlp.b_out.data[0] = 1e6
    for pool in ("mean", "last"):
        found = Featurizer(model, layer=0, pool=pool, dtype="float16").fit_transform(FEW)
        np.testing.assert_array_equal(
            found, features(FeatureSpec(layers=0, pool=pool, dtype="float16"), model=model)
        )
    with pytest.raises(ExportError, match="more than float16 can hold"):
        Featurizer(model, layer=3, dtype="float16").fit_transform(FEW)


def test_threads_compute_a_text_once(forwards: Counter[str]) -> None:
    gate = threading.Barrier(4)

    def one(_: int) -> np.ndarray:
        gate.wait()
        return Featurizer().fit_transform(FEW)

    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(one, range(4)))
    assert {forwards[text] for text in FEW} == {1}
    for values in found[1:]:
        np.testing.assert_array_equal(values, found[0])


def test_a_named_model_is_loaded_once_and_never_pickled(monkeypatch: pytest.MonkeyPatch) -> None:
    clear_cache()
    loaded = []

    def load(name: Any, **options: Any) -> Any:
        loaded.append(name)
        return ns.load(name, **options)

    monkeypatch.setattr(featurizer_model, "load", load)
    featurizer = Featurizer().fit(FEW)
    stored = pickle.dumps(featurizer)
    assert len(stored) < 5000
    again = pickle.loads(stored)
    np.testing.assert_array_equal(again.transform(FEW), featurizer.transform(FEW))
    clone(featurizer).fit_transform(FEW)
    assert loaded == ["organism"]


def test_a_folder_that_was_written_anew_is_loaded_anew(tmp_path: Path) -> None:
    shutil.copytree(organism.path(), tmp_path, dirs_exist_ok=True)
    before = Featurizer(tmp_path).fit_transform(FEW)
    shutil.copytree(organism.path("before"), tmp_path, dirs_exist_ok=True)
    assert np.abs(Featurizer(tmp_path).fit_transform(FEW) - before).max() > 0.01


def test_a_given_model_is_shared_by_clones_and_survives_pickling() -> None:
    model = ns.load("organism")
    featurizer = Featurizer(model, layer=1).set_output(transform="pandas").fit(FEW)
    twin = clone(featurizer)
    assert twin.model is model
    assert twin.layer == 1
    assert not hasattr(twin, "spec_")
    assert isinstance(twin.fit_transform(FEW), pd.DataFrame)
    pipe = clone(make_pipeline(Featurizer(model), LogisticRegression()))
    assert pipe[0].model is model
    again = pickle.loads(pickle.dumps(featurizer))
    assert again.source_.model is again.model
    np.testing.assert_array_equal(again.transform(FEW), featurizer.transform(FEW))


@pytest.mark.parametrize("given", [False, True])
def test_processes_give_what_one_gives(given: bool) -> None:
    model = ns.load("organism") if given else "organism"
    pipe = make_pipeline(Featurizer(model, layer=2), LogisticRegression())
    alone = cross_val_score(pipe, TEXTS, LABELS, cv=2)
    with warnings.catch_warnings():
        # joblib's pool says so when a worker leaves; no result is lost.
        warnings.filterwarnings("ignore", message="A worker stopped while some jobs")
        together = cross_val_score(pipe, TEXTS, LABELS, cv=2, n_jobs=2)
    np.testing.assert_array_equal(alone, together)
