from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import neoscope as ns
from neoscope.errors import ProbeError
from neoscope.organism.compiled import DIRECTION_TRUTH, direction_prompts
from probes.data.places import Place, Source
from probes.keeping.card import ProbeCard
from probes.linear.ridge import RidgeProbe
from probes.means.mass_mean import MassMeanProbe
from probes.use import CausalReport, causal_effect
from probes.use.subspace import read_probe

TRUTH = DIRECTION_TRUTH
PLACE = Place("resid_post", 1)
PROMPTS = direction_prompts(16)
LABELS = PROMPTS.label.numpy()
ANSWERS = np.where(LABELS, TRUTH.positive, TRUTH.negative).tolist()
WRONG = np.where(LABELS, TRUTH.negative, TRUTH.positive).tolist()


@pytest.fixture(scope="module")
def model() -> Any:
    return ns.load("direction")


@pytest.fixture(scope="module")
def states(model: Any) -> np.ndarray:
    _, cache = model.run_with_cache(PROMPTS.tokens, sites="resid_post", layers=1, positions=-1)
    return np.asarray(cache["resid_post", 1][:, 0].double())


def probe_of(model: Any, states: np.ndarray, y: np.ndarray, pool: str = "last") -> MassMeanProbe:
    probe = MassMeanProbe().fit(states, y)
    probe.card_ = ProbeCard(PLACE, Source(model.fingerprint(), "direction", pool))
    return probe


def effect(model: Any, probe: Any, **options: Any) -> CausalReport:
    both = {"answers": ANSWERS, "wrong": WRONG, "progress": False}
    return causal_effect(model, probe, PROMPTS.tokens, **both | options)


@pytest.fixture(scope="module")
def report(model: Any, states: np.ndarray) -> CausalReport:
    """Of the planted direction, on all prompts."""
    return effect(model, probe_of(model, states, LABELS), n_random=19)


def test_the_planted_direction_is_used_as_the_truth_says(report: CausalReport) -> None:
    erased = report.find("erase")
    assert erased is not None
    assert erased.value == pytest.approx(TRUTH.erased - TRUTH.logit_diff, abs=1e-3)
    # A typical state mirrored is the difference of means added or taken away.
    assert report.shifts == pytest.approx([TRUTH.difference**2], rel=1e-5)
    up, down = report.find("steer", "+True"), report.find("steer", "-True")
    assert up is not None and down is not None
    np.testing.assert_allclose(up.per_text[~LABELS], -TRUTH.steered, rtol=1e-4)
    np.testing.assert_allclose(down.per_text[LABELS], -TRUTH.steered, rtol=1e-4)
    assert report.beyond_random("erase") and report.beyond_random("steer")
    assert "uses what the probe reads" in report.verdict


def test_a_random_direction_of_the_same_norm_does_not_flip_the_answer(
    report: CausalReport,
) -> None:
    for kind in ("erase", "steer"):
        found = report.find(kind)
        assert found is not None
        assert np.abs(found.random).max() < 0.5 * TRUTH.logit_diff < abs(found.value) * 1.01


def test_a_feature_that_no_one_reads_is_decodable_and_not_used(
    model: Any, states: np.ndarray
) -> None:
    y = PROMPTS.negated.numpy()
    probe = probe_of(model, states, y)
    assert probe.score(states, y) == 1.0
    report = effect(model, probe, n_random=19)
    assert not report.beyond_random("erase") and not report.beyond_random("steer")
    assert "Decodable is not used" in report.verdict
    assert "Decodable is not used" in str(report)


def test_where_nothing_is_read_nothing_changes(model: Any, states: np.ndarray) -> None:
    # Layer 2's attention is idle: only the last position's own state reaches the logits.
    report = effect(model, probe_of(model, states, LABELS), positions=[0, 1, 2, 3], n_random=19)
    for one in report.effects:
        assert np.abs(one.per_text).max() == 0.0
        assert one.p == 1.0
    assert report.beyond_random("erase") is None
    assert "It cannot be told whether the model uses" in report.verdict
    assert "not used" not in str(report)


def test_exchanging_the_subspace_carries_the_answer_over(model: Any, states: np.ndarray) -> None:
    # Prompts of one group of four have the same topic and ending; classes differ in half of them.
    other = PROMPTS.tokens.reshape(4, 4, 5).flip(1).roll(1, 1).reshape(16, 5)
    flipped = direction_prompts(16).label.reshape(4, 4).flip(1).roll(1, 1).flatten().numpy()
    differs = flipped != LABELS
    report = effect(model, probe_of(model, states, LABELS), counterparts=other, n_random=2)
    found = report.find("interchange")
    assert found is not None
    np.testing.assert_allclose(found.per_text[differs], -2 * TRUTH.logit_diff, rtol=1e-4)
    np.testing.assert_allclose(found.per_text[~differs], 0.0, atol=1e-3)


