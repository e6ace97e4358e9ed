from __future__ import annotations

from typing import Any

from sklearn.utils.estimator_checks import parametrize_with_checks

from probes.direction import MassMeanProbe


@parametrize_with_checks(
    [MassMeanProbe(), MassMeanProbe(iid=True), MassMeanProbe(True, shrinkage="oas")]
)
def test_mass_mean_passes_scikit_learns_checks(estimator: Any, check: Any) -> None:
    check(estimator)
