"""Whole texts with one label each: a row is a text, its tokens pooled."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from neoscope.errors import ProbeError, nearest
from probes.data.labels import as_list, read_groups, read_labels, repeatable, same_length
from probes.reading.extraction import Extraction, check_texts, same_text_groups

if TYPE_CHECKING:
    from probes.data.dataset import ProbeData

POOLS = ("mean", "weighted_mean", "last", "first", "max")
_WORD = re.compile(r"[^\W_]+(?:['\u2019.-][^\W_]+)*")


def read_texts(
    model: Any,
    texts: Any,
    labels: Any,
    extraction: Extraction,
    *,
    pool: str,
    groups: Any = None,
    types: Any = None,
    label: str | None = None,
    kind: str | None = None,
) -> ProbeData:
    """Return data of texts; see :meth:`ProbeData.from_texts`.

    Args:
        model: The model.
        texts: What it reads.
        labels: One a text.
        extraction: What is read of the model.
        pool: One of ``POOLS``.
        groups: One a text; None for one of each text's own, equal texts sharing theirs.
        types: One a text; None for its last word.
        label: What labels say.
        kind: What labels are.

    Raises:
        ProbeError: Texts and labels differ in number, or a label is missing.
    """
    from probes.data.dataset import ProbeData

    if pool not in POOLS:
        hint = "; from_words and from_cache have a row a token" if pool == "none" else ""
        raise ProbeError(
            f"pool={pool!r} makes no row of a text{nearest(str(pool), POOLS)}{hint}; known: "
            f"{', '.join(POOLS)}"
        )
    texts = check_texts(texts)
    labels, groups, types = repeatable(labels), repeatable(groups), repeatable(types)
    given = as_list(labels, "labels")
    same_length(texts, given, "texts", "labels")
    # What is wrong with them is said before a model runs for minutes.
    read_labels(labels, kind)
    groups = same_text_groups(texts) if groups is None else groups
    read_groups(groups, len(texts))
    extracted = extraction.read(model, texts, pool)

    def remake(other: Any) -> ProbeData:
        return read_texts(
            other,
            texts,
            labels,
            extraction,
            pool=pool,
            groups=groups,
            types=types,
            label=label,
            kind=kind,
        )

    return ProbeData(
        extracted.columns,
        labels,
        groups,
        kind=kind,
        types=last_words(texts) if types is None else types,
        type_name="last word" if types is None else "type",
        words=texts,
        label=label,
        source=extracted.source,
        baselines={"embeddings": extracted.embeddings},
        remake=remake,
        model=model,
    )


def last_words(texts: Sequence[str]) -> list[str]:
    """Return the last word of each text in lower case; a text without words is its own.

    Sentences have no word types; control labels that follow their last word can be learnt from
    what the last token is, as control labels of words can.

    Example:
        >>> last_words(["I liked the Film.", "?!"])
        ['film', '?!']
    """
    return [(_WORD.findall(text) or [text.strip()])[-1].lower() for text in texts]
