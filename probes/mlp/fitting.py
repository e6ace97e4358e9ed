"""Fitting of the multilayer perceptron probes: batches, held-out rows, losses."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional as F

from neoscope.errors import ProbeError
from probes.data.labels import read_groups
from probes.data.splits import group_split
from probes.estimating.arguments import number, one_of, whole_number
from probes.estimating.descent import Schedule, descend
from probes.estimating.scaling import blocks, mean_and_scale
from probes.linear.joint import read_device
from probes.mlp.network import initial_weights, run_layers

Array = NDArray[Any]
RowLoss = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]

AUTO_ROWS = 1000
"""Rows from which on `validation="auto"` holds some of them out."""
AUTO_SHARE = 0.1
_HELD_NUMBERS = 2**27
"""Features up to which the standardised rows are held in memory: 512 MiB in float32."""


@dataclass(frozen=True)
class MLPOptions:
    """What the constructors of the MLP probes take, checked."""

    hidden: tuple[int, ...]
    batch_size: int
    schedule: Schedule
    validation: float | None
    """Share of the rows; None decides by their number."""
    seed: int
    device: str

    @classmethod
    def read(cls, probe: Any) -> MLPOptions:
        """Check a probe's parameters.

        Raises:
            ProbeError: One of them means nothing.
        """
        hidden = (probe.hidden,) if isinstance(probe.hidden, (int, np.integer)) else probe.hidden
        if not isinstance(hidden, (tuple, list)) or len(hidden) not in (1, 2):
            raise ProbeError(
                f"hidden must be the sizes of 1 or 2 layers, such as (64,), not {hidden!r}"
            )
        validation = None
        if isinstance(probe.validation, str):
            one_of("validation", probe.validation, ("auto",))
        else:
            validation = number("validation", probe.validation)
            if validation >= 1:
                raise ProbeError(f"validation is a share of the rows below 1, not {validation:g}")
        return cls(
            hidden=tuple(whole_number("a size in hidden", size) for size in hidden),
            batch_size=whole_number("batch_size", probe.batch_size),
            schedule=Schedule(
                learning_rate=number("learning_rate", probe.learning_rate, positive=True),
                max_epochs=whole_number("max_epochs", probe.max_epochs),
                patience=whole_number("patience", probe.patience),
                tolerance=number("tolerance", probe.tolerance),
                weight_decay=number("weight_decay", probe.weight_decay),
                progress=bool(probe.progress),
            ),
            validation=validation,
            seed=whole_number("seed", probe.seed, least=0),
            device=read_device(probe.device),
        )


@dataclass(frozen=True)
class FittedMLP:
    """The numbers of a fitted perceptron."""

    mean: Array
    scale: Array
    coefs: list[Array]
    intercepts: list[Array]
    losses: list[float]
    stopped: bool


class _Rows:
    """Standardised rows: all at once where memory allows, otherwise read batch by batch."""

    def __init__(
        self, X: Array, targets: Array, weights: Array, dtype: torch.dtype, device: str
    ) -> None:
        self.mean, self.scale = mean_and_scale(X, weights)
        # One row weighs 1 on average, so that the size of the weights does not change the steps.
        self._weights = weights / weights.mean()
        self._X, self._targets, self._dtype, self._device = X, targets, dtype, device
        self._z = None
        if X.size <= _HELD_NUMBERS:
            parts = [self._standardised(rows) for rows in blocks(len(X))]
            self._z = torch.cat(parts)

    def read(self, rows: Array) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Return features, targets and weights of some rows."""
        z = self._standardised(rows) if self._z is None else self._z[torch.from_numpy(rows)]
        return z, self._tensor(self._targets[rows]), self._tensor(self._weights[rows])

    def _standardised(self, rows: Array | slice) -> torch.Tensor:
        return self._tensor((np.asarray(self._X[rows], np.float64) - self.mean) / self.scale)

    def _tensor(self, values: Array) -> torch.Tensor:
        return torch.from_numpy(values).to(self._device, self._dtype)


