from __future__ import annotations

from typing import Any

from sklearn.utils.estimator_checks import parametrize_with_checks

import probes


@parametrize_with_checks([probes.LogisticProbe(), probes.RidgeProbe()])
def test_estimator_is_one_of_scikit_learns(estimator: Any, check: Any) -> None:
    check(estimator)