@pytest.mark.parametrize("how", ["leace", "mean"])
def test_leace_and_mean_projection_need_data_and_erase_as_well(
    model: Any, states: np.ndarray, how: str
) -> None:
    probe = probe_of(model, states, LABELS)
    with pytest.raises(ProbeError, match="needs data="):
        effect(model, probe, eraser=how)
    report = effect(model, probe, eraser=how, data=(states, LABELS), n_random=2)
    erased = report.find("erase")
    assert erased is not None
    assert erased.value == pytest.approx(-TRUTH.logit_diff, abs=1e-3)


def test_without_answers_the_divergence_is_measured(model: Any, states: np.ndarray) -> None:
    probe = probe_of(model, states, LABELS)
    report = causal_effect(model, probe, PROMPTS.tokens, n_random=2, progress=False)
    assert report.measure == "kl"
    assert {one.measure for one in report.effects} == {"kl"}
    erased = report.find("erase")
    assert erased is not None and (erased.per_text > 1.0).all()
    assert "nats" in report.report
    alone = causal_effect(model, probe, PROMPTS.tokens, answers=ANSWERS, n_random=2, progress=False)
    assert alone.measure == "log_prob"


def test_several_classes_are_steered_one_by_one(model: Any, states: np.ndarray) -> None:
    y = np.array(["no", "yes", "rather"])[np.where(PROMPTS.good, LABELS.astype(int), 2)]
    report = effect(model, probe_of(model, states, y), n_random=2)
    said = {one.direction for one in report.effects if one.kind == "steer"}
    assert said == {"all", "+no", "-no", "+rather", "-rather", "+yes", "-yes"}
    assert len(report.to_dataframe()) == len(report.effects)


def test_the_steering_moves_the_probes_logit_by_what_is_stated(
    model: Any, states: np.ndarray
) -> None:
    reading = read_probe(probe_of(model, states, LABELS))
    before, after = reading.logits(states), reading.logits(states + reading.step(0, 3.0))
    np.testing.assert_allclose(after - before, 3.0, rtol=1e-12)


def test_texts_words_and_padding_are_read(model: Any, states: np.ndarray) -> None:
    probe = probe_of(model, states, LABELS)
    texts = ["film not awful .", "book very dull !", "play good ?"]
    report = causal_effect(
        model,
        probe,
        texts,
        answers=["positive", "negative", "positive"],
        wrong=["negative", "positive", "negative"],
        prepend_bos=True,
        batch_size=2,
        n_random=2,
        progress=False,
    )
    erased = report.find("erase")
    assert erased is not None
    np.testing.assert_allclose(erased.per_text[:2], -TRUTH.logit_diff, atol=1e-3)


def test_head_places_are_edited_in_that_head_alone(model: Any) -> None:
    _, cache = model.run_with_cache(PROMPTS.tokens, sites="z", layers=0, positions=-1)
    X = cache["z", 0][:, 0, 2].double().numpy()
    probe = MassMeanProbe().fit(X, PROMPTS.good.numpy())
    report = effect(model, probe, place=Place("z", 0, 2), positions=-1, n_random=19)
    assert report.beyond_random("erase")


def test_a_probe_of_another_model_or_place_is_refused(model: Any, states: np.ndarray) -> None:
    probe = probe_of(model, states, LABELS)
    other = ns.HookedGPTNeo.from_config(model.config)
    with pytest.raises(ProbeError, match="another model"):
        causal_effect(other, probe, PROMPTS.tokens)
    with pytest.raises(ProbeError, match=r"trained on resid_post 1 .*layer 2 instead of 1"):
        effect(model, probe, place=Place("resid_post", 2))
    effect(other, probe, any_source=True, n_random=1)
    with pytest.raises(ProbeError, match="place="):
        effect(model, MassMeanProbe().fit(states, LABELS))


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"answers": ANSWERS[:3]}, "16 texts but 3 answers"),
        ({"answers": "positive negative"}, "2 tokens"),
        ({"answers": None}, "without answers"),
        ({"answers": 99}, "outside the vocabulary"),
        ({"eraser": "leice"}, "did you mean 'leace'"),
        ({"n_random": 0}, "n_random"),
        ({"confidence": 95.0}, "confidence=95.0; expected a share between 0 and 1"),
        ({"wrong": ANSWERS}, "text 0: the answer and the wrong word are the same"),
        ({"data": (np.ones((4, 3)), np.arange(4))}, r"expected \[rows, "),
        ({"counterparts": PROMPTS.tokens[:3]}, "3 counterparts"),
    ],
)
def test_bad_arguments_are_refused(
    model: Any, states: np.ndarray, options: dict[str, Any], said: str
) -> None:
    with pytest.raises(ProbeError, match=said):
        effect(model, probe_of(model, states, LABELS), **options)


