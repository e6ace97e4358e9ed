"""A few made-up rows in the shape of each dataset that the suites' tasks download."""

from __future__ import annotations

import functools
from typing import Any

import neoscope as ns

WORDS = [sentence.text for sentence in ns.organism.sentences("filler", 40)]


def _arc(i: int) -> dict[str, Any]:
    choices = {"text": [WORDS[i], WORDS[i + 1], "the dog", "a cat"], "label": list("ABCD")}
    return {"id": str(i), "question": WORDS[i + 2], "choices": choices, "answerKey": "ABCD"[i % 4]}


def _hellaswag(i: int) -> dict[str, Any]:
    endings = [WORDS[i], "the dogs run.", "the cat.", "a garden near the house."]
    return {"ctx_a": WORDS[i + 1], "ctx_b": "she runs", "activity_label": "Running",
            "endings": endings, "label": str(i % 4), "ind": i, "ctx": WORDS[i + 1]}  # fmt: skip


def _mmlu(i: int) -> dict[str, Any]:
    return {"question": WORDS[i], "choices": ["a", "the", "Mary", "dogs"], "answer": i % 4,
            "subject": "anatomy"}  # fmt: skip


def _truthful(i: int) -> dict[str, Any]:
    choices = {"choices": ["the dogs", "a cat", WORDS[i]], "labels": [1, 0, i % 2]}
    return {"question": WORDS[i], "mc1_targets": choices, "mc2_targets": choices}


def _winogrande(i: int) -> dict[str, Any]:
    return {"sentence": "Mary saw John and _ gave a letter", "option1": "Mary", "option2": "John",
            "answer": "12"[i % 2]}  # fmt: skip


def _gsm8k(i: int) -> dict[str, Any]:
    return {"question": WORDS[i], "answer": f"the dogs #### {i}"}


def _drop(i: int) -> dict[str, Any]:
    spans = {"spans": ["the"], "worker_id": "", "hit_id": "", "number": "",
             "date": {"day": "", "month": "", "year": ""}}  # fmt: skip
    empty = {key: [] for key in ("spans", "worker_id", "hit_id", "number", "date")}
    return {"passage": WORDS[i], "question": "who?", "answer": spans, "validated_answers": empty,
            "query_id": str(i), "section_id": ""}  # fmt: skip


def _mathqa(i: int) -> dict[str, Any]:
    return {"Problem": WORDS[i], "correct": "abcde"[i % 5],
            "options": "a ) 1 , b ) 2 , c ) 3 , d ) 4 , e ) 5"}  # fmt: skip


def _pubmedqa(i: int) -> dict[str, Any]:
    return {"QUESTION": WORDS[i], "CONTEXTS": [WORDS[i + 1]], "LONG_ANSWER": "", "MESHES": [],
            "final_decision": ("yes", "no", "maybe")[i % 3]}  # fmt: skip


def _piqa(i: int) -> dict[str, Any]:
    return {"goal": WORDS[i], "sol1": "the dog", "sol2": "a cat", "label": i % 2}


MADE = {
    "allenai/ai2_arc": _arc,
    "Rowan/hellaswag": _hellaswag,
    "cais/mmlu": _mmlu,
    "truthfulqa/truthful_qa": _truthful,
    "allenai/winogrande": _winogrande,
    "openai/gsm8k": _gsm8k,
    "EleutherAI/drop": _drop,
    "EleutherAI/wikitext_document_level": lambda i: {"page": WORDS[i]},
    "EleutherAI/lambada_openai": lambda i: {"text": WORDS[i].rstrip(".")},
    "regisss/math_qa": _mathqa,
    "bigbio/pubmed_qa": _pubmedqa,
    "baber/piqa": _piqa,
}


def load_dataset(path: str, name: str | None = None, **options: Any) -> Any:
    """Stand in for ``datasets.load_dataset``: 30 rows to draw shots from, 4 to be asked."""
    return _made(path)


@functools.cache
def _made(path: str) -> Any:
    from datasets import Dataset, DatasetDict

    splits = {"train": 30, "dev": 30, "validation": 4, "test": 4}
    return DatasetDict(
        {split: Dataset.from_list([MADE[path](i) for i in range(n)]) for split, n in splits.items()}
    )
