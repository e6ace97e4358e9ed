"""Constructors of ProbeData from what is there already: frames, stores and caches."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from probes.data.dataset import ProbeData


class TableConstructors:
    """Mixed into ProbeData."""

    @classmethod
    def from_frame(
        cls,
        model: Any,
        frame: Any,
        *,
        text: str = "text",
        label: str | Sequence[str] = "label",
        group: str | None = None,
        type: str | None = None,
        **options: Any,
    ) -> ProbeData:
        """Return data whose rows are the texts of a frame.

        Args:
            model: The model.
            frame: Of pandas or polars, or a mapping of columns.
            text: The column of texts.
            label: The column of labels; several columns of 0 and 1 are several labels at once.
            group: The column of what a split keeps together; None for each text of its own.
            type: The column of types; None for each text's last word.
            options: As :meth:`from_texts` takes them.

        Raises:
            ProbeError: There is no such column, or a label is missing.
            SiteError: A site or layer does not exist.
        """
        from probes.reading.frame import read_frame

        return read_frame(model, frame, text, label, group, type, options)

    @classmethod
    def from_store(
        cls,
        store: Any,
        labels: Any,
        *,
        site: str | Sequence[str] | None = None,
        layers: Any = "all",
        heads: int | None = None,
        pool: str | None = None,
        groups: Any = None,
        types: Any = None,
        label: str | None = None,
        kind: str | None = None,
        random_twin: Any = None,
    ) -> ProbeData:
        """Return data whose rows are those of a store; features are read a place at a time.

        Args:
            store: A FeatureStore or its folder; ``store.select(rows=...)`` leaves rows out.
            labels: The name of a column, or one label a row.
            site: One name or several; None for all but the embeddings.
            layers: Numbers, or ``"all"``.
            heads: How many heads the model has: of sites that have heads, a place for each.
            pool: Which pooling is meant where the store has several.
            groups: The name of a column, one value a row, or None: the text of each token, and of
                rows that are texts each its own, which equal texts share.
            types: The name of a column, one value a row, or None: what each token is, or the last
                word of each text, if the store holds it.
            label: What labels say; None for the name of the column.
            kind: ``regression`` for whole numbers that are no classes.
            random_twin: A second store, or its folder: the same rows as a model with random weights
                reads them, which a sweep compares with. A store does not hold the model, so that
                no twin can be drawn: make one with ``type(model).from_config(model.config, seed,
                tokenizer=model.tokenizer)`` and export it with the same spec.

        Raises:
            ProbeError: The store has no such site, layer, pooling or column, a label is missing, or
                the twin holds other rows or was made by the same model.
            StoreError: It cannot be read.
        """
        from probes.reading.store import read_store

        return read_store(
            store,
            labels,
            site=site,
            layers=layers,
            heads=heads,
            pool=pool,
            groups=groups,
            types=types,
            label=label,
            kind=kind,
            random_twin=random_twin,
        )

    @classmethod
    def from_cache(
        cls,
        cache: Any,
        labels: Any,
        *,
        site: str | Sequence[str] = "resid_post",
        layers: Any = "all",
        pool: str = "last",
        heads: bool = False,
        groups: Any = None,
        types: Any = None,
        label: str | None = None,
        kind: str | None = None,
    ) -> ProbeData:
        """Return data of a cache: a row is a token or a text, as labels are.

        Args:
            cache: Of ``model.run_with_cache``, or loaded from a file. It does not remember edits:
                the source says ``edited`` where the model has some in force now.
            labels: [batch, pos] or lists of one label a real token: rows are tokens, of which those
                labelled None, NaN or -100 make none; or [batch]: rows are texts.
            site: One name or several.
            layers: Numbers, or ``"all"``.
            pool: Of texts, over real tokens: ``mean``, ``last`` or ``first``.
            heads: Of sites that have heads, a place for each.
            groups: One a text; None for one each, which equal texts share.
            types: As labels are; None for the tokens themselves, or the last word of each text.
            label: What labels say.
            kind: ``regression`` for whole numbers that are no classes.

        Raises:
            ProbeError: Labels are not as the cache's tokens, or it has no such site or layer.
        """
        from probes.reading.cache import read_cache

        return read_cache(
            cache,
            labels,
            site=site,
            layers=layers,
            pool=pool,
            heads=heads,
            groups=groups,
            types=types,
            label=label,
            kind=kind,
        )


def path_of(given: Any) -> bool:
    """Whether something names a file or folder."""
    return isinstance(given, str | os.PathLike)
