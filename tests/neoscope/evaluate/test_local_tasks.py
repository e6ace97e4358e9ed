"""Local files become lm-evaluation-harness's tasks, scored as it scores its own model on them."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import neoscope as ns
from neoscope.errors import EvaluationError
from neoscope.evaluate import evaluate, local_task
from neoscope.evaluate.quiet import quiet
from neoscope.model import HookedGPTNeo
from tests.neoscope.evaluate.peers import write

TEXTS = [sentence.text for sentence in ns.organism.sentences("ioi", 24)]
PAIRS = [
    {"sentence_good": a, "sentence_bad": a.rsplit(" ", 1)[0] + " " + b.rsplit(" ", 1)[1], "UID": i}
    for i, (a, b) in enumerate(zip(TEXTS[:12], TEXTS[12:], strict=True))
]
CHOICES = [
    {
        "context": text.rsplit(" ", 1)[0],
        "choices": ["the castle.", "Mary.", "a letter to John."][: 2 + i % 2],
        "label": i % 2,
    }
    for i, text in enumerate(TEXTS)
]
ANSWERS = [{"prompt": text.rsplit(" ", 3)[0], "answer": "the"} for text in TEXTS[:8]]
DOCUMENTS = [{"text": " ".join(TEXTS[i : i + n])} for i, n in enumerate((1, 3, 9))]


def theirs(peer: Any, task: dict[str, Any], **options: Any) -> dict[str, Any]:
    """What lm_eval says of its own model."""
    import lm_eval

    with quiet():
        found = lm_eval.simple_evaluate(
            model=peer,
            tasks=[task],
            task_manager=lm_eval.tasks.TaskManager(include_defaults=False),
            bootstrap_iters=1000,
            **options,
        )
    results: dict[str, Any] = found["results"][task["task"]]
    return results


@pytest.mark.filterwarnings("ignore:.*git.*")
@pytest.mark.parametrize(
    ("rows", "options", "shots"),
    [
        (PAIRS, {}, None),
        (CHOICES, {}, None),
        (CHOICES, {"delimiter": "\n", "description": "Then "}, None),
        (CHOICES, {}, 2),
        (DOCUMENTS, {}, None),
        (ANSWERS, {"max_new_tokens": 6, "stop": "."}, None),
        (ANSWERS, {"max_new_tokens": 6, "regex": r"(\w+)", "ignore_case": True}, None),
        (ANSWERS, {"max_new_tokens": 6}, 1),
    ],
)
def test_a_local_file_is_scored_as_lm_eval_scores_its_own_model(
    model: HookedGPTNeo,
    peer: Any,
    tmp_path: Path,
    rows: list[dict[str, Any]],
    options: dict[str, Any],
    shots: int | None,
) -> None:
    task = local_task(write(tmp_path / "mine.jsonl", rows), **options)
    found = evaluate(model, task, num_fewshot=shots, progress=False)
    expected = theirs(peer, task, num_fewshot=shots)
    assert found.task == ("mine",) * len(found.metric)
    assert found.metric
    for row in found.to_dataframe().itertuples():
        np.testing.assert_allclose(row.value, expected[f"{row.metric},none"], rtol=1e-5, atol=1e-4)
        stderr = expected[f"{row.metric}_stderr,none"]
        np.testing.assert_allclose(row.stderr, np.nan if stderr == "N/A" else stderr, atol=1e-6)
        assert (row.n, row.num_fewshot) == (len(rows), shots or 0)
        assert row.higher_is_better == (row.metric not in PERPLEXITIES)


PERPLEXITIES = ("word_perplexity", "byte_perplexity", "bits_per_byte")


def test_kinds_are_told_by_the_columns(tmp_path: Path) -> None:
    kinds: dict[str, list[Any]] = {"multiple_choice": [PAIRS, CHOICES],
                                   "loglikelihood_rolling": [DOCUMENTS],
                                   "generate_until": [ANSWERS]}  # fmt: skip
    for kind, files in kinds.items():
        for i, rows in enumerate(files):
            path = write(tmp_path / f"{kind}{i}.jsonl", rows)
            assert local_task(path)["output_type"] == kind


def test_a_text_file_is_one_document(model: HookedGPTNeo, tmp_path: Path) -> None:
    path = tmp_path / "story.txt"
    path.write_text("\n".join(TEXTS))
    found = evaluate(model, local_task(path), progress=False)
    assert found.metric == PERPLEXITIES
    assert found.n.tolist() == [1, 1, 1]
    assert np.isnan(found.stderr).all()
    bits, byte = found["story", "bits_per_byte"], found["story", "byte_perplexity"]
    assert bits == pytest.approx(np.log2(byte))


def test_bits_per_byte_are_the_models_own_loss(model: HookedGPTNeo, tmp_path: Path) -> None:
    path = write(tmp_path / "one.jsonl", [{"text": TEXTS[0]}])
    found = evaluate(model, local_task(path), progress=False)
    loss = model(TEXTS[0], prepend_bos=True, return_type="loss", loss_per_token=True)
    nats = float(loss.sum().detach())
    expected = nats / len(TEXTS[0].encode()) / np.log(2)
    assert found["one", "bits_per_byte"] == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize(
    "row",
    [
        {"query": "Mary gave", "choices": ["a", "the"], "label": 1},
        {"question": "Mary gave", "choices": ["a", "the"], "answer": "B"},
        {"question": "Mary gave", "choices": ["a", "the"], "answer": "the"},
        {"ctx": "Mary gave", "endings": ["a", "the"], "label": "1"},
        {"question": "Mary gave", "choices": {"text": ["a", "the"], "label": ["1", "2"]},
         "answer": "2"},
        {"question": "Mary gave", "choices": {"text": ["a", "the"], "label": ["A", "B"]},
         "answerKey": "B"},
        {"question": "Mary gave", "choices": {"text": ["a", "the"], "label": [1, 2]},
         "answerKey": "2"},
        {"stem": "Mary gave", "choices": ["a", "the"], "right": 1},
    ],
)  # fmt: skip
def test_other_peoples_columns_are_understood(
    model: HookedGPTNeo, tmp_path: Path, row: dict[str, Any]
) -> None:
    columns = {"context": "stem", "label": "right"} if "stem" in row else None
    task = local_task(write(tmp_path / "mine.jsonl", [row]), columns=columns)
    docs = task["custom_dataset"]()["test"]
    assert docs[0] == {"context": "Mary gave", "choices": ["a", "the"], "label": 1}


def test_a_context_that_looks_like_a_template_or_a_number_is_text(
    model: HookedGPTNeo, tmp_path: Path
) -> None:
    rows = [{"context": text, "choices": ["a", "the"], "label": 0} for text in ("{{x}}", "12")]
    found = evaluate(model, local_task(write(tmp_path / "x.jsonl", rows)), progress=False)
    assert found.n.tolist() == [2, 2]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("", "is empty"),
        ("\n\n", "is empty"),
        ("[]", "is empty"),
        ("{", "line 1 is not valid JSON"),
        ('{"text": "a"}\n[1]', r"line 2 is no JSON object: \[1\]"),
        ('{"sentence_god": "a", "bad": "b"}', "line 1: the columns 'sentence_god', 'bad' are of"),
        ('{"context": "a", "choices": ["b"], "label": 0}', "choices must be a list of two"),
        (
            '{"context": "a", "choices": ["b", ""], "label": 0}',
            "choice 1 of choices is an empty text",
        ),
        ('{"context": "a", "choices": ["b", "c"], "label": "²"}', "label '²' is none of the 2"),
        ('{"context": "a", "choices": ["b", "c"], "label": "ß"}', "label 'ß' is none of the 2"),
        (f'{{"context": "a", "choices": ["b", "c"], "label": "{"9" * 5000}"}}', "none of the 2"),
        (
            '{"question": "a", "choices": {"text": ["b", "c"], "label": ["A", "B"]}, "label": "1"}',
            r"label '1' is none of the choices' own names \(A, B\)",
        ),
        (
            '{"question": "a", "choices": {"text": ["b", "c"], "label": ["A"]}, "label": "A"}',
            "as in ARC an object with as many 'label' as 'text'",
        ),
        ('{"prompt": "a", "answer": []}', "answer is an empty list of answers"),
        ('{"prompt": "a", "answer": [["b"]]}', "answer must be a list of texts"),
        ('{"prompt": "a", "answer": null}', "answer must be a text or a list of accepted ones"),
        ('{"text": "   "}', "line 1: text is an empty text"),
        ('{"text": "a"}\n{"txt": "b"}', r"line 2: perplexity needs a column 'text'.*is it 'txt'\?"),
        ('[{"text": "a"}, {"text": ""}]', "item 2: text is an empty text"),
        ('{"context": "a", "choices": ["b", "c"], "label": 2}', "label 2 is none of the 2"),
        ('{"context": "a", "choices": ["b", "c"], "label": "E"}', "label 'E' is none of the 2"),
        ('{"context": 3, "choices": ["b", "c"], "label": 0}', "context must be a text, not 3"),
        ('{"sentence_good": "a", "sentence_bad": 5}', "line 1: sentence_bad must be a text, not 5"),
        ('{"text": ""}', "text is an empty text"),
    ],
)
def test_a_file_that_is_no_task_says_where_and_why(tmp_path: Path, content: str, said: str) -> None:
    path = tmp_path / "mine.jsonl"
    path.write_text(content)
    with pytest.raises(EvaluationError, match=f"{re.escape(str(path))}.*{said}"):
        local_task(path)


def test_a_row_that_lacks_a_column_names_the_nearest(tmp_path: Path) -> None:
    path = write(tmp_path / "mine.jsonl", [{"sentence_good": "a", "sentence_bat": "b"}])
    with pytest.raises(
        EvaluationError, match=r"'sentence_bad', and there is none; .* is it 'sentence_bat'\?"
    ):
        local_task(path, "minimal_pairs")


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"kind": "minimal_pair"}, "did you mean 'minimal_pairs'"),
        ({"kind": "perplexity", "columns": {"txt": "text"}}, "no column 'txt'.*did you mean"),
    ],
)
def test_options_that_mean_nothing_are_refused(
    tmp_path: Path, options: dict[str, Any], said: str
) -> None:
    path = write(tmp_path / "mine.jsonl", DOCUMENTS)
    with pytest.raises(EvaluationError, match=said):
        local_task(path, **options)


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(EvaluationError, match=r"nothing\.jsonl cannot be read: No such file"):
        local_task(tmp_path / "nothing.jsonl")
    (tmp_path / "latin.txt").write_bytes(b"caf\xe9")
    with pytest.raises(EvaluationError, match="not UTF-8: byte 3"):
        local_task(tmp_path / "latin.txt")


def test_a_line_may_hold_any_character(tmp_path: Path) -> None:
    path = tmp_path / "mine.jsonl"
    path.write_text(json.dumps({"text": "a\u2028b\x85c"}, ensure_ascii=False))
    assert local_task(path)["custom_dataset"]()["test"][0] == {"text": "a\u2028b\x85c"}
