"""Dtypes, norms, and values that are no numbers."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from neoscope.errors import ExportError
from neoscope.export.spec import FeatureSpec
from tests.neoscope.export.extracting import EVERYTHING, MODEL, POOLS, whole
from tests.neoscope.export.oracle import TEXTS, close, ids_of, run, tiny


def test_float16_keeps_what_fits_and_refuses_what_does_not() -> None:
    spec = FeatureSpec("embed", pool=["mean", "max"], dtype="float16")
    found = run(MODEL, spec, TEXTS)
    exact = run(MODEL, FeatureSpec("embed", pool=["mean", "max"]), TEXTS)
    for name, values in found.features.items():
        assert values.dtype == np.float16
        close(values, exact.features[name], 1e-3)
    model = tiny()
    with torch.no_grad():
        model.embed.W_E[ids_of("a", spec)[0], 0] = -70000.0
    with pytest.raises(ExportError, match=r"embed_mean reaches 7e\+04, more than float16 can hold"):
        run(model, spec, ["the", "a"])


def test_float16_keeps_masked_scores() -> None:
    spec = FeatureSpec("attn_scores", layers=0, pool="none", dtype="float16")
    values = run(MODEL, spec, TEXTS[:2]).features["attn_scores_0"]
    assert np.isneginf(values).any()
    assert not np.isnan(values).any()


def test_normalized_rows_have_length_one_and_their_direction() -> None:
    plain = run(MODEL, FeatureSpec(("resid_post", "loss"), pool=POOLS), TEXTS)
    found = run(MODEL, FeatureSpec(("resid_post", "loss"), pool=POOLS, normalize=True), TEXTS)
    for name, values in found.features.items():
        rows, raw = values[found.filled[name]], plain.features[name][plain.filled[name]]
        if values.shape[1] == 1:  # a number has no direction
            close(rows, raw)
            continue
        close(np.linalg.norm(rows, axis=1), np.ones(len(rows)))
        close(rows, raw / np.linalg.norm(raw, axis=1, keepdims=True))


def test_a_zero_vector_stays_zero_when_normalized() -> None:
    model = tiny()
    with torch.no_grad():
        model.embed.W_E[ids_of("a", FeatureSpec())[0]] = 0
    found = run(model, FeatureSpec("embed", normalize=True), ["a"])
    assert (found.features["embed_mean"] == 0).all()


@pytest.mark.parametrize("pool", ["mean", "last", "none"])
def test_what_is_no_number_is_refused(pool: str) -> None:
    model = tiny()
    with torch.no_grad():
        model.embed.W_E[ids_of("a", FeatureSpec())[0], 0] = torch.inf
    with pytest.raises(ExportError, match=r"embed(_\w+)? holds values that are not finite"):
        run(model, FeatureSpec("embed", pool=pool), ["the", "a"])


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_is_roughly_the_same(dtype: torch.dtype) -> None:
    exact, found = whole(), run(tiny(dtype=dtype), EVERYTHING, TEXTS)
    for name, values in found.features.items():
        filled = found.filled[name]
        assert values.dtype == np.float32
        close(values[filled], exact.features[name][filled], 0.1)
