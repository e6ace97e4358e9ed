"""Featurizer: a scikit-learn transformer from texts to features of a GPT-Neo."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.utils.validation import check_is_fitted, validate_data

from neoscope.errors import ArgumentError
from neoscope.export.extractor import Extractor
from neoscope.export.featurizer.cache import CACHE, GRID_POOLS, compute
from neoscope.export.featurizer.model import ModelSource, forget_models
from neoscope.export.memory import row_error
from neoscope.export.spec import FeatureSpec
from neoscope.export.text_input import texts_of
from neoscope.indices import listed, whole


class Featurizer(TransformerMixin, BaseEstimator):  # type: ignore[misc]  # scikit-learn has no types
    """Turns texts into features: one vector a text, of the layers and poolings that are named.

    ``X`` is one column of texts: a list, an array or a series, or an array or frame [texts, 1].
    :meth:`fit` learns nothing; it checks, and loads the model.

    A model that is given by name is loaded once a process and never pickled. Features are kept in a
    cache of one GiB a process: a grid over ``layer`` and ``pool`` runs each text twice, once for
    the first point and once for all others. :func:`clear_cache` empties it.

    Example:
        >>> from sklearn.linear_model import LogisticRegression
        >>> from sklearn.pipeline import make_pipeline
        >>> pipe = make_pipeline(Featurizer("organism", layer=2), LogisticRegression())
        >>> texts = ["The food was lovely.", "The food was dreadful."]
        >>> pipe.fit(texts, ["good", "bad"]).predict(["The plot was lovely."]).tolist()
        ['good']
    """

    def __init__(
        self,
        model: Any = "organism",
        *,
        site: Any = "resid_post",
        layer: Any = -1,
        pool: Any = "mean",
        positions: Any = None,
        dtype: Any = "float32",
        max_length: Any = None,
        truncation: Any = "truncate",
        overlap: Any = None,
        normalize: Any = False,
        prepend_bos: Any = False,
        batch_tokens: Any = None,
        revision: Any = None,
        device: Any = "cpu",
        weights_dtype: Any = "float32",
        cache: Any = True,
        progress: Any = False,
    ) -> None:
        """Keep the parameters; :meth:`fit` checks them.

        Args:
            model: What ``neoscope.load`` takes, or a model, which is run as it is, with its hooks
                and edits, and never copied by ``clone``.
            site: A site, as ``FeatureSpec.sites``, or several, whose features stand side by side.
            layer: A layer, several, or None for all; not read for sites that are in no layer
                (``hidden``, ``embed``, ``loss``).
            pool: ``"mean"``, ``"weighted_mean"``, ``"last"``, ``"first"``, ``"max"``, or several.
            positions: Which tokens are pooled: an int, a slice or a list; None for all.
            dtype: What features are given in: ``"float32"`` or ``"float16"``.
            max_length: Most tokens of a text, or of a window; None for the model's context.
            truncation: ``"truncate"``, ``"error"`` or ``"stride"``, as in :class:`FeatureSpec`.
            overlap: Tokens that a window of ``"stride"`` repeats.
            normalize: Divide each pooled vector by its Euclidean norm.
            prepend_bos: Put the beginning-of-text token before each text.
            batch_tokens: Most tokens run at once; None for what suits the device.
            revision: Branch, tag or commit on the hub; for a model given by name, as the next two.
            device: Where the model runs.
            weights_dtype: What its weights are kept in.
            cache: Whether features are looked up and kept; never where hooks or edits are in force.
            progress: Show a bar after two seconds.
        """
        self.model = model
        self.site = site
        self.layer = layer
        self.pool = pool
        self.positions = positions
        self.dtype = dtype
        self.max_length = max_length
        self.truncation = truncation
        self.overlap = overlap
        self.normalize = normalize
        self.prepend_bos = prepend_bos
        self.batch_tokens = batch_tokens
        self.revision = revision
        self.device = device
        self.weights_dtype = weights_dtype
        self.cache = cache
        self.progress = progress

    def fit(self, X: Any, y: Any = None) -> Featurizer:
        """Check texts and parameters, and load the model; nothing is run.

        Args:
            X: [texts] or [texts, 1].
            y: Not read.

        Raises:
            ExportError: A text is null or no string.
            ArgumentError: A parameter means nothing, or ``X`` is not one column of texts.
            SiteError: The model has no such site or layer.
            CheckpointError: The model cannot be found or read.
        """
        self._read(X, reset=True)
        spec = self._spec()
        source = ModelSource.of(self.model, self.revision, self.device, self.weights_dtype)
        extractor = self._extractor(source, spec)
        # What only the tokenizer and the context decide is refused here, too.
        extractor.encode([])
        self.spec_ = spec
        self.source_ = source
        self.columns_ = {feature.name: feature.width or 0 for feature in extractor.features}
        self.n_features_out_ = sum(self.columns_.values())
        return self

    def transform(self, X: Any) -> NDArray[Any]:
        """Return ``[texts, n_features_out_]``; NaN where there is no value (a single token's loss).

        Args:
            X: [texts] or [texts, 1].

        Raises:
            NotFittedError: :meth:`fit` was not called.
            ExportError: A text cannot be used; names its row.
        """
        check_is_fitted(self)
        texts = self._read(X, reset=False)
        extractor = self._extractor(self.source_, self.spec_)
        known = self.cache and not extractor.model.is_edited
        cached_as = self.source_.fingerprint() if known else None
        return compute(extractor, texts, cached_as=cached_as, progress=self.progress)

    def get_feature_names_out(self, input_features: Any = None) -> NDArray[Any]:
        """Return the names of the columns: ``resid_post_3_mean_0`` and so on.

        Args:
            input_features: Not read: there is one, the text.
        """
        check_is_fitted(self)
        names = [
            name if width == 1 else f"{name}_{i}"
            for name, width in self.columns_.items()
            for i in range(width)
        ]
        return np.array(names, dtype=object)

    def _spec(self) -> FeatureSpec:
        """Return what the parameters ask for."""
        for pool in listed(self.pool):
            if pool in ("token", "spans", "none"):
                raise ArgumentError(
                    f"pool={pool!r} does not give every text one vector by itself; choose from "
                    f"{', '.join(GRID_POOLS)}, or use extract()"
                )
        for name in ("normalize", "prepend_bos", "cache", "progress"):
            if not isinstance(getattr(self, name), bool | np.bool_):
                raise ArgumentError(f"{name}={getattr(self, name)!r} is neither True nor False")
        layers = None if self.layer is None else listed(self.layer)
        if layers is not None and (not layers or None in map(whole, layers)):
            raise ArgumentError(f"layer={self.layer!r} is no layer, nor several; None means all")
        return FeatureSpec(
            sites=self.site,
            layers=layers,
            pool=self.pool,
            positions=self.positions,
            dtype=self.dtype,
            max_length=self._count("max_length"),
            truncation=self.truncation,
            overlap=self._count("overlap"),
            normalize=bool(self.normalize),
            prepend_bos=bool(self.prepend_bos),
        )

    def _count(self, name: str) -> int | None:
        """Return a parameter that is a number above 0, or None."""
        value = getattr(self, name)
        count = whole(value)
        if value is not None and (count is None or count < 1):
            raise ArgumentError(f"{name}={value!r} is no whole number above 0")
        return count

    def _extractor(self, source: ModelSource, spec: FeatureSpec) -> Extractor:
        """Return what computes the features."""
        return Extractor(source.get(), spec, batch_tokens=self._count("batch_tokens"))

    def _read(self, X: Any, *, reset: bool) -> list[str]:
        """Return the texts of ``X``."""
        texts, problems = texts_of(X)
        if not texts:
            raise ArgumentError("X has 0 sample(s): expected at least one text")
        if problems:
            raise row_error(problems)
        if reset:
            for name in {"n_features_in_", "feature_names_in_"} & vars(self).keys():
                delattr(self, name)
        if len(getattr(X, "shape", ())) == 2 and (reset or hasattr(self, "n_features_in_")):
            validate_data(self, X, reset=reset, skip_check_array=True)
        return [text for text in texts if text is not None]

    def __sklearn_clone__(self) -> Featurizer:
        """Return an unfitted twin that shares the model."""
        twin = copy.copy(self)
        twin.model = None
        clone: Featurizer = super(Featurizer, twin).__sklearn_clone__()
        clone.model = self.model
        return clone

    def __sklearn_tags__(self) -> Any:
        """Say that it takes strings, in one column."""
        tags = super().__sklearn_tags__()
        tags.input_tags.string = True
        tags.input_tags.one_d_array = True
        tags.input_tags.two_d_array = True
        tags.transformer_tags.preserves_dtype = []
        return tags


def clear_cache() -> None:
    """Forget the features and the models that this process keeps for Featurizers."""
    CACHE.clear()
    forget_models()
