"""evaluate: tasks and suites, edits, what is not there, and what an interruption leaves."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import neoscope as ns
from neoscope.edits import ablate
from neoscope.errors import AnalysisError, ArgumentError, EvaluationError, MissingExtraError
from neoscope.evaluate import Evaluation, Harness, evaluate, local_task, running
from neoscope.evaluate.quiet import bootstrap
from neoscope.model import HookedGPTNeo
from tests.neoscope.evaluate.peers import asked, write

TEXTS = [sentence.text for sentence in ns.organism.sentences("agreement", 40)]
PAIRS = [
    {"sentence_good": text, "sentence_bad": " ".join(reversed(text.split(" ")))} for text in TEXTS
]


@pytest.fixture
def pairs(tmp_path: Path) -> dict[str, Any]:
    return local_task(write(tmp_path / "pairs.jsonl", PAIRS))


def test_accuracy_and_its_error_are_those_of_the_scores(
    organism: HookedGPTNeo, pairs: dict[str, Any], offline: None
) -> None:
    found = evaluate(organism, pairs, progress=False)
    requests = asked(*(("", " " + pair[k]) for pair in PAIRS
                       for k in ("sentence_good", "sentence_bad")))  # fmt: skip
    scores = [score for score, _ in Harness(organism, progress=False).loglikelihood(requests)]
    right = np.array(scores[::2]) > np.array(scores[1::2])
    assert found["pairs"] == found["pairs", "acc"] == right.mean()
    assert found.stderr[0] == pytest.approx(right.std(ddof=1) / len(right) ** 0.5)
    assert (found.n[0], found.num_fewshot[0], found.higher_is_better[0]) == (40, 0, True)
    assert np.isnan(found.published[0])


def test_a_limit_runs_the_first_examples(organism: HookedGPTNeo, pairs: dict[str, Any]) -> None:
    assert evaluate(organism, pairs, limit=7, progress=False).n.tolist() == [7]
    found = evaluate(organism, pairs, limit=0.25, progress=False)
    assert found.n.tolist() == [10]
    assert "25% of each task's examples" in found.heading()


def test_an_edit_moves_the_scores_and_is_named(organism: HookedGPTNeo, tmp_path: Path) -> None:
    task = local_task(write(tmp_path / "texts.jsonl", [{"text": text} for text in TEXTS]))
    edit = ablate("z", layer=2, head=0)
    clean = evaluate(organism, task, progress=False)
    edited = evaluate(organism, task, edits=edit, progress=False)
    with organism.edits(edit):
        inside = evaluate(organism, task, progress=False)
        with torch.no_grad():
            losses = organism(TEXTS, prepend_bos=True, return_type="loss", loss_per_token=True)
    bits = float(losses.sum()) / np.log(2) / sum(len(text.encode()) for text in TEXTS)
    assert edited["texts", "bits_per_byte"] == pytest.approx(bits, rel=1e-5)
    assert edited["texts"] > clean["texts"] * 1.001
    assert inside["texts"] == edited["texts"]
    assert inside.edits == edited.edits == (repr(edit),)
    assert repr(edit) in edited.heading()
    assert not organism.is_edited


def test_several_tasks_keep_their_order(organism: HookedGPTNeo, tmp_path: Path) -> None:
    tasks = [local_task(write(tmp_path / f"{name}.jsonl", PAIRS[:3])) for name in ("b", "a", "c")]
    assert evaluate(organism, tasks, progress=False).task == ("b", "a", "c")
    with pytest.raises(EvaluationError, match="task 'b' is asked for twice"):
        evaluate(organism, [tasks[0], tasks[0]], progress=False)


def test_task_files_of_a_folder_are_found_by_name_path_and_pattern(
    organism: HookedGPTNeo, tmp_path: Path, offline: None
) -> None:
    rows = write(tmp_path / "rows.jsonl", PAIRS[:4])
    (tmp_path / "load.py").write_text(
        "import json, pathlib, datasets\n"
        "def load(**metadata):\n"
        f"    lines = pathlib.Path({str(rows)!r}).read_text().splitlines()\n"
        "    rows = [json.loads(line) for line in lines]\n"
        "    return {'test': datasets.Dataset.from_list(rows)}\n"
    )
    for name in ("agree_one", "agree_two"):
        (tmp_path / f"{name}.yaml").write_text(
            f"task: {name}\ncustom_dataset: !function load.load\noutput_type: multiple_choice\n"
            "test_split: test\ndoc_to_text: ''\ndoc_to_target: 0\n"
            "doc_to_choice: '{{[sentence_good, sentence_bad]}}'\n"
            "metric_list:\n  - metric: acc\n    aggregation: mean\n    higher_is_better: true\n"
        )
    one = evaluate(organism, "agree_one", include=tmp_path, progress=False)
    both = evaluate(organism, "agree_*", include=[tmp_path], progress=False)
    path = evaluate(organism, str(tmp_path / "agree_two.yaml"), progress=False)
    assert (one.task, both.task, path.task) == (
        ("agree_one",), ("agree_one", "agree_two"), ("agree_two",)
    )  # fmt: skip
    assert one.value.tolist() == path.value.tolist() == both.value[:1].tolist()


@pytest.mark.parametrize(
    ("options", "dataset"),
    [
        ({"tasks": "hellaswag"}, "Rowan/hellaswag"),
        ({"tasks": "mmlu"}, "cais/mmlu"),
        ({"suite": "leaderboard-v1"}, "allenai/ai2_arc"),
        ({"suite": "gpt-neo-readme"}, "EleutherAI/wikitext_document_level"),
    ],
)
def test_without_a_network_the_missing_dataset_is_named(
    organism: HookedGPTNeo, offline: None, options: dict[str, Any], dataset: str
) -> None:
    with pytest.raises(
        EvaluationError, match=rf"'{dataset}', which is neither here nor .*local_task"
    ):
        evaluate(organism, progress=False, **options)


@pytest.mark.slow
def test_an_unknown_task_names_the_nearest(organism: HookedGPTNeo, offline: None) -> None:
    with pytest.raises(EvaluationError, match=r"no task 'helaswag' .* did you mean 'hellaswag'"):
        evaluate(organism, "helaswag", progress=False)


@pytest.mark.parametrize(
    ("options", "error", "said"),
    [
        ({}, ArgumentError, "nothing to run"),
        ({"tasks": []}, ArgumentError, "nothing to run"),
        ({"tasks": "piqa", "suite": "leaderboard-v1"}, ArgumentError, "either tasks or a suite"),
        ({"suite": "leaderboard"}, EvaluationError, "did you mean 'leaderboard-v1'"),
        ({"tasks": "piqa", "limit": 0}, ArgumentError, "limit=0"),
        ({"tasks": "piqa", "limit": -2}, ArgumentError, "limit=-2"),
        ({"tasks": "piqa", "num_fewshot": -1}, ArgumentError, "num_fewshot=-1"),
        ({"tasks": "piqa", "published": "125m"}, EvaluationError, "there is no suite"),
        ({"suite": "leaderboard-v1", "published": "7b"}, EvaluationError, "'7b': it has those of"),
        ({"tasks": "piqa", "include": "/no/folder"}, EvaluationError, "is no folder of task"),
        ({"tasks": "piqa", "batch_tokens": 0}, ArgumentError, "batch_tokens"),
    ],
)
def test_arguments_that_mean_nothing_are_refused(
    organism: HookedGPTNeo, options: dict[str, Any], error: type[Exception], said: str
) -> None:
    with pytest.raises(error, match=said):
        evaluate(organism, progress=False, **options)


def test_a_file_given_as_a_task_says_how_to_make_one(
    organism: HookedGPTNeo, pairs: dict[str, Any]
) -> None:
    with pytest.raises(EvaluationError, match=r"'x\.jsonl' is a file of data.*local_task"):
        evaluate(organism, [pairs, "x.jsonl"], progress=False)


def test_more_shots_than_examples_are_refused(organism: HookedGPTNeo, tmp_path: Path) -> None:
    rows = [{"context": "Mary", "choices": ["a", "the"], "label": 0}] * 3
    task = local_task(write(tmp_path / "few.jsonl", rows))
    with pytest.raises(EvaluationError, match=r"'few' has 3 examples .* 3 shots need 4"):
        evaluate(organism, task, num_fewshot=3, progress=False)


def test_a_task_that_cannot_be_built_says_why(organism: HookedGPTNeo) -> None:
    with pytest.raises(EvaluationError, match=r"'odd' cannot be built: ValueError: .*output_type"):
        evaluate(organism, {"task": "odd", "output_type": "essay"}, progress=False)


def test_a_task_that_lm_eval_will_not_run_says_why(
    organism: HookedGPTNeo, pairs: dict[str, Any]
) -> None:
    with pytest.raises(EvaluationError, match=r"task 'pairs' cannot be run: .* marked as unsafe"):
        evaluate(organism, pairs | {"unsafe_code": True}, progress=False)


def test_an_interruption_keeps_the_tasks_that_were_done(
    organism: HookedGPTNeo, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tasks = [local_task(write(tmp_path / f"{name}.jsonl", PAIRS[:3])) for name in "abc"]
    plain = running._run

    def stop(harness: Any, one: Any, limit: Any, **options: Any) -> Any:
        if one.name == "b":
            raise KeyboardInterrupt
        return plain(harness, one, limit, **options)

    monkeypatch.setattr(running, "_run", stop)
    with pytest.warns(UserWarning, match="interrupted: without b, c"):
        found = evaluate(organism, tasks, progress=False)
    assert (found.task, found.left) == (("a",), ("b", "c"))
    assert "interrupted before b, c" in found.heading()
    with pytest.raises(KeyboardInterrupt):
        evaluate(organism, tasks[1:], progress=False)
    assert not organism.is_edited


def test_a_result_is_kept_and_read_back(
    organism: HookedGPTNeo, pairs: dict[str, Any], tmp_path: Path
) -> None:
    found = evaluate(organism, pairs, limit=4, edits=ablate("z", layer=0, head=1), progress=False)
    for suffix in (".json", ".safetensors"):
        path = found.save(tmp_path / f"result{suffix}")
        again = Evaluation.load(path)
        assert str(again) == str(found)
        for field in dataclasses.fields(found):
            np.testing.assert_array_equal(getattr(again, field.name), getattr(found, field.name))
    with pytest.raises(AnalysisError, match=r"no row 'x'; tasks: pairs"):
        found["x"]
    with pytest.raises(AnalysisError, match="there is no file"):
        Evaluation.load(tmp_path / "none.json")


def test_lm_eval_is_left_as_it_was_and_prints_nothing(
    organism: HookedGPTNeo, pairs: dict[str, Any], capfd: pytest.CaptureFixture[str]
) -> None:
    import datasets
    from lm_eval.api import metrics, task

    before = task.tqdm, metrics.bootstrap_stderr
    evaluate(organism, pairs, limit=4, progress=False)
    assert (task.tqdm, metrics.bootstrap_stderr) == before
    assert not datasets.are_progress_bars_disabled()
    assert capfd.readouterr() == ("", "")


def test_progress_is_told(organism: HookedGPTNeo, pairs: dict[str, Any]) -> None:
    told: list[tuple[int, int]] = []
    evaluate(organism, pairs, limit=5, progress=lambda *n: told.append(n))
    assert told[-1] == (10, 10)


def test_a_bootstrap_is_near_the_formula() -> None:
    values = np.random.default_rng(0).normal(size=200).tolist()
    expected = np.std(values, ddof=1) / len(values) ** 0.5
    assert bootstrap(np.mean, values) == pytest.approx(expected, rel=0.1)


def test_lm_eval_is_an_extra(
    organism: HookedGPTNeo, pairs: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(__import__("sys").modules, "lm_eval", None)
    with pytest.raises(MissingExtraError, match=r"lm_eval is not installed.*neoscope\[eval\]"):
        evaluate(organism, pairs, progress=False)


def test_names_are_those_that_are_listed() -> None:
    names = {"Comparison", "Evaluation", "Harness", "Identity", "SUITES", "compare", "evaluate",
             "identity", "local_task"}  # fmt: skip
    assert set(ns.evaluate.__all__) == names
    assert names <= set(dir(ns.evaluate))
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = ns.evaluate.nothing


def test_json_of_a_result_is_plain(
    organism: HookedGPTNeo, pairs: dict[str, Any], tmp_path: Path
) -> None:
    path = evaluate(organism, pairs, limit=4, progress=False).save(tmp_path / "r.json")
    assert json.loads(path.read_text())["neoscope_analysis"]["kind"] == "Evaluation"
