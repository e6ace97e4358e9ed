"""Words of a treebank as data for probes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from neoscope.errors import ProbeError, nearest
from probes.reading.conllu import ConlluSentence, check_label, read_conllu
from probes.reading.extraction import Extraction
from probes.reading.tables import path_of
from probes.reading.words import SpanReading

if TYPE_CHECKING:
    from probes.data.dataset import ProbeData


def read_treebank(
    model: Any,
    source: Any,
    label: str,
    extraction: Extraction,
    *,
    groups: Any = "sentence",
    align: str = "last",
    kind: str | None = None,
) -> ProbeData:
    """Return data of a treebank; see :meth:`ProbeData.from_conllu`.

    Args:
        model: The model.
        source: A file, or its sentences.
        label: Which label of words.
        extraction: What is read of the model.
        groups: ``sentence``, ``document``, or one value a sentence.
        align: Which tokens of a word make its features.
        kind: What labels are; the depth in a tree is a number.

    Raises:
        ProbeError: The file is damaged, or no word has such a label.
    """
    sentences = read_conllu(source) if path_of(source) else list(source)
    for number, sentence in enumerate(sentences):
        if not isinstance(sentence, ConlluSentence):
            raise ProbeError(
                f"sentence {number} is {type(sentence).__name__}; expected a file or what "
                "read_conllu returns"
            )
    check_label(sentences, label)
    return SpanReading(
        [sentence.text for sentence in sentences],
        [[word.span for word in sentence.words] for sentence in sentences],
        [sentence.labels(label) for sentence in sentences],
        extraction,
        align=align,
        groups=_groups(sentences, groups),
        types=[[word.form for word in sentence.words] for sentence in sentences],
        label=label,
        kind="regression" if kind is None and label == "depth" else kind,
    ).read(model)


def _groups(sentences: list[ConlluSentence], groups: Any) -> Any:
    if not isinstance(groups, str):
        return groups
    if groups == "sentence":
        return None
    known = ("sentence", "document")
    if groups != "document":
        raise ProbeError(
            f"groups={groups!r} is unknown{nearest(groups, known)}; known: {', '.join(known)}, or "
            "one value a sentence"
        )
    for number, sentence in enumerate(sentences):
        if sentence.doc_id is None:
            raise ProbeError(
                f"groups='document', but sentence {number} ({sentence.sent_id}) is in none: the "
                "file has no '# newdoc' before it"
            )
    return [sentence.doc_id for sentence in sentences]
