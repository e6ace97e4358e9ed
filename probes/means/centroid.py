"""CentroidProbe: the nearest class mean, the floor under every other probe."""

from __future__ import annotations

from typing import Any

from numpy.typing import NDArray

from probes.means.mass_mean import MassMeanProbe


class CentroidProbe(MassMeanProbe):
    """The class whose mean is nearest: nothing is learned but the means.

    A class's score is ``-||x - mean||^2 / 2`` up to a term that all classes share, which leaves
    it linear in x; its probabilities are those of unit Gaussians about the means, all classes
    equally frequent. Of several labels each has a mean without it and a mean with it. It is the
    plain :class:`MassMeanProbe` under its other name and with nothing to choose; a class of which
    no row was seen is never predicted.

    Example:
        >>> CentroidProbe().fit([[0.0], [1.0], [9.0]], ["a", "a", "b"]).predict([[4.0], [6.0]])
        array(['a', 'b'], dtype='<U1')
    """

    iid = False
    shrinkage = 0.0
    priors = "equal"

    def __init__(self) -> None:
        """There is nothing to choose."""

    @property
    def centroids_(self) -> NDArray[Any]:
        """[classes, features]; of several labels [labels, 2, features], without and with each."""
        return self.means_
