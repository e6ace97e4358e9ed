"""Sentences of the organism's language, with their gold labels, as data for probes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from neoscope.errors import ProbeError, nearest
from probes.data.labels import as_list, is_missing
from probes.reading.extraction import Extraction
from probes.reading.texts import read_texts
from probes.reading.words import SpanReading

if TYPE_CHECKING:
    from probes.data.dataset import ProbeData

TEXTS = ("text", "prompt")


def read_language(
    model: Any,
    sentences: Any,
    label: str,
    extraction: Extraction,
    *,
    text: str = "text",
    pool: str = "last",
    align: str = "last",
    groups: Any = None,
    kind: str | None = None,
) -> ProbeData:
    """Return data of the organism's language; see :meth:`ProbeData.from_language`.

    Args:
        model: The model.
        sentences: Objects with ``text``, ``prompt``, ``words``, ``offsets``, ``labels``,
            ``attributes`` and ``answer_at``.
        label: A label of words, or an attribute of sentences.
        extraction: What is read of the model.
        text: ``text`` or ``prompt``.
        pool: Of attributes, how tokens are pooled.
        align: Of words, which tokens make their features.
        groups: An attribute, one value a sentence, or None.
        kind: What labels are.

    Raises:
        ProbeError: Sentences have no such label or attribute.
    """
    given = as_list(sentences, "sentences")
    if text not in TEXTS:
        raise ProbeError(
            f"text={text!r} is unknown{nearest(str(text), TEXTS)}; known: {', '.join(TEXTS)}"
        )
    for number, one in enumerate(given):
        if not (hasattr(one, "labels") and hasattr(one, "attributes")):
            raise ProbeError(
                f"sentence {number} is {type(one).__name__}; expected sentences of the organism's "
                "language"
            )
    if isinstance(groups, str):
        groups = [_attribute(one, groups, number, "groups") for number, one in enumerate(given)]
    texts = [getattr(one, text) for one in given]
    if not any(label in one.labels for one in given):
        labels = [_attribute(one, label, number, "label") for number, one in enumerate(given)]
        return read_texts(
            model, texts, labels, extraction, pool=pool, groups=groups, label=label, kind=kind
        )
    ends = [one.answer_at if text == "prompt" else None for one in given]
    return SpanReading(
        texts,
        [one.offsets[:end] for one, end in zip(given, ends, strict=True)],
        [_labels(one, label)[:end] for one, end in zip(given, ends, strict=True)],
        extraction,
        align=align,
        groups=groups,
        label=label,
        kind=kind,
    ).read(model)


def _labels(sentence: Any, label: str) -> tuple[Any, ...]:
    """Return one label a word; sentences of some tasks lack some."""
    return tuple(sentence.labels.get(label, (None,) * len(sentence.words)))


def _attribute(sentence: Any, name: str, number: int, what: str) -> Any:
    value = sentence.attributes.get(name)
    if is_missing(value):
        known = [*sentence.labels, *sentence.attributes]
        raise ProbeError(
            f"{what}={name!r}: sentence {number} ({sentence.task}) has none"
            f"{nearest(name, known)}; labels of its words: {', '.join(sentence.labels)}; "
            f"attributes: {', '.join(sentence.attributes) or 'none'}"
        )
    return value
