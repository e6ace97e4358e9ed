"""What evaluation does not keep to itself: cut contexts, examples, comparisons, wrong arguments."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import pytest

from neoscope.errors import ArgumentError, EvaluationError
from neoscope.evaluate import Harness, evaluate, local_task
from neoscope.evaluate.quiet import quiet
from neoscope.model import HookedGPTNeo
from tests.neoscope.evaluate.examples import CHOICES, PAIRS
from tests.neoscope.evaluate.peers import write


@pytest.fixture
def pairs(tmp_path: Path) -> dict[str, Any]:
    return local_task(write(tmp_path / "pairs.jsonl", PAIRS))


def test_contexts_that_lose_their_beginning_are_counted(
    organism: HookedGPTNeo, choices: dict[str, Any], pairs: dict[str, Any]
) -> None:
    found = evaluate(organism, [choices, pairs], num_fewshot=20, limit=5, progress=False)
    assert found.shortened.tolist() == [5, 5, 0]
    assert "5 of 5 contexts of mc were too long and lost their beginning" in found.heading()
    few = evaluate(organism, choices, num_fewshot=1, limit=5, progress=False)
    assert few.shortened.tolist() == [0, 0]
    assert "lost" not in few.heading()


def test_only_the_contexts_that_are_too_long_are_counted(
    organism: HookedGPTNeo, tmp_path: Path
) -> None:
    n_ctx = organism.config.n_ctx
    rows = [{"context": "the " * (n_ctx + more) + "dog", "choices": ["runs", "Mary"], "label": 0}
            for more in (-1, 0, 50)]  # fmt: skip
    task = local_task(write(tmp_path / "mc.jsonl", rows))
    assert evaluate(organism, task, progress=False).shortened[0] == 2


def test_prompts_that_leave_no_room_for_the_answer_are_counted(
    organism: HookedGPTNeo, tmp_path: Path
) -> None:
    rows = [{"prompt": "the " * n + "dog", "answer": "a"} for n in (10, 125)]
    task = local_task(write(tmp_path / "answers.jsonl", rows), max_new_tokens=8)
    assert evaluate(organism, task, progress=False).shortened.tolist() == [1]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"tasks": 5}, "a task is a name, .* not 5"),
        ({"tasks": [5]}, "a task is a name, .* not 5"),
        ({"edits": 3}, "edits must be edits"),
        ({"edits": None}, "edits must be edits"),
        ({"include": 3}, "include=3 must be a folder"),
        ({"include": [3]}, "include must name folders, not 3"),
        ({"tasks": None, "suite": 3}, "suite=3 must be a text"),
        ({"published": 3}, "published=3 must be a text"),
        ({"seed": "a"}, "seed='a' is no whole number"),
        ({"num_fewshot": "a"}, "num_fewshot='a' is no whole number"),
        ({"num_fewshot": True}, "num_fewshot=True is no whole number"),
        ({"num_fewshot": -2}, "num_fewshot=-2 is no whole number"),
        ({"limit": float("inf")}, "limit=inf is neither"),
        ({"limit": float("nan")}, "limit=nan is neither"),
        ({"limit": 1.5}, "limit=1.5 is neither"),
        ({"limit": True}, "limit=True is neither"),
        ({"tasks": Path("mc.jsonl")}, "'mc.jsonl' is a file of data"),
        ({"tasks": "gone.yaml"}, "'gone.yaml' cannot be read: no such file"),
    ],
    ids=str,
)
def test_arguments_of_the_wrong_kind_are_named(
    organism: HookedGPTNeo, options: dict[str, Any], said: str
) -> None:
    given: dict[str, Any] = {"tasks": "piqa", "progress": False, **options}
    with pytest.raises((ArgumentError, EvaluationError), match=said):
        evaluate(organism, **given)


def test_a_models_name_is_no_model() -> None:
    take: Any
    for take in (evaluate, Harness):
        with pytest.raises(ArgumentError, match=r"not str 'organism': load it with neoscope\.load"):
            take("organism", **({"tasks": "piqa"} if take is evaluate else {}))


@pytest.mark.parametrize(
    ("rows", "options", "said"),
    [
        (CHOICES, {"num_fewshot": "a"}, "num_fewshot='a' is no whole number"),
        (CHOICES, {"regex": "x"}, "holds multiple_choice; regex is for generated"),
        (CHOICES, {"max_new_tokens": 3}, "holds multiple_choice; max_new_tokens is for"),
        (PAIRS, {"num_fewshot": 3}, "holds minimal_pairs, which take no solved examples"),
        ([{"prompt": "a", "answer": "b"}], {"regex": "(x"}, "no regular expression: missing"),
        ([{"prompt": "a", "answer": "b"}], {"stop": 3}, "stop=3 must be a text"),
        ([{"prompt": "a", "answer": "b"}], {"stop": [""]}, "must be a text or several, none empty"),
        ([{"prompt": "a", "answer": "b"}], {"max_new_tokens": 0}, "max_new_tokens=0 is no whole"),
        ([{"prompt": "a", "answer": "b"}], {"max_new_tokens": -3}, "max_new_tokens=-3 is no"),
    ],
    ids=str,
)
def test_options_a_local_task_cannot_take_are_refused(
    tmp_path: Path, rows: list[dict[str, Any]], options: dict[str, Any], said: str
) -> None:
    with pytest.raises((ArgumentError, EvaluationError), match=said):
        local_task(write(tmp_path / "x.jsonl", rows), **options)
    with pytest.raises(ArgumentError, match="takes the path of a file, not 3"):
        local_task(3)  # type: ignore[arg-type]


def test_shots_that_no_task_takes_are_refused(
    organism: HookedGPTNeo, pairs: dict[str, Any]
) -> None:
    with pytest.raises(ArgumentError, match=r"solved examples \(num_fewshot, 3\): pairs"):
        evaluate(organism, pairs, num_fewshot=3, progress=False)


def test_a_request_that_does_not_fit_names_its_line(organism: HookedGPTNeo, tmp_path: Path) -> None:
    rows = [CHOICES[0], CHOICES[1] | {"choices": ["the " * 200, "a"]}]
    path = write(tmp_path / "mc.jsonl", rows)
    path.write_text("\n" + path.read_text())
    with pytest.raises(EvaluationError, match=r"mc\.jsonl, line 3: a continuation of 20\d tokens"):
        evaluate(organism, local_task(path), progress=False)
    answers = write(tmp_path / "answers.jsonl", [{"prompt": "a", "answer": "b"}])
    with pytest.raises(EvaluationError, match=r"answers\.jsonl, line 1: the task wants up to 200"):
        evaluate(organism, local_task(answers, max_new_tokens=200), progress=False)


def test_a_broken_or_empty_folder_of_tasks_is_named(organism: HookedGPTNeo, tmp_path: Path) -> None:
    with pytest.raises(EvaluationError, match=r"holds no task: it has no \.yaml"):
        evaluate(organism, "mine", include=tmp_path, progress=False)
    (tmp_path / "broken.yaml").write_text("task: broken\n  x: [1\n")
    with pytest.raises(EvaluationError, match=r"broken\.yaml is broken: .*line 2"):
        evaluate(organism, "broken", include=tmp_path, progress=False)
    (tmp_path / "broken.yaml").write_text("colour: red\n")
    with pytest.raises(EvaluationError, match="holds no task: none of its 1"):
        evaluate(organism, "mine", include=tmp_path, progress=False)


def test_a_task_file_without_its_data_names_the_data(
    organism: HookedGPTNeo, tmp_path: Path
) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(
        "task: mine\ndataset_path: json\ndataset_kwargs:\n  data_files: {test: /no/such.jsonl}\n"
        "output_type: multiple_choice\ntest_split: test\n"
    )
    with pytest.raises(EvaluationError, match=r"cannot read its data file: .*/no/such\.jsonl"):
        evaluate(organism, str(path), progress=False)


def test_a_local_tasks_name_beside_it_is_explained(
    organism: HookedGPTNeo, choices: dict[str, Any]
) -> None:
    with pytest.raises(EvaluationError, match="'mc' is the local task that is given beside it"):
        evaluate(organism, [choices, "mc"], progress=False)


def test_generation_draws_one_bar(
    organism: HookedGPTNeo, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain, asked = HookedGPTNeo.generate, []

    def generate(self: HookedGPTNeo, *args: Any, **options: Any) -> Any:
        asked.append(options["progress"])
        return plain(self, *args, **options)

    monkeypatch.setattr(HookedGPTNeo, "generate", generate)
    path = write(tmp_path / "answers.jsonl", [{"prompt": "Mary", "answer": "b"}])
    evaluate(organism, local_task(path, max_new_tokens=2), progress=False)
    assert asked == [False]


def test_the_hub_is_quiet_meanwhile() -> None:
    logger = logging.getLogger("huggingface_hub")
    before = logger.level
    with quiet():
        assert logger.level == logging.ERROR
    assert logger.level == before


def test_a_long_context_is_no_warning(
    organism: HookedGPTNeo, caplog: pytest.LogCaptureFixture
) -> None:
    organism.tokenizer.deprecation_warnings.clear()  # type: ignore[union-attr]
    with caplog.at_level("WARNING"):
        Harness(organism, progress=False).tok_encode("the " * 3000, add_special_tokens=False)
    assert "longer than" not in caplog.text


def test_a_data_file_that_cannot_be_read_says_how_to_name_one(
    organism: HookedGPTNeo, tmp_path: Path
) -> None:
    (tmp_path / "bad.json").write_text("this is no JSON")
    files = {"data_files": {"test": str(tmp_path / "bad.json")}}
    task = {"task": "odd", "dataset_path": "json", "dataset_kwargs": files, "test_split": "test"}
    with pytest.raises(EvaluationError, match=r"'odd' cannot be built: .*name its data_files"):
        evaluate(organism, task, progress=False)
