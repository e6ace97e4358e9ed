from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from neoscope.errors import ProbeError
from probes.data.columns import Column
from probes.data.dataset import ProbeData
from probes.data.places import Place

PLACES = [Place("resid_post", 0), Place("resid_post", 3), Place("z", 0, 0), Place("z", 0, 1)]


def data(n: int = 12, **more: Any) -> ProbeData:
    X = {place: np.random.default_rng(k).normal(size=(n, 3)) for k, place in enumerate(PLACES)}
    return ProbeData(X, ["a", "b", "c"] * (n // 3), np.arange(n) // 2, **more)


def test_an_array_is_one_place() -> None:
    X = np.arange(8.0).reshape(4, 2)
    one = ProbeData(X, [0, 1, 0, 1])
    assert one.places == (Place("X"),)
    np.testing.assert_array_equal(one.matrix(Place("X")), X)
    assert one.n_groups == one.n_rows == len(one) == 4


def test_a_matrix_is_a_contiguous_copy_of_floats() -> None:
    X = np.arange(12, dtype=np.float16).reshape(4, 3)
    one = ProbeData(X, [0, 1, 0, 1])
    matrix = one.matrix(Place("X"))
    assert matrix.dtype == np.float32 and matrix.flags.c_contiguous
    matrix[:] = -1
    np.testing.assert_array_equal(one.matrix(Place("X")), X)
    assert ProbeData(X.astype(np.float64), [0, 1, 0, 1]).matrix(Place("X")).dtype == np.float64


@pytest.mark.parametrize("rows", [[3, 0, 3], slice(1, 3), [True, False, True, False], [-1], []])
def test_rows_are_numbers_slices_and_masks(rows: Any) -> None:
    X = np.arange(8.0).reshape(4, 2)
    got = ProbeData(X, [0, 1, 0, 1]).matrix(Place("X"), rows)
    expected = X[rows] if isinstance(rows, slice) else X[np.array(rows, None if rows else int)]
    np.testing.assert_array_equal(got, expected)


def test_a_mapped_file_is_read_as_an_array_is(tmp_path: Path) -> None:
    X = np.random.default_rng(0).normal(size=(20_000, 4)).astype(np.float32)
    np.save(tmp_path / "x.npy", X)
    rows = np.random.default_rng(1).permutation(20_000)[:19_000]
    y = np.arange(20_000) % 2
    mapped = ProbeData(np.load(tmp_path / "x.npy", mmap_mode="r"), y)
    np.testing.assert_array_equal(mapped.matrix(Place("X")), X)
    np.testing.assert_array_equal(mapped.matrix(Place("X"), rows), X[rows])


def test_one_place_is_read_without_the_others() -> None:
    def unread() -> np.ndarray:
        raise AssertionError("read")

    X = {Place("z", 0): Column(unread), Place("z", 1): np.zeros((2, 1))}
    assert ProbeData(X, ["a", "b"]).matrix(Place("z", 1)).shape == (2, 1)


def test_rows_of_several_stored_rows_are_their_means() -> None:
    stored = np.random.default_rng(0).normal(size=(30, 4))
    start = np.array([5, 0, 28, 7])
    stop = np.array([6, 4, 30, 17])
    expected = np.array([stored[a:b].mean(0) for a, b in zip(start, stop, strict=True)])
    column = Column(lambda: stored, None, start, stop)
    np.testing.assert_allclose(column.read(), expected)
    np.testing.assert_allclose(column.read(np.array([3, 1])), expected[[3, 1]])
    part = Column(lambda: stored, (1, 3), start, stop)
    np.testing.assert_allclose(part.read(), expected[:, 1:3])


def test_views_nest() -> None:
    whole = data(words=[f"w{k}" for k in range(12)], types=list("abcdefghijkl"))
    view = whole.take([8, 2, 4, 6]).take([True, False, True, True])
    assert view.y.tolist() == whole.y[[8, 4, 6]].tolist()
    assert view.words is not None and view.words.tolist() == ["w8", "w4", "w6"]
    assert view.types is not None and view.types.tolist() == ["i", "e", "g"]
    for place in PLACES:
        np.testing.assert_array_equal(view.matrix(place), whole.matrix(place)[[8, 4, 6]])
        np.testing.assert_array_equal(view.matrix(place, [2]), whole.matrix(place)[[6]])


def test_places_are_selected_by_site_layer_and_head() -> None:
    whole = data()
    assert whole.select("resid_post").places == tuple(PLACES[:2])
    assert whole.select(layers=-1).places == (PLACES[1],)
    assert whole.select(["z"], layers=[0], heads=1).places == (PLACES[3],)
    assert whole.select(layers="all").places == tuple(PLACES)


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({"sites": "resid_pots"}, "did you mean 'resid_post'"),
        ({"layers": 7}, "layer 7 is not here; layers that are: 0, 3"),
        ({"heads": 2}, "head 2 is not here; heads that are: 0, 1"),
        ({"layers": 1.5}, "no whole number"),
        ({"sites": "z", "layers": 3}, "no place is at sites='z', layers=3"),
    ],
)
def test_a_place_that_is_not_there_is_named(asked: dict[str, Any], said: str) -> None:
    with pytest.raises(ProbeError, match=said):
        data().select(**asked)
    with pytest.raises(ProbeError, match=r"no features of z 0\.2; did you mean 'z 0\.1'"):
        data().matrix(Place("z", 0, 2))


