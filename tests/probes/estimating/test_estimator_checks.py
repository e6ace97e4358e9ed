"""Every kind of probe passes scikit-learn's own checks, in each of the ways in which it computes.

Settings that change a number and no path (another width, another penalty) find nothing new here.
``MassMeanProbe()`` computes as ``CentroidProbe()`` does.
"""

from __future__ import annotations

from sklearn.utils.estimator_checks import parametrize_with_checks

import probes

QUICK = {"learning_rate": 0.1, "max_epochs": 2, "progress": False}


@parametrize_with_checks(
    [
        probes.LogisticProbe(),
        probes.RidgeProbe(),
        probes.CentroidProbe(),
        probes.MassMeanProbe(True),
        probes.MassMeanProbe(True, shrinkage="oas"),
        probes.MLPProbe((16, 8), **QUICK),
        probes.MLPRegressorProbe((16,), **QUICK),
        probes.SparseProbe(),
        probes.SparseProbe(selection="f_statistic"),
        probes.SparseProbe(selection="adaptive"),
        probes.LowRankProbe(2, C=0.1),
        probes.DepthProbe(max_epochs=10, progress=False),
        probes.DistanceProbe(max_epochs=10, progress=False),
    ]
)
def test_estimator_obeys_scikit_learn(estimator, check):
    check(estimator)
