"""Examples behind the scores, and comparisons of two runs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import neoscope as ns
from neoscope.edits import ablate
from neoscope.errors import AnalysisError, ArgumentError
from neoscope.evaluate import Evaluation, compare, evaluate, local_task
from neoscope.evaluate.comparing import Comparison
from neoscope.model import HookedGPTNeo
from tests.neoscope.evaluate.examples import CHOICES, TEXTS
from tests.neoscope.evaluate.peers import write


def test_samples_are_the_examples_behind_the_scores(
    organism: HookedGPTNeo, choices: dict[str, Any], tmp_path: Path
) -> None:
    found = evaluate(organism, choices, limit=6, samples=True, progress=False)
    assert [row["example"] for row in found.samples] == list(range(6))
    assert np.mean([row["right"] for row in found.samples]) == found["mc", "acc"]
    for row, asked in zip(found.samples, CHOICES, strict=False):
        assert row["context"] == row["doc"]["context"] == asked["context"]
        best = int(np.argmax(row["scores"]))
        assert row["right"] == (best == row["target"] == asked["label"])
        assert row["choices"] == (" the castle.", " Mary.")
    assert evaluate(organism, choices, limit=6, progress=False).samples == ()
    again = Evaluation.load(found.save(tmp_path / "kept.json"))
    assert again.samples == found.samples


def test_samples_of_answers_and_texts(organism: HookedGPTNeo, tmp_path: Path) -> None:
    answers = write(tmp_path / "answers.jsonl", [{"prompt": TEXTS[0], "answer": "a"}])
    texts = write(tmp_path / "texts.jsonl", [{"text": TEXTS[0]}])
    tasks = [local_task(answers, max_new_tokens=3), local_task(texts)]
    said, text = evaluate(organism, tasks, samples=True, progress=False).samples
    assert (said["task"], said["target"], said["right"]) == ("answers", "a", False)
    assert isinstance(said["answer"], str)
    assert (text["task"], text["right"], len(text["scores"])) == ("texts", None, 1)


def test_any_accepted_answer_is_right(organism: HookedGPTNeo, tmp_path: Path) -> None:
    rows = [{"prompt": text, "answer": "nothing"} for text in TEXTS[:3]]
    plain = local_task(write(tmp_path / "one.jsonl", rows), max_new_tokens=3)
    said = [
        row["answer"] for row in evaluate(organism, plain, samples=True, progress=False).samples
    ]
    for row, answer in zip(rows, said, strict=True):
        row["answer"] = ["nothing", answer]  # type: ignore[assignment]
    rows[2]["answer"] = "nothing"
    several = local_task(write(tmp_path / "several.jsonl", rows), max_new_tokens=3)
    for shots in (0, 1):
        found = evaluate(organism, several, num_fewshot=shots, samples=True, progress=False)
        assert found.num_fewshot.tolist() == [shots]
    found = evaluate(organism, several, progress=False)
    assert found["several"] == pytest.approx(2 / 3)


def test_answers_may_be_compared_without_punctuation(
    organism: HookedGPTNeo, tmp_path: Path
) -> None:
    row = {"prompt": TEXTS[0], "answer": "x"}
    options: dict[str, Any] = {"max_new_tokens": 4, "stop": ["\n"]}
    one = local_task(write(tmp_path / "a.jsonl", [row]), **options)
    said = evaluate(organism, one, samples=True, progress=False).samples[0]["answer"]
    path = write(tmp_path / "b.jsonl", [row | {"answer": f"{said}!"}])
    strict = evaluate(organism, local_task(path, **options), progress=False)
    loose = local_task(path, ignore_punctuation=True, **options)
    assert (strict["b"], evaluate(organism, loose, progress=False)["b"]) == (0, 1)


def test_a_comparison_is_both_runs_and_their_paired_error(
    organism: HookedGPTNeo, choices: dict[str, Any], tmp_path: Path
) -> None:
    texts = local_task(write(tmp_path / "texts.jsonl", [{"text": text} for text in TEXTS]))
    edit = ablate("mlp_out", layer=0)
    found = compare(organism, [choices, texts], edits=edit, progress=False)
    clean = evaluate(organism, [choices, texts], samples=True, progress=False)
    edited = evaluate(organism, [choices, texts], edits=edit, samples=True, progress=False)
    assert found.clean.tolist() == clean.value.tolist()
    assert found.edited.tolist() == edited.value.tolist()
    right = [[row["metrics"]["acc"] for row in one.samples if row["task"] == "mc"]
             for one in (clean, edited)]  # fmt: skip
    moved = np.subtract(right[1], right[0])
    assert found.stderr[0] == pytest.approx(moved.std(ddof=1) / len(moved) ** 0.5)
    assert np.isnan(found.stderr[2:]).all()
    assert found.edits == (repr(edit),)
    table = found.to_dataframe()
    np.testing.assert_allclose(table.difference, edited.value - clean.value)
    kept = ns.analysis.load(found.save(tmp_path / "both.json"))
    assert isinstance(kept, Comparison)
    assert str(kept) == str(found) == str(Comparison.load(tmp_path / "both.json"))
    with pytest.raises(AnalysisError, match="holds a Comparison, no Evaluation"):
        Evaluation.load(tmp_path / "both.json")
    with pytest.raises(ArgumentError, match="nothing to compare"):
        compare(organism, choices, edits=[])
