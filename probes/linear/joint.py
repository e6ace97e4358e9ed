"""JointFit: many linear probes of one matrix of features, fitted together."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from neoscope.errors import ProbeError
from probes.estimating.arguments import number

if TYPE_CHECKING:
    import torch

Array = NDArray[Any]


@dataclass(frozen=True, eq=False)
class JointFit:
    """Linear probes of several folds and strengths: folds outside, strengths inside."""

    coef: Array
    """[folds x strengths, outputs, features], in the features' own units."""
    intercept: Array
    """[folds x strengths, outputs]."""
    strengths: tuple[float, ...]
    converged: Array
    """[folds x strengths]."""
    n_iter: Array
    """[folds x strengths] steps; 0 where the answer is a closed form."""
    objective: Array | None = None
    """[folds x strengths]; None where nobody asks."""

    def scores(self, fold: int, X: Array) -> Array:
        """Return what a fold's probes say of some rows, [strengths, rows, outputs]."""
        n = len(self.strengths)
        here = slice(fold * n, (fold + 1) * n)
        coef = self.coef[here].astype(X.dtype, copy=False)
        flat = X @ coef.reshape(-1, X.shape[1]).T
        found = flat.reshape(len(X), n, -1).transpose(1, 0, 2)
        return np.asarray(found + self.intercept[here][:, None])


@runtime_checkable
class PreparedFolds(Protocol):
    """Folds of one matrix of features, ready to be fitted at any strengths."""

    def fit(self, strengths: Sequence[float]) -> JointFit:
        """Fit every fold at every strength."""
        ...


@runtime_checkable
class JointProbe(Protocol):
    """An estimator that fits many folds and strengths together."""

    strength_name: str
    strengths: tuple[float, ...]

    def prepare_folds(
        self, X: Any, y: Any, folds: Sequence[Any], *, sample_weight: Any = None
    ) -> PreparedFolds:
        """Do once what every strength needs."""
        ...


def read_device(device: Any) -> str:
    """Return where to compute; None means the CPU.

    Raises:
        ProbeError: There is no such device here.
    """
    import torch

    if device is None:
        return "cpu"
    try:
        found = torch.device(device)
    except (RuntimeError, TypeError) as error:
        raise ProbeError(f"device={device!r} is no device: {error}") from None
    if found.type == "cuda" and not torch.cuda.is_available():
        raise ProbeError(f"device={device!r}: torch sees no CUDA device here")
    return str(found)


def tensor_of(X: Array, device: Any) -> torch.Tensor:
    """Return features as a tensor, without a copy on the CPU; nobody may write into it."""
    import torch

    with warnings.catch_warnings():
        # Memory-mapped features cannot be written to; torch says so of every one.
        warnings.filterwarnings("ignore", message=".*not writable.*")
        return torch.as_tensor(X, device=device)


def fold_weights(folds: Sequence[Any], weights: Array) -> Array:
    """Return the weight of every row in every fold, [rows, folds]; 0 where it is left out.

    Args:
        folds: The rows of each fold.
        weights: [rows].
    """
    found = np.zeros((len(weights), len(folds)))
    for column, rows in enumerate(folds):
        found[rows, column] = weights[rows]
    return found


def class_weights(given: Any, classes: Array, kind: str, targets: Array, weights: Array) -> Array:
    """Return the weights of rows in folds, multiplied by those of their classes.

    ``"balanced"`` is balanced within each fold, over its weighted rows.

    Args:
        given: ``"balanced"``, a mapping of classes to weights, or None.
        classes: What the classes are.
        kind: ``binary``, ``multiclass`` or ``multilabel``.
        targets: [rows, outputs] of 0 and 1.
        weights: [rows, folds].

    Raises:
        ProbeError: A class is unknown, a weight means nothing, or there are several labels.
    """
    if given is None:
        return weights
    if kind == "multilabel":
        raise ProbeError("class_weight is for one label a row; of several labels weigh the rows")
    member = np.concatenate([1 - targets, targets], 1) if kind == "binary" else targets
    if isinstance(given, str) and given == "balanced":
        mass = member.T @ weights
        total = weights.sum(0) / np.count_nonzero(mass, axis=0)
        each = np.divide(total, mass, out=np.zeros_like(mass), where=mass > 0)
        return np.asarray(weights * (member @ each))
    if not isinstance(given, Mapping):
        raise ProbeError(f"class_weight={given!r} is neither 'balanced' nor a mapping of classes")
    known = classes.tolist()
    for name, value in given.items():
        if name not in known:
            raise ProbeError(f"class_weight names {name!r}, which y does not hold: it has {known}")
        number(f"class_weight[{name!r}]", value)
    return np.asarray(weights * (member @ [[given.get(name, 1.0)] for name in known]))


def problem_grid(n_folds: int, strengths: Sequence[float]) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the fold and the strength of each problem, folds outside."""
    import torch

    each = torch.tensor(list(strengths), dtype=torch.float64)
    fold = torch.arange(n_folds).repeat_interleave(len(each))
    return fold, each.repeat(n_folds)