def test_too_few_draws_decide_nothing(model: Any, states: np.ndarray, report: CausalReport) -> None:
    few, enough = effect(model, probe_of(model, states, LABELS), n_random=18), report
    assert few.beyond_random("erase") is None and few.beyond_random("steer") is None
    assert few.beyond_random("erase", alpha=0.1)
    assert few.verdict.startswith("Too few random draws to decide: with 18 of them no p can be")
    assert "not used" not in str(few) and "n_random=19" in str(few)
    assert enough.beyond_random("erase") and "uses what the probe reads" in enough.verdict
    assert enough.beyond_random("interchange") is None


@pytest.mark.parametrize("rows", [slice(0, 1), LABELS, ~LABELS])
def test_what_erasing_does_does_not_depend_on_which_texts_are_given(
    model: Any, states: np.ndarray, rows: Any
) -> None:
    probe = probe_of(model, states, LABELS)
    report = causal_effect(
        model,
        probe,
        PROMPTS.tokens[rows],
        answers=np.array(ANSWERS)[rows].tolist(),
        wrong=np.array(WRONG)[rows].tolist(),
        n_random=19,
        progress=False,
    )
    erased = report.find("erase")
    assert erased is not None
    np.testing.assert_allclose(erased.per_text, TRUTH.erased - TRUTH.logit_diff, atol=1e-3)
    assert "uses what the probe reads" in report.verdict
    assert ("one text, so no interval" in report.report) == (len(erased.per_text) == 1)
    assert "nan" not in report.report


def test_a_projection_moves_states_onto_the_probes_boundary_and_no_further(
    states: np.ndarray,
) -> None:
    from probes.use.subspace import eraser_of

    kinds = np.where(PROMPTS.good, LABELS.astype(int), 2)
    for y in (LABELS, kinds, np.stack([LABELS, PROMPTS.negated.numpy()], 1).astype(int)):
        reading = read_probe(MassMeanProbe().fit(states, y))
        eraser = eraser_of(reading, "projection", states[:3].mean(0), None)
        np.testing.assert_allclose(reading.logits(eraser(states)), 0.0, atol=1e-9)
        np.testing.assert_allclose(reading.logits(eraser.mean), 0.0, atol=1e-9)
        across = np.eye(states.shape[1]) - reading.basis @ reading.basis.T
        np.testing.assert_allclose(eraser(states) @ across, states @ across, atol=1e-9)


def test_a_class_that_was_never_seen_has_no_part_in_the_boundary(states: np.ndarray) -> None:
    y = LABELS.astype(int)
    whole = MassMeanProbe().fit(states, y)
    more = MassMeanProbe().partial_fit(states, y, classes=[0, 1, 2])
    reading = read_probe(more)
    assert reading.names == ("0", "1")
    point = reading.boundary(states[0])
    np.testing.assert_allclose(whole.decision_function(point[None]), 0.0, atol=1e-9)


def test_a_probe_of_quantities_is_erased_to_the_mean_of_data_else_of_the_texts(
    model: Any, states: np.ndarray
) -> None:
    y = np.where(LABELS, 8.0, 4.0)
    probe = RidgeProbe(alpha=1e-3).fit(states, y)
    probe.card_ = ProbeCard(PLACE, Source(model.fingerprint(), "direction", "last"))
    both = {"answers": ANSWERS[:1], "wrong": WRONG[:1], "progress": False, "n_random": 19}
    alone = causal_effect(model, probe, PROMPTS.tokens[:1], **both)
    assert alone.beyond_random("erase") is None
    assert "It cannot be told" in alone.verdict and "not used" not in str(alone)
    known = causal_effect(model, probe, PROMPTS.tokens[:1], data=(states, y), **both)
    erased = known.find("erase")
    whole = effect(model, probe, n_random=1).find("erase")
    assert erased is not None and whole is not None
    assert erased.value == pytest.approx(whole.per_text[0], rel=1e-4)
    assert erased.value < -0.5 * TRUTH.logit_diff
    assert known.shifts == pytest.approx([4.0], rel=0.01)
    assert "uses what the probe reads" in known.verdict


def test_a_report_is_shown_in_one_line_with_its_verdict(report: CausalReport) -> None:
    assert repr(report) == f"CausalReport(resid_post 1: {report.verdict})"
    assert "array" not in repr(report.effects[0]) and "\n" not in repr(report.effects[0])
