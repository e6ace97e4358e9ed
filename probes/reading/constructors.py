"""Constructors of ProbeData: one way in for each kind of source."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from probes.reading.extraction import Extraction

if TYPE_CHECKING:
    from probes.data.dataset import ProbeData

Folder = str | os.PathLike[str] | None


class Constructors:
    """Mixed into ProbeData.

    What runs a model takes these too: ``site`` (one name or several), ``layers`` (``"all"`` or
    numbers), ``heads`` (True: of sites that have heads, a place for each), ``folder`` (None:
    features are kept in memory; otherwise in a FeatureStore below the folder, one for each model,
    which resumes and is read a place at a time), and as ``options`` those of
    :class:`neoscope.export.FeatureSpec`, ``prepend_bos``, ``max_length``, ``truncation``,
    ``overlap``, ``dtype``, and of :func:`neoscope.export.extract`, ``batch_tokens``, ``progress``.
    ``groups`` are what a split keeps together, ``types`` what control tasks label, ``label`` is
    what labels say, and ``kind="regression"`` reads whole numbers as numbers.
    """

    @classmethod
    def from_texts(
        cls,
        model: Any,
        texts: Any,
        labels: Any,
        *,
        site: str | Sequence[str] = "resid_post",
        layers: Any = "all",
        pool: str = "mean",
        heads: bool = False,
        groups: Any = None,
        types: Any = None,
        label: str | None = None,
        kind: str | None = None,
        folder: Folder = None,
        **options: Any,
    ) -> ProbeData:
        """Return data whose rows are texts.

        Args:
            model: The model.
            texts: What it reads.
            labels: One a text.
            site: See the class.
            layers: See the class.
            pool: ``mean``, ``weighted_mean``, ``last``, ``first`` or ``max`` over tokens.
            heads: See the class.
            groups: One a text; None for one each, which equal texts share.
            types: One a text; None for its last word in lower case.
            label: See the class.
            kind: See the class.
            folder: See the class.
            options: See the class.

        Raises:
            ProbeError: Texts and labels differ in number, a label is missing, or an option is
                unknown.
            SiteError: A site or layer does not exist.
        """
        from probes.reading.texts import read_texts

        how = Extraction.of(options, site=site, layers=layers, heads=heads, folder=folder)
        return read_texts(
            model, texts, labels, how, pool=pool, groups=groups, types=types, label=label, kind=kind
        )

    @classmethod
    def from_words(
        cls,
        model: Any,
        sentences: Any,
        labels: Any,
        *,
        align: str = "last",
        texts: Any = None,
        site: str | Sequence[str] = "resid_post",
        layers: Any = "all",
        heads: bool = False,
        groups: Any = None,
        types: Any = None,
        label: str | None = None,
        kind: str | None = None,
        folder: Folder = None,
        **options: Any,
    ) -> ProbeData:
        """Return data whose rows are words; words without a label (None, NaN) make none.

        Args:
            model: The model.
            sentences: The words of each sentence.
            labels: Of each sentence, one label a word.
            align: Which of a word's sub-word tokens make its features: the ``last`` (the first that
                has read the whole word), the ``first``, or the ``mean`` of all.
            texts: The sentences as they are written, with true spacing; None joins words by a
                space.
            site: See the class.
            layers: See the class.
            heads: See the class.
            groups: One a sentence; None for one each, which equal sentences share.
            types: Of each sentence, one type a word; None for its form, case kept.
            label: See the class.
            kind: See the class.
            folder: See the class.
            options: See the class. Words that ``truncation="truncate"`` cuts off make no row:
                ``notes["cut_off"]`` counts them.

        Raises:
            ProbeError: Words and labels differ in number, or a word stands nowhere or has no token.
            SiteError: A site or layer does not exist.
        """
        from probes.reading.words import SpanReading, locate

        how = Extraction.of(options, site=site, layers=layers, heads=heads, folder=folder)
        written, spans = locate(sentences, texts)
        return SpanReading(
            written,
            spans,
            labels,
            how,
            align=align,
            groups=groups,
            types=types,
            type_name="word form" if types is None else "type",
            label=label,
            kind=kind,
        ).read(model)

    @classmethod
    def from_spans(
        cls,
        model: Any,
        texts: Any,
        spans: Any,
        labels: Any,
        *,
        align: str = "last",
        site: str | Sequence[str] = "resid_post",
        layers: Any = "all",
        heads: bool = False,
        groups: Any = None,
        types: Any = None,
        label: str | None = None,
        kind: str | None = None,
        folder: Folder = None,
        **options: Any,
    ) -> ProbeData:
        """Return data whose rows are spans of characters, such as the entities of a text.

        Args:
            model: The model.
            texts: What it reads.
            spans: Of each text, characters [start, stop) of each span.
            labels: Of each text, one label a span; a span without (None, NaN) makes no row.
            align: As of :meth:`from_words`.
            site: See the class.
            layers: See the class.
            heads: See the class.
            groups: One a text; None for one each, which equal texts share.
            types: Of each text, one type a span; None for what stands there.
            label: See the class.
            kind: See the class.
            folder: See the class.
            options: See the class.

        Raises:
            ProbeError: Spans and labels differ in number, or a span has no token.
            SiteError: A site or layer does not exist.
        """
        from probes.reading.words import SpanReading

        how = Extraction.of(options, site=site, layers=layers, heads=heads, folder=folder)
        return SpanReading(
            texts,
            spans,
            labels,
            how,
            align=align,
            groups=groups,
            types=types,
            type_name="word form" if types is None else "type",
            label=label,
            kind=kind,
            what="text",
        ).read(model)

    @classmethod
    def from_conllu(
        cls,
        model: Any,
        source: Any,
        label: str = "upos",
        *,
        groups: Any = "sentence",
        site: str | Sequence[str] = "resid_post",
        layers: Any = "all",
        heads: bool = False,
        align: str = "last",
        kind: str | None = None,
        folder: Folder = None,
        **options: Any,
    ) -> ProbeData:
        """Return data whose rows are the words of a treebank.

        Args:
            model: The model.
            source: A CoNLL-U file, or sentences of :func:`probes.reading.conllu.read_conllu`.
            label: ``upos``, ``xpos``, ``deprel``, ``lemma``, ``depth`` (of the word in its tree, a
                number), or a feature such as ``Number``; words without make no row.
            groups: ``sentence`` (equal ones share a group), ``document``, or one value a sentence.
            site: See the class.
            layers: See the class.
            heads: See the class.
            align: As of :meth:`from_words`.
            kind: See the class.
            folder: See the class.
            options: See the class.

        Raises:
            ProbeError: The file is damaged (its line is named), or no word has such a label.
            SiteError: A site or layer does not exist.
        """
        from probes.reading.treebank import read_treebank

        how = Extraction.of(options, site=site, layers=layers, heads=heads, folder=folder)
        return read_treebank(model, source, label, how, groups=groups, align=align, kind=kind)

    @classmethod
    def from_language(
        cls,
        model: Any,
        sentences: Any,
        label: str = "pos",
        *,
        text: str = "text",
        pool: str = "last",
        align: str = "last",
        groups: Any = None,
        site: str | Sequence[str] = "resid_post",
        layers: Any = "all",
        heads: bool = False,
        kind: str | None = None,
        folder: Folder = None,
        **options: Any,
    ) -> ProbeData:
        """Return data of sentences of the organism's language, with their gold labels.

        Args:
            model: The model, usually the organism.
            sentences: What ``neoscope.organism.language.sentences`` gives.
            label: A label of words (``pos``, ``role``, ``head``, ``depth``): a row is a word; or an
                attribute of sentences (``number``, ``sentiment``, ...): a row is a sentence.
            text: What is read: ``text``, or the ``prompt``, which ends before the answer.
            pool: Of attributes, how tokens are pooled, as of :meth:`from_texts`.
            align: Of words, as of :meth:`from_words`.
            groups: The name of an attribute, one value a sentence, or None: equal ones share.
            site: See the class.
            layers: See the class.
            heads: See the class.
            kind: See the class.
            folder: See the class.
            options: See the class.

        Raises:
            ProbeError: Sentences have no such label.
            SiteError: A site or layer does not exist.
        """
        from probes.reading.language import read_language

        how = Extraction.of(options, site=site, layers=layers, heads=heads, folder=folder)
        return read_language(
            model,
            sentences,
            label,
            how,
            text=text,
            pool=pool,
            align=align,
            groups=groups,
            kind=kind,
        )