def fit_mlp(
    X: Array,
    targets: Array,
    weights: Array,
    kind: str,
    options: MLPOptions,
    groups: Any = None,
) -> FittedMLP:
    """Fit a multilayer perceptron.

    Rows that fit in one batch are trained on together, in float64 and in one order-free sum, so
    that a row of weight 2 counts exactly as two rows; more are shuffled into batches in float32.

    Args:
        X: [rows, features].
        targets: [rows, outputs].
        weights: [rows].
        kind: ``binary``, ``multiclass``, ``multilabel`` or ``regression``.
        options: Of the probe.
        groups: [rows] what is held out together; None for rows by themselves.

    Raises:
        ProbeError: ``groups`` is not one a row.
    """
    codes = None if groups is None else read_groups(groups, len(X))[0]
    kept = np.flatnonzero(weights > 0)
    X, targets, weights = _rows(X, kept), targets[kept], weights[kept]
    share = options.validation
    if share is None:
        share = AUTO_SHARE if len(X) >= AUTO_ROWS else 0.0
    codes = None if codes is None else codes[kept]
    train, held = hold_out(targets, share, options.seed, kind, codes)
    row_loss = loss_of(kind)
    whole = len(train) <= options.batch_size
    dtype = torch.float64 if whole else torch.float32
    rows = _Rows(X, targets, weights, dtype, options.device)
    sizes = (X.shape[1], *options.hidden, targets.shape[1])
    coefs, intercepts = initial_weights(sizes, options.seed, dtype)
    parameters = [p.detach().to(options.device).requires_grad_() for p in [*coefs, *intercepts]]
    coefs, intercepts = parameters[: len(coefs)], parameters[len(coefs) :]

    def losses(batch: tuple[torch.Tensor, torch.Tensor, torch.Tensor]) -> torch.Tensor:
        z, target, weight = batch
        return weight @ row_loss(run_layers(z, coefs, intercepts), target)

    def judge() -> float:
        with torch.no_grad():
            parts = (rows.read(held[at : at + 8192]) for at in range(0, len(held), 8192))
            return sum(losses(part).item() for part in parts) / float(weights[held].sum()) * mean

    mean = float(weights.mean())
    total = float(weights[train].sum()) / mean
    batches = _epochs(rows, train, options) if not whole else _always(rows.read(train))
    descent = descend(
        parameters,
        lambda batch: losses(batch) / (total * len(batch[0]) / len(train)),
        batches,
        judge if len(held) else None,
        options.schedule,
    )
    arrays = [parameter.detach().cpu().numpy().copy() for parameter in parameters]
    return FittedMLP(
        rows.mean,
        rows.scale,
        arrays[: len(coefs)],
        arrays[len(coefs) :],
        descent.losses,
        descent.stopped,
    )


def _rows(X: Array, kept: Array) -> Array:
    return X if len(kept) == len(X) else X[kept]


def _always(batch: Any) -> Callable[[], list[Any]]:
    return lambda: [batch]


def _epochs(rows: _Rows, train: Array, options: MLPOptions) -> Callable[[], Iterator[Any]]:
    rng = np.random.default_rng(options.seed)

    def epoch() -> Iterator[Any]:
        order = rng.permutation(train)
        for start in range(0, len(order), options.batch_size):
            # Sorted, so that a file on disk is read forwards.
            yield rows.read(np.sort(order[start : start + options.batch_size]))

    return epoch


def hold_out(
    targets: Array, share: float, seed: int, kind: str, groups: Array | None = None
) -> tuple[Array, Array]:
    """Return rows to train on and rows to hold out, both in order.

    Args:
        targets: [rows, outputs].
        share: Of the rows to hold out; of each class the same, rounded down. Of groups nearly, and
            those without which a class would be missing from training are not held out.
        seed: Of the draw.
        kind: ``binary``, ``multiclass``, ``multilabel`` or ``regression``.
        groups: [rows] codes of what is held out together; None for rows by themselves.
    """
    classes = {"binary": targets[:, 0], "multiclass": targets.argmax(1)}.get(kind)
    held = np.zeros(0, np.int64)
    if share > 0 and groups is None:
        held = _held_rows(len(targets), classes, share, seed)
    elif share > 0 and groups is not None and len(np.unique(groups)) > 1:
        y = targets if classes is None else classes
        regression = kind == "regression"
        train, held = group_split(groups, y, test_size=share, seed=seed, regression=regression)
        if classes is not None:
            lost = held[~np.isin(classes[held], classes[train])]
            held = held[~np.isin(groups[held], groups[lost])]
    return np.setdiff1d(np.arange(len(targets)), held, assume_unique=True), np.sort(held)


def _held_rows(n_rows: int, classes: Array | None, share: float, seed: int) -> Array:
    order = np.random.default_rng(seed).permutation(n_rows)
    if classes is None:
        return np.asarray(order[: int(share * n_rows)])
    codes = np.unique(classes[order], return_inverse=True)[1]
    ordered = np.argsort(codes, kind="stable")
    sizes = np.bincount(codes)
    starts = np.repeat(np.cumsum(sizes) - sizes, sizes)
    first = np.arange(n_rows) - starts < np.floor(share * sizes)[codes[ordered]]
    return np.asarray(order[ordered[first]])


def loss_of(kind: str) -> RowLoss:
    """Return the loss of each row, of scores and targets.

    Cross-entropy in nats, of several labels their sum; of numbers the squared error, the mean over
    outputs.

    Args:
        kind: ``binary``, ``multiclass``, ``multilabel`` or ``regression``.
    """
    if kind == "regression":
        return lambda scores, targets: (scores - targets).square().mean(1)
    if kind == "multiclass":
        return lambda scores, targets: F.cross_entropy(scores, targets, reduction="none")
    return lambda scores, targets: F.binary_cross_entropy_with_logits(
        scores, targets, reduction="none"
    ).sum(1)
