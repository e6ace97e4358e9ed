from __future__ import annotations

from sklearn.utils.estimator_checks import parametrize_with_checks

from probes.centroid import CentroidProbe
from probes.lowrank import LowRankProbe
from probes.mlp import MLPProbe, MLPRegressorProbe
from probes.sparse import SparseProbe
from probes.structural import DepthProbe, DistanceProbe


@parametrize_with_checks(
    [
        CentroidProbe(),
        MLPProbe(learning_rate=0.01, max_epochs=15),
        MLPProbe((16, 8), learning_rate=0.01, max_epochs=15),
        MLPRegressorProbe(learning_rate=0.01, max_epochs=15),
        SparseProbe(),
        SparseProbe(selection="f_statistic"),
        SparseProbe(selection="adaptive"),
        LowRankProbe(),
        LowRankProbe(2, C=0.1),
        DepthProbe(max_epochs=10),
        DistanceProbe(max_epochs=10),
    ]
)
def test_estimator_obeys_scikit_learn(estimator, check):
    check(estimator)