def test_a_feature_that_is_not_finite_is_named_by_place_and_row() -> None:
    X = np.ones((4, 2))
    X[2, 1] = np.nan
    X[3, 0] = np.inf
    one = ProbeData({Place("resid_post", 5): X}, [0, 1, 0, 1], words=["I", "am", "very", "big"])
    with pytest.raises(ProbeError, match=r"resid_post 5, row 2 \('very'\).*in 1 more rows"):
        one.matrix(Place("resid_post", 5))
    with pytest.raises(ProbeError, match=r"row 3 \('big'\)"):
        one.matrix(Place("resid_post", 5), [0, 3])
    with pytest.raises(ProbeError, match=r"row 1 \('very'\)"):
        one.take([0, 2]).matrix(Place("resid_post", 5))
    assert one.matrix(Place("resid_post", 5), [0, 1]).shape == (2, 2)


def test_features_whose_sum_overflows_are_finite() -> None:
    X = np.full((4, 2), 3e38, np.float32)
    assert ProbeData(X, [0, 1, 0, 1]).matrix(Place("X")).shape == (4, 2)


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"groups": [0, 1]}, "groups: 2 values for 4 rows"),
        ({"groups": [0, 1, None, 1]}, "groups: row 2 has none"),
        ({"types": ["a"]}, "types: 1 value for 4 rows"),
        ({"kind": "regresion"}, "did you mean 'regression'"),
        ({"kind": "regression", "y": list("abab")}, "regression needs numbers"),
        ({"X": np.ones(4)}, r"shape \(4,\); expected numbers"),
        ({"X": np.array([["a"]] * 4)}, "expected numbers"),
        ({"X": {}}, "there are no features"),
        ({"baselines": {"embeddings": np.ones((3, 1))}}, "embeddings: features of 3 rows"),
    ],
)
def test_what_does_not_agree_is_refused(more: dict[str, Any], said: str) -> None:
    with pytest.raises(ProbeError, match=said):
        ProbeData(**{"X": np.ones((4, 1)), "y": [0, 1, 0, 1], **more})


def test_splits_and_folds_never_leak_and_train_on_two_classes() -> None:
    whole = data(60)
    train, test = whole.split(0.25, seed=3)
    assert not set(whole.groups[train]) & set(whole.groups[test])
    for inner, valid in whole.folds(4, rows=train):
        assert set(inner) | set(valid) == set(train)
        assert not set(whole.groups[inner]) & set(whole.groups[valid])


def test_a_class_in_too_few_groups_is_named() -> None:
    one = ProbeData(np.ones((6, 1)), [0, 0, 0, 1, 1, 1], [0, 1, 2, 3, 3, 3])
    with pytest.raises(ProbeError, match="class 1 stands in 1 group, too few"):
        one.folds(2)


def test_fewer_groups_than_folds_are_refused() -> None:
    with pytest.raises(ProbeError, match="7 folds need at least 7 groups, and there are 6"):
        data().folds(7)


def test_a_view_says_what_it_holds() -> None:
    whole = data(words=list("abcdefghijkl"), label="upos")
    assert repr(whole) == (
        "ProbeData(12 rows in 6 groups; multiclass of 'upos': a 4, b 4, c 4; 4 places: "
        "resid_post 0, resid_post 3, z 0.0, z 0.1)"
    )
    assert whole.to_dataframe().columns.tolist() == ["group", "word", "label"]
    several = ProbeData(np.ones((3, 1)), [[0, 1], [1, 0], [1, 1]])
    assert several.to_dataframe().columns.tolist() == ["group", "label_0", "label_1"]
    assert "0 2, 1 2" in repr(several)
    assert "1 ± 0.8" in repr(ProbeData(np.ones((3, 1)), [0, 1, 2], kind="regression"))


def test_rows_that_do_not_exist_are_refused() -> None:
    with pytest.raises(ProbeError, match="row 12 does not exist; there are 12 rows"):
        data().take([12])
    with pytest.raises(ProbeError, match="a mask of 12; found bool"):
        data().take([True])
    with pytest.raises(ProbeError, match="no rows are taken"):
        data().take([])


def test_a_baseline_that_nobody_gave_is_none() -> None:
    one = data(baselines={"embeddings": np.ones((12, 2))})
    assert one.take([0, 1]).baseline("embeddings").shape == (2, 2)  # type: ignore[union-attr]
    assert data().baseline("embeddings") is None and data().baseline("random-init") is None
    with pytest.raises(ProbeError, match="did you mean 'embeddings'"):
        data().baseline("embedings")


def test_rows_of_one_class_cannot_be_split() -> None:
    one = data(60).take(np.arange(0, 60, 3))
    for parted in (one.split, one.folds):
        with pytest.raises(ProbeError, match=r"all 20 rows are of class a: .* 2 classes"):
            parted()


@pytest.mark.parametrize("change", ["bfloat16", "requires_grad_", "half"])
def test_tensors_are_features(change: str) -> None:
    X = torch.arange(8.0).reshape(4, 2)
    one = ProbeData(getattr(X.clone(), change)(), [0, 1, 0, 1])
    np.testing.assert_array_equal(one.matrix(Place("X")), X.numpy())


def test_rows_of_different_lengths_are_no_features() -> None:
    with pytest.raises(ProbeError, match="no array can be made of list"):
        ProbeData([[1.0, 2.0], [1.0]], [0, 1])


def test_what_is_found_is_shown_as_plain_values() -> None:
    with pytest.raises(ProbeError, match=r"needs numbers; found 'a'$"):
        ProbeData(np.ones((2, 1)), ["a", "b"], kind="regression")
    assert "2 rows in 1 group; " in repr(ProbeData(np.ones((2, 1)), [0, 1], [5, 5]))


def test_a_place_may_be_called_by_its_name() -> None:
    place = Place("resid_post", 3)
    data = ProbeData({place: np.eye(4)}, [0, 1, 0, 1])
    assert data.matrix("resid_post 3").tolist() == data.matrix(place).tolist()
    with pytest.raises(ProbeError, match="did you mean 'resid_post 3'"):
        data.matrix("resid_post 4")
