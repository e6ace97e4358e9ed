"""What was asked and answered, example by example, in plain values."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from neoscope.errors import EvaluationError
from neoscope.files import atomic

_RIGHT = ("acc", "exact_match", "em")


def samples_of(found: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Read ``samples`` of what ``lm_eval.evaluator.evaluate`` answers.

    Returns:
        For each example a dict: ``task``; ``example``, its number from 0; ``filter``; ``doc``, the
        row of the data; ``context`` and ``choices``, the texts before and behind the cut (no
        choices where the model wrote); ``target``; ``scores``, the log-probability of each choice
        or of the text in nats, or ``answer``, what was read in the model's own words; ``right``,
        True or False, None where that has no meaning; and ``metrics``.
    """
    rows: list[dict[str, Any]] = []
    for task, samples in (found.get("samples") or {}).items():
        rows += [{"task": task, **_row(sample)} for sample in samples]
    return rows


def write_samples(samples: Sequence[Mapping[str, Any]], path: Path) -> Path:
    """Write JSON lines, an example each; an older file is replaced.

    Raises:
        EvaluationError: It cannot be written.
    """
    target = path.expanduser()
    try:
        with atomic(target) as temporary:
            temporary.write_text(
                "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in samples), "utf-8"
            )
    except OSError as error:
        raise EvaluationError(f"cannot write {target}: {error.strerror or error}") from error
    return target


def _row(sample: Mapping[str, Any]) -> dict[str, Any]:
    metrics = {name: _plain(sample[name]) for name in sample["metrics"]}
    first = next((metrics[name] for name in _RIGHT if name in metrics), None)
    said = [_plain(answer) for answer in sample["filtered_resps"]]
    written = bool(said) and isinstance(said[0], str)
    asked = [tuple(arguments) for arguments in sample["arguments"]]
    found = {
        "example": int(sample["doc_id"]),
        "filter": sample["filter"],
        "doc": _plain(sample["doc"]),
        "context": _plain(asked[0][0]),
        "target": _plain(sample["target"]),
    }
    if written:
        found["answer"] = said[0]
    else:
        texts = [pair[1] for pair in asked if len(pair) > 1]
        found["choices"] = _plain(texts)
        found["scores"] = tuple(x[0] if isinstance(x, tuple) else x for x in said)
    right = bool(first) if first in (0, 1) else None
    return found | {"right": right, "metrics": metrics}


def _plain(value: Any) -> Any:
    """Numbers of numpy as Python's, lists as tuples, and anything unknown as text."""
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return tuple(_plain(item) for item in value)
    if hasattr(value, "tolist"):
        return _plain(value.tolist())
    return value if value is None or isinstance(value, str | int | float) else str(value)
