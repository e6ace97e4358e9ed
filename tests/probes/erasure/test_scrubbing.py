from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

import neoscope as ns
from neoscope.errors import ProbeError
from neoscope.organism.compiled import repeated
from probes.erasure import fit_leace, scrub


@pytest.fixture(scope="module")
def model() -> Any:
    return ns.load("induction")


def previous(ids: torch.Tensor) -> list[list[Any]]:
    return [[None, *row[:-1]] for row in ids.tolist()]


def test_every_layer_is_clean_with_all_erasers_active(model: Any) -> None:
    ids = repeated(24)
    found = scrub(model, ids, previous(ids), batch_size=10, progress=False)
    assert list(found.erasers) == [0, 1]
    _, cache = model.run_with_cache(ids, sites="resid_post", edits=found.edits())
    prev = ids[:, :-1].flatten().numpy()
    for layer in (0, 1):
        X = cache["resid_post", layer][:, 1:].flatten(0, 1).double().numpy()
        means = np.stack([X[prev == k].mean(0) for k in np.unique(prev)])
        assert np.abs(means - X.mean(0)).max() < 1e-4  # the model runs in float32


def test_a_later_layer_is_fitted_behind_the_earlier_erasers(model: Any) -> None:
    ids = repeated(24)
    found = scrub(model, ids, previous(ids), progress=False)
    with model.edits(found.erasers[0].edit("resid_post", 0)):
        _, cache = model.run_with_cache(ids, sites="resid_post", layers=1)
    X = cache["resid_post", 1][:, 1:].flatten(0, 1).double().numpy()
    alone = fit_leace(X, ids[:, :-1].flatten().numpy())
    np.testing.assert_allclose(found.erasers[1](X), alone(X), atol=1e-4)


def test_one_label_a_text_and_some_layers(model: Any) -> None:
    texts = ["apple river stone", "cloud lamp", "river horse garden bridge"]
    found = scrub(
        model, texts, ["a", "b", "a"], layers=[-1], prepend_bos=True, batch_size=2, progress=False
    )
    assert list(found.erasers) == [1]
    assert found.erasers[1].rank == 1


def test_labels_that_do_not_fit_are_refused(model: Any) -> None:
    ids = repeated(3)
    with pytest.raises(ProbeError, match="3 texts but 2 labels"):
        scrub(model, ids, [0, 1])
    with pytest.raises(ProbeError, match="text 0 has 31 tokens but 2 labels"):
        scrub(model, ids, [[0, 1], [0, 1], [1, 0]])
    with pytest.raises(ProbeError, match="one class"):
        scrub(model, ids, [1, 1, 1])
    with pytest.raises(ProbeError, match="'all'"):
        scrub(model, ids, [0, 1, 0], layers="some")


@pytest.mark.parametrize(
    ("layers", "said"),
    [
        ([9], "layer 9 does not exist; the model has layers 0 to 1"),
        ([2], "layer 2 does not exist"),
        ([-3], "layer -3 does not exist"),
        (2, "layer 2 does not exist"),
        ([True], "layer True does not exist"),
        ([1.5], "layer 1.5 does not exist"),
        (["a"], "layer 'a' does not exist"),
        ([], "layers is empty"),
        (None, "expected 'all' or numbers of layers"),
    ],
)
def test_layers_that_do_not_exist_are_refused(model: Any, layers: Any, said: str) -> None:
    with pytest.raises(ProbeError, match=said):
        scrub(model, repeated(3), [0, 1, 0], layers=layers, progress=False)


@pytest.mark.parametrize("layers", [1, np.int64(-1), np.array([1]), range(1, 2)])
def test_one_layer_and_any_list_of_layers_are_taken(model: Any, layers: Any) -> None:
    found = scrub(model, repeated(3), [0, 1, 0], layers=layers, progress=False)
    assert list(found.erasers) == [1]
    assert repr(found) == "Scrubbing(resid_post, ranks by layer {1: 1})"


@pytest.mark.parametrize("site", ["embed", "hook_pos_embed", "ln_final.hook_normalized", "pattern"])
def test_sites_without_a_vector_for_each_token_in_each_layer_are_refused(
    model: Any, site: str
) -> None:
    with pytest.raises(ProbeError, match=r"cannot be scrubbed; expected .*resid_post"):
        scrub(model, repeated(3), [0, 1, 0], site=site, progress=False)
