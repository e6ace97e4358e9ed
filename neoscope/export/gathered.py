"""Gathered: the features of many texts, put together batch by batch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from neoscope.errors import ExportError
from neoscope.export.encoding import Encoded
from neoscope.export.pooler import Part
from neoscope.export.spec import Feature
from neoscope.export.weights import Weights, defined_tokens


class Gathered:
    """Arrays of the final shape, filled in whatever order batches come."""

    def __init__(
        self,
        features: Sequence[Feature],
        weights: Mapping[str, Weights | None],
        encoded: Encoded,
        n_heads: int,
    ) -> None:
        """Allocate.

        Args:
            features: The columns.
            weights: How each is pooled; None for one row a token.
            encoded: The texts.
            n_heads: Heads of an attention pattern.
        """
        n_tokens = len(encoded.ids)
        # A token's row of a pattern has one number for every head and every token of its text.
        sizes = encoded.lengths[encoded.text] * n_heads
        self._starts = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)
        self.sizes = {feature.name: sizes for feature in features if feature.width is None}
        self._values: dict[str, NDArray[np.float32]] = {}
        self._filled: dict[str, NDArray[np.bool_]] = {}
        for feature in features:
            pooled = weights[feature.name]
            if feature.width is None:
                shape: tuple[int, ...] = (int(self._starts[-1]),)
            else:
                shape = (n_tokens if pooled is None else pooled.n_slots, feature.width)
            self._filled[feature.name] = (
                defined_tokens(encoded, feature.defined) if pooled is None else pooled.filled()
            )
            highest = pooled is not None and not pooled.linear
            self._values[feature.name] = np.full(shape, -np.inf if highest else 0, np.float32)

    def take(self, parts: Sequence[tuple[Feature, Part]]) -> None:
        """Add what one batch gave."""
        for feature, part in parts:
            out, values = self._values[feature.name], part.values.cpu().numpy()
            if part.how == "set":
                out[part.slots] = values
            elif part.how == "add":
                out[part.slots] += values
            elif part.how == "max":
                out[part.slots] = np.maximum(out[part.slots], values)
            else:
                at = 0
                for token in part.slots:
                    start, stop = self._starts[token], self._starts[token + 1]
                    out[start:stop] = values[at : at + stop - start]
                    at += stop - start

    def finish(
        self, dtype: str, *, normalize: bool
    ) -> tuple[dict[str, NDArray[Any]], dict[str, NDArray[np.bool_]]]:
        """Return the columns and which of their rows have a value; the others are NaN.

        Args:
            dtype: What they are kept in.
            normalize: Divide each row by its Euclidean norm; single numbers stay as they are.

        Raises:
            ExportError: A value does not fit the dtype, or is none.
        """
        filled: dict[str, NDArray[np.bool_]] = {}
        for name, values in self._values.items():
            if name in self.sizes:
                filled[name] = np.ones(len(self._starts) - 1, bool)
                continue
            filled[name] = self._filled[name]
            finite: NDArray[np.bool_] = np.isfinite(values)
            if not finite[filled[name]].all():
                raise ExportError(
                    f"{name} holds values that are not finite: the model overflows; load it in "
                    "float32 or bfloat16"
                )
            values[~filled[name]] = np.nan
            if normalize and values.shape[1] > 1:
                norm = np.linalg.norm(values, axis=1, keepdims=True)
                values /= np.where(norm == 0, 1, norm)
        return {name: _as(values, dtype, name) for name, values in self._values.items()}, filled


def _as(values: NDArray[np.float32], dtype: str, name: str) -> NDArray[Any]:
    if dtype == "float32":
        return values
    # Masked scores are -inf, which float16 holds too.
    largest = float(np.max(np.abs(values), initial=0, where=np.isfinite(values)))
    if largest > float(np.finfo(np.float16).max):
        raise ExportError(
            f"{name} reaches {largest:.4g}, more than float16 can hold; choose dtype='float32'"
        )
    return values.astype(np.float16)
