"""evaluate: tasks and suites, edits, what is not there, and what an interruption leaves."""

from __future__ import annotations

import dataclasses
import json
import socket
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import neoscope as ns
from neoscope.edits import ablate
from neoscope.errors import AnalysisError, ArgumentError, EvaluationError, MissingExtraError
from neoscope.evaluate import SUITES, Evaluation, Harness, evaluate, local_task, running
from neoscope.evaluate.published import SCORES, known_as
from neoscope.evaluate.quiet import bootstrap
from neoscope.model import HookedGPTNeo
from tests.neoscope.evaluate import stock_data
from tests.neoscope.evaluate.peers import asked, write

TEXTS = [sentence.text for sentence in ns.organism.sentences("agreement", 40)]
PAIRS = [
    {"sentence_good": text, "sentence_bad": " ".join(reversed(text.split(" ")))} for text in TEXTS
]


@pytest.fixture(scope="module")
def organism() -> HookedGPTNeo:
    return ns.load("organism")


@pytest.fixture
def pairs(tmp_path: Path) -> dict[str, Any]:
    return local_task(write(tmp_path / "pairs.jsonl", PAIRS))


@pytest.fixture
def offline(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: Any, **options: Any) -> None:
        raise AssertionError("a socket was opened")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)


@pytest.fixture
def stock(monkeypatch: pytest.MonkeyPatch, offline: None) -> None:
    import datasets

    monkeypatch.setattr(datasets, "load_dataset", stock_data.load_dataset)
    monkeypatch.setattr(Harness, "max_gen_toks", 8)


def wide(n_ctx: int = 2048) -> HookedGPTNeo:
    """A tiny model with the published context and the organism's tokenizer."""
    organism = ns.load("organism")
    config = ns.NeoConfig(n_layers=2, d_model=16, n_heads=2, n_ctx=n_ctx,
                          d_vocab=organism.config.d_vocab, window_size=256)  # fmt: skip
    return ns.HookedGPTNeo.from_config(config, tokenizer=organism.tokenizer)


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


def test_the_leaderboards_suite_means_its_tasks_shots_and_metrics(stock: None) -> None:
    found = evaluate(wide(), suite="leaderboard-v1", published="125m", progress=False)
    table = found.to_dataframe()
    main = table[table.main]
    assert main.label.tolist() == [e.label for e in SUITES["leaderboard-v1"].entries] + ["Average"]
    assert main.metric.tolist()[:-1] == [
        "acc_norm", "acc_norm", "acc", "acc", "acc", "exact_match", "f1"
    ]  # fmt: skip
    assert main.num_fewshot.tolist()[:-1] == [25, 10, 5, 0, 5, 5, 3]
    assert main.published.tolist() == list(SCORES["leaderboard-v1"]["125m"].values())
    np.testing.assert_allclose(main.difference, main.value - main.published)
    assert main.value.iloc[-1] == pytest.approx(main.value[:-1].mean())
    parts = table[table.task.str.startswith("mmlu_") & (table.n == 4)]
    assert len(parts) == 57
    assert found["mmlu", "acc"] == pytest.approx(parts.value.mean())
    assert main.n.tolist()[:-1] == [4, 4, 4 * 57, 4, 4, 4, 4]


def test_the_readmes_suite_means_its_tasks_and_metrics(stock: None) -> None:
    found = evaluate(wide(), suite="gpt-neo-readme", published="2.7B", progress=False)
    main = found.to_dataframe()[found.main]
    assert main.task.tolist() == [
        "wikitext", "lambada_openai", "lambada_openai", "winogrande", "hellaswag", "mathqa",
        "pubmedqa", "piqa",
    ]  # fmt: skip
    assert main.published.tolist() == [11.39, 5.626, 0.6222, 0.565, 0.4273, 0.2472, 0.5754, 0.7214]
    assert main.num_fewshot.tolist() == [0] * 8
    assert main.value.notna().all()
    assert not main.higher_is_better.tolist()[0]
    assert main.higher_is_better.tolist()[2]
    assert found.source == "https://github.com/EleutherAI/gpt-neo#model-evaluations"
    assert "published" in str(found)


def test_a_suite_of_an_unknown_model_has_no_figures_beside(stock: None) -> None:
    found = evaluate(wide(), suite="gpt-neo-readme", limit=2, progress=False)
    assert found.published_as is None
    assert np.isnan(found.published).all()


def test_the_leaderboards_average_is_the_published_one() -> None:
    *figures, average = SCORES["leaderboard-v1"]["125m"].values()
    assert np.mean(figures) == pytest.approx(average, abs=5e-5)


def test_every_figure_belongs_to_an_entry_of_its_suite() -> None:
    for suite in SUITES.values():
        entries = {(entry.task, entry.metric) for entry in suite.entries} | {("average", "score")}
        for figures in suite.published.values():
            assert set(figures) <= entries


@pytest.mark.parametrize(
    ("name", "shape", "expected"),
    [
        ("EleutherAI/gpt-neo-125M", (12, 768, 12), "125m"),
        ("models/gpt-neo-1.3B", (24, 2048, 16), "1.3b"),
        ("EleutherAI/gpt-neo-125M", (2, 768, 12), None),
        ("someone/else", (12, 768, 12), None),
        ("someone/gpt-neo-125m-finetuned", (12, 768, 12), None),
    ],
)
def test_a_published_model_is_known_by_name_and_shape(
    name: str, shape: tuple[int, int, int], expected: str | None
) -> None:
    n_layers, d_model, n_heads = shape
    model = ns.HookedGPTNeo.from_config(
        ns.NeoConfig(n_layers=2, d_model=8, n_heads=2, n_ctx=8, d_vocab=8)
    )
    model.config = dataclasses.replace(
        model.config, n_layers=n_layers, d_model=d_model, n_heads=n_heads,
        attention_layers=("global", "local") * (n_layers // 2), d_mlp=4 * d_model,
    )  # fmt: skip
    model.cfg.model_name = name
    assert known_as(model) == expected


def test_shots_are_drawn_as_lm_eval_draws_them(stock: None, monkeypatch: Any) -> None:
    import lm_eval

    model = wide()
    ours = evaluate(model, "piqa", num_fewshot=3, progress=False)
    again = evaluate(model, "piqa", num_fewshot=3, seed=5, progress=False)
    theirs = lm_eval.simple_evaluate(
        Harness(model, progress=False), tasks=["piqa"], num_fewshot=3, bootstrap_iters=0,
        task_manager=lm_eval.tasks.TaskManager(
            include_defaults=False, include_path=Path(lm_eval.tasks.__file__).parent / "piqa"
        ),
    )["results"]["piqa"]  # fmt: skip
    assert ours["piqa", "acc"] == theirs["acc,none"]
    assert ours["piqa", "acc_norm"] == theirs["acc_norm,none"]
    assert (ours.seed, again.seed) == (1234, 5)


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
        EvaluationError, match=rf"'{dataset}', which is neither .*HF_HUB_OFFLINE=1.*local_task"
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
    names = {"Comparison", "compare", "Evaluation", "Harness", "SUITES", "evaluate", "local_task"}
    assert set(ns.evaluate.__all__) == names
    assert names <= set(dir(ns.evaluate))
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = ns.evaluate.nothing


def test_json_of_a_result_is_plain(
    organism: HookedGPTNeo, pairs: dict[str, Any], tmp_path: Path
) -> None:
    path = evaluate(organism, pairs, limit=4, progress=False).save(tmp_path / "r.json")
    assert json.loads(path.read_text())["neoscope_analysis"]["kind"] == "Evaluation"
