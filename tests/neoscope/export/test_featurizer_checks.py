"""scikit-learn's own estimator checks.

They feed tables of numbers, which a Featurizer refuses. So they are run twice: on the Featurizer
itself, where every check that cannot pass is named with its reason, and on one whose ``X`` is made
of numbers turned into sentences, where all that the first run leaves out must pass.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.utils.estimator_checks import parametrize_with_checks
from sklearn.utils.validation import validate_data

from neoscope.export.featurizer import Featurizer
from neoscope.export.featurizer.cache import CACHE

_NUMBERS = "feeds numbers, and texts are all that can be read"
REFUSED = dict.fromkeys(
    (
        "check_array_api_input",
        "check_dict_unchanged",
        "check_dont_overwrite_parameters",
        "check_dtype_object",
        "check_estimators_dtypes",
        "check_estimators_fit_returns_self",
        "check_estimators_nan_inf",
        "check_estimators_overwrite_params",
        "check_estimators_pickle",
        "check_f_contiguous_array_estimator",
        "check_fit2d_1feature",
        "check_fit2d_1sample",
        "check_fit2d_predict1d",
        "check_fit_check_is_fitted",
        "check_fit_idempotent",
        "check_fit_score_takes_y",
        "check_methods_sample_order_invariance",
        "check_methods_subset_invariance",
        "check_n_features_in",
        "check_n_features_in_after_fitting",
        "check_pipeline_consistency",
        "check_positive_only_tag_during_fit",
        "check_readonly_memmap_input",
        "check_transformer_data_not_an_array",
        "check_transformer_general",
    ),
    _NUMBERS,
) | {
    "check_estimator_sparse_array": "cannot make its one-dimensional input: scipy has none in "
    "every sparse format; of two dimensions, the same is checked below and of sparse matrices"
}
ROUNDED = {
    "check_methods_subset_invariance": "asks for 1e-7; without the cache, which gives a text the "
    "same numbers every time, a text in another batch is rounded otherwise, by less than 1e-5"
}
WORDS = ("the", "food", "was", "lovely", "but", "not", "plot", "so", "I", "liked", "it")


class OfNumbers(Featurizer):
    """Reads each row of a table of numbers as a sentence of as many words."""

    def _read(self, X: Any, *, reset: bool) -> list[str]:
        table = np.asarray(validate_data(self, X, reset=reset), dtype=np.float64)
        which = np.round(7 * np.abs(table)).astype(np.int64) % len(WORDS)
        return [" ".join(WORDS[i] for i in row) for row in which]

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.string = tags.input_tags.one_d_array = False
        return tags


@pytest.fixture(autouse=True)
def _nothing_known() -> None:
    CACHE.clear()


@parametrize_with_checks(
    [Featurizer("organism")], expected_failed_checks=lambda _: REFUSED, xfail_strict=True
)
def test_of_texts(estimator: Any, check: Any) -> None:
    check(estimator)


# check_array_api_input skips itself, as it does in scikit-learn's own runs, where scipy was
# imported without SCIPY_ARRAY_API; the test below runs it in a process of its own.
@parametrize_with_checks(
    [OfNumbers("organism", layer=1), OfNumbers("organism", cache=False)],
    expected_failed_checks=lambda estimator: {} if estimator.cache else ROUNDED,
)
def test_of_numbers_read_as_texts(estimator: Any, check: Any) -> None:
    check(estimator)


def test_array_api_dispatch_changes_nothing() -> None:
    code = """
from sklearn.utils.estimator_checks import check_array_api_input
from tests.neoscope.export.test_featurizer_checks import OfNumbers
check_array_api_input("OfNumbers", OfNumbers(), "numpy", expect_only_array_outputs=False)
print("checked")
"""
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "SCIPY_ARRAY_API": "1"},
        cwd=Path(__file__).parents[3],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout == "checked\n", done.stderr
