"""Tasks from local files: lm-evaluation-harness's own task classes, without a network."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from neoscope.errors import ArgumentError, EvaluationError, nearest
from neoscope.evaluate.arguments import check_number, check_text
from neoscope.evaluate.local_options import Answering, LocalRows, check_options
from neoscope.evaluate.local_rows import KINDS, kind_of, read_rows

if TYPE_CHECKING:
    GivenPath = str | os.PathLike[str]
    Columns = dict[str, str] | None
    Text = str | None
    Whole = int | None
    Stops = str | Sequence[str]
else:
    # Checked where they are read, with an error that says what was found instead.
    GivenPath = Columns = Text = Whole = Stops = Any


def local_task(
    path: GivenPath,
    kind: Text = None,
    *,
    name: Text = None,
    columns: Columns = None,
    description: str = "",
    delimiter: str = " ",
    num_fewshot: Whole = None,
    regex: Text = None,
    ignore_case: bool = False,
    ignore_punctuation: bool = False,
    stop: Stops = "\n",
    max_new_tokens: Whole = 64,
) -> dict[str, Any]:
    r"""Make a task of a local file, for :func:`evaluate` and for lm_eval itself.

    ===================  ==============================================  ==========================
    kind                 columns                                         metrics
    ===================  ==============================================  ==========================
    ``minimal_pairs``    ``sentence_good``, ``sentence_bad`` (BLiMP's)   acc
    ``multiple_choice``  ``context`` (or ``query``), ``choices``,        acc, acc_norm
                         ``label`` (an index, a letter or the choice);
                         or as in ARC ``choices`` of ``text`` and
                         ``label``, and ``answerKey``, one of these
    ``perplexity``       ``text``; a .txt file is one text               word_perplexity,
                                                                         byte_perplexity,
                                                                         bits_per_byte
    ``generate``         ``prompt``, ``answer`` (or a list of accepted   exact_match
                         ones)
    ===================  ==============================================  ==========================

    Args:
        path: A file of JSON lines, a JSON list, or for perplexity a text file.
        kind: One of the above; None to tell by the columns.
        name: Of the task, in results; None for the file's.
        columns: Other names of columns, e.g. ``{"answer": "solution"}``.
        description: Put before every context.
        delimiter: Stands between context and choice, or before a sentence; as in BLiMP a space.
        num_fewshot: For ``multiple_choice`` and ``generate``: solved examples before each, drawn
            from the file's others; None for what :func:`evaluate` says.
        regex: For ``generate``: what to look for in the generated text, its first group; None
            compares all of it.
        ignore_case: For ``generate``: compare without case.
        ignore_punctuation: For ``generate``: compare without punctuation.
        stop: For ``generate``: where an answer ends.
        max_new_tokens: For ``generate``: the longest answer.

    Returns:
        A configuration of ``lm_eval.api.task.ConfigurableTask``.

    Raises:
        EvaluationError: The file cannot be read, is empty, or a line is not of that kind; or an
            option is of another kind.
        ArgumentError: An option means nothing.

    Example:
        >>> import json, tempfile
        >>> from pathlib import Path
        >>> import neoscope as ns
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = Path(folder) / "agreement.jsonl"
        ...     pair = {"sentence_good": "The dog runs .", "sentence_bad": "The dog run ."}
        ...     _ = path.write_text(json.dumps(pair))
        ...     task = ns.evaluate.local_task(path)
        >>> task["task"], task["output_type"]
        ('agreement', 'multiple_choice')
    """
    if not isinstance(path, str | os.PathLike):
        raise ArgumentError(f"local_task takes the path of a file, not {path!r:.60}")
    for text, what in ((kind, "kind"), (name, "name"), (delimiter, "delimiter"),
                       (description, "description"), (regex, "regex")):  # fmt: skip
        check_text(text, what)
    check_number(num_fewshot, "num_fewshot", 0)
    if columns is not None and not isinstance(columns, dict):
        raise ArgumentError(f"columns={columns!r:.60} must be a dict of names")
    source = Path(path).expanduser()
    kind = kind_of(source, columns or {}) if kind is None else kind
    if kind not in KINDS:
        raise EvaluationError(
            f"kind={kind!r}; expected one of {', '.join(KINDS)}{nearest(str(kind), KINDS)}"
        )
    answering = Answering(regex, ignore_case, ignore_punctuation, stop, max_new_tokens)
    check_options(source, kind, num_fewshot, answering)
    rows, lines = read_rows(source, kind, columns or {})
    config = _COMMON | {
        "task": source.stem if name is None else name,
        "custom_dataset": LocalRows(source, rows, lines),
        "description": description,
        "num_fewshot": num_fewshot,
    }
    if kind == "minimal_pairs":
        return config | _MINIMAL_PAIRS | {"target_delimiter": delimiter, "num_fewshot": 0}
    if kind == "multiple_choice":
        return config | _MULTIPLE_CHOICE | {"target_delimiter": delimiter}
    if kind == "perplexity":
        return config | _PERPLEXITY | {"num_fewshot": 0}
    return config | answering.config() | {
        "doc_to_text": _column("prompt"),
        "doc_to_target": _column("answer"),
        "target_delimiter": delimiter,
    }  # fmt: skip


def _column(name: str) -> Callable[[dict[str, Any]], Any]:
    """A function, as lm_eval would read a text that looks like a template or a number as one."""

    def value(doc: dict[str, Any]) -> Any:
        return doc[name]

    return value


def _nothing(doc: dict[str, Any]) -> str:
    return ""


def _first(doc: dict[str, Any]) -> int:
    return 0


_MEAN = {"aggregation": "mean", "higher_is_better": True}
_COMMON: dict[str, Any] = {
    "test_split": "test",
    "fewshot_split": "test",
    "metadata": {"version": 1.0},
}
_MINIMAL_PAIRS: dict[str, Any] = {
    "output_type": "multiple_choice",
    "doc_to_text": _nothing,
    "doc_to_target": _first,
    "doc_to_choice": _column("choices"),
    "metric_list": [{"metric": "acc", **_MEAN}],
}
_MULTIPLE_CHOICE: dict[str, Any] = {
    "output_type": "multiple_choice",
    "doc_to_text": _column("context"),
    "doc_to_target": _column("label"),
    "doc_to_choice": _column("choices"),
    "metric_list": [{"metric": "acc", **_MEAN}, {"metric": "acc_norm", **_MEAN}],
}
_PERPLEXITY: dict[str, Any] = {
    "output_type": "loglikelihood_rolling",
    "doc_to_text": _nothing,
    "doc_to_target": _column("text"),
}
