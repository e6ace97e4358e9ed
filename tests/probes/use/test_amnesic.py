from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression

import neoscope as ns
from neoscope.errors import ProbeError
from neoscope.organism.compiled import INDUCTION_TRUTH, repeated
from probes.erasure import Eraser, fit_leace, scrub
from probes.use import amnesic


@pytest.fixture(scope="module")
def model() -> Any:
    return ns.load("induction")


@pytest.fixture(scope="module")
def states(model: Any) -> np.ndarray:
    _, cache = model.run_with_cache(repeated(40), sites="resid_post", layers=0)
    return np.asarray(cache["resid_post", 0].flatten(0, 1).double())


def concept(name: str) -> np.ndarray:
    ids = repeated(40)
    # The first position has itself for its previous one.
    found = {
        "prev": torch.cat([ids[:, :1], ids[:, :-1]], 1),
        "tok": ids,
        "pos": torch.arange(31).expand(40, -1),
    }[name]
    return found.flatten().numpy()


def accuracy(model: Any, edits: list[Any]) -> float:
    """Share of next words predicted within the second copy."""
    ids, period = repeated(20, seed=5), INDUCTION_TRUTH.period
    right = model(ids, edits=edits)[:, period + 1 : -1].argmax(-1) == ids[:, period + 2 :]
    return float(right.float().mean())


def test_erasing_the_previous_token_stops_induction_and_leaves_the_token(
    model: Any, states: np.ndarray
) -> None:
    eraser = fit_leace(states, concept("prev"))
    assert accuracy(model, []) == INDUCTION_TRUTH.accuracy
    assert accuracy(model, [eraser.edit("resid_post", 0)]) <= 1.5 / 15
    erased = eraser(states)
    tok, prev = concept("tok"), concept("prev")
    probe = LogisticRegression(max_iter=500)
    assert probe.fit(erased, tok).score(erased, tok) == 1.0
    # What is left of the previous word is what the word itself tells of it, linearly nothing.
    majority = np.bincount(prev).max() / len(prev)
    assert probe.fit(erased, prev).score(erased, prev) < majority + 0.05


def test_erasing_the_position_which_layer_1_does_not_read_changes_no_prediction(
    model: Any, states: np.ndarray
) -> None:
    eraser = fit_leace(states, concept("pos"))
    assert accuracy(model, [eraser.edit("resid_post", 0)]) == 1.0


def test_the_report_says_which_concept_the_model_needs(model: Any, states: np.ndarray) -> None:
    ids = repeated(12, seed=3)
    options = {"n_random": 19, "progress": False}
    needed = amnesic(model, {0: fit_leace(states, concept("prev"))}, ids, **options)
    idle = amnesic(model, {0: fit_leace(states, concept("pos"))}, ids, **options)
    assert needed.ranks == {0: 15}
    assert needed.find("accuracy").value < -0.4
    assert needed.find().p == pytest.approx(1 / 20)
    assert "the model needs it" in str(needed)
    assert idle.find().p > 0.5
    assert "decodable is not used" in str(idle)
    loss = model(ids, return_type="loss").item()
    assert needed.loss == pytest.approx(loss, abs=1e-5)


def test_controls_are_matched_and_repeatable(model: Any, states: np.ndarray) -> None:
    eraser = fit_leace(states, concept("prev"))
    ids = repeated(4)
    one, two = (amnesic(model, {0: eraser}, ids, n_random=2, progress=False) for _ in range(2))
    for control in ("same norm", "same rank"):
        assert (one.find("loss", control).random == two.find("loss", control).random).all()


def test_scrubbed_layers_are_taken_as_they_come(model: Any) -> None:
    ids = repeated(12)
    labels = [[None, *row[:-1]] for row in ids.tolist()]
    found = scrub(model, ids, labels, progress=False)
    report = amnesic(model, found, ids, n_random=1, progress=False)
    assert report.ranks == {0: 15, 1: 15}


def test_nothing_to_erase_or_to_predict_is_refused(model: Any) -> None:
    empty = Eraser(np.zeros(176), np.zeros((176, 0)), np.zeros((0, 176)))
    with pytest.raises(ProbeError, match="nothing to compare"):
        amnesic(model, {0: empty}, repeated(2))
    full = Eraser(np.zeros(176), np.eye(176)[:, :1], np.eye(176)[:1])
    with pytest.raises(ProbeError, match="single token"):
        amnesic(model, {0: full}, ["apple", "river stone"], progress=False)


def test_too_few_draws_decide_nothing(model: Any, states: np.ndarray) -> None:
    ids, erasers = repeated(12, seed=3), {0: fit_leace(states, concept("prev"))}
    few = amnesic(model, erasers, ids, n_random=5, progress=False)
    assert few.find().value > few.find().random.max()
    assert few.verdict.startswith("too few random draws to decide: with 5 of them no p")
    assert "not used" not in str(few) and "n_random=19" in str(few)
    enough = amnesic(model, erasers, ids, n_random=19, progress=False)
    assert "the model needs it" in enough.verdict
    assert "\n" not in repr(enough) and "array" not in repr(enough)
    assert enough.verdict in repr(enough) and len(repr(enough)) < 200
    assert "array" not in repr(enough.effects[0])


def test_where_nothing_changes_the_loss_nothing_is_told(model: Any) -> None:
    idle = Eraser(np.zeros(176), np.zeros((176, 1)), np.zeros((1, 176)))
    report = amnesic(model, {0: idle}, repeated(2), n_random=19, progress=False)
    assert not report.find().random.any()
    assert "it cannot be told" in report.verdict


@pytest.mark.parametrize(
    ("erasers", "said"),
    [
        (["an eraser"], "erasers=list; expected a mapping from layers to erasers"),
        ({0: "leace"}, "layer 0 has a str; expected an Eraser"),
        ({}, "nothing to compare"),
    ],
)
def test_erasers_come_by_layer(model: Any, erasers: Any, said: str) -> None:
    with pytest.raises(ProbeError, match=said):
        amnesic(model, erasers, repeated(2))


@pytest.mark.parametrize("options", [{"confidence": 95.0}, {"confidence": 0.0}, {"n_random": 0}])
def test_impossible_numbers_are_refused(model: Any, options: dict[str, Any]) -> None:
    full = Eraser(np.zeros(176), np.eye(176)[:, :1], np.eye(176)[:1])
    with pytest.raises(ProbeError, match=next(iter(options))):
        amnesic(model, {0: full}, repeated(2), **options)
