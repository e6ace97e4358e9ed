"""Splits of rows by group: never a group on both sides, every class spread as evenly as can be."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Float
from numpy.typing import NDArray

from neoscope.errors import ProbeError
from probes.data.columns import Rows

Array = NDArray[Any]
_BINS = 10
"""Quantile bins over which numbers are spread as classes are."""


def group_split(
    groups: Array, y: Array, *, test_size: float = 0.2, seed: int = 0, regression: bool = False
) -> tuple[Rows, Rows]:
    """Return the rows of a training and of a test part, both ascending.

    Args:
        groups: [rows]: what must stay together, such as the sentence of each token.
        y: [rows] labels, or [rows, labels] of 0 and 1: each is spread as evenly as groups allow.
        test_size: Share of the rows that is tested on; groups are whole, so it is met nearly.
        seed: Another seed gives another split.
        regression: Labels are numbers: their tenths are spread, not their values.

    Raises:
        ProbeError: Fewer than 2 groups, or a share outside 0 to 1.
    """
    if not 0 < test_size < 1:
        raise ProbeError(f"test_size={test_size!r} must lie between 0 and 1")
    shares = np.array([1 - test_size, test_size])
    side = _assign(groups, y, shares, seed, regression, what="a split into training and test needs")
    return np.flatnonzero(side == 0), np.flatnonzero(side == 1)


def group_folds(
    groups: Array, y: Array, n: int = 5, *, seed: int = 0, regression: bool = False
) -> list[tuple[Rows, Rows]]:
    """Return the training and validation rows of each of ``n`` folds, all ascending.

    Every row is validated on once. A class that stands in fewer groups than there are folds is
    missing from some folds' validation rows; one that stands in a single group is missing from a
    fold's training rows.

    Args:
        groups: [rows]: what must stay together.
        y: [rows] labels, or [rows, labels] of 0 and 1.
        n: How many folds, at least 2.
        seed: Another seed gives other folds.
        regression: Labels are numbers: their tenths are spread, not their values.

    Raises:
        ProbeError: Fewer groups than folds, or fewer than 2 folds.
    """
    if isinstance(n, bool) or not isinstance(n, int | np.integer) or n < 2:
        raise ProbeError(f"folds are a whole number from 2; found {n!r}")
    fold = _assign(groups, y, np.full(n, 1 / n), seed, regression, what=f"{n} folds need")
    return [(np.flatnonzero(fold != k), np.flatnonzero(fold == k)) for k in range(n)]


def check_leak(train_groups: Any, test_groups: Any, names: Sequence[Any] | None = None) -> None:
    """See that no group stands on both sides of a split that somebody made.

    Args:
        train_groups: The group of each training row.
        test_groups: The group of each test row.
        names: What groups are called, where they are numbers.

    Raises:
        ProbeError: Names the first group that leaks, and says how many do.

    Example:
        >>> check_leak([0, 0, 1], [2])
    """
    both = np.intersect1d(np.asarray(train_groups), np.asarray(test_groups))
    if not len(both):
        return
    first = both[0]
    if names is not None and both.dtype.kind in "iu" and 0 <= first < len(names):
        first = names[int(first)]
    n_train, n_test = (int((np.asarray(g) == both[0]).sum()) for g in (train_groups, test_groups))
    n = len(both) - 1
    more = f", and {n} more group{'s do' if n > 1 else ' does'}" if n else ""
    raise ProbeError(
        f"group {first!s:.80} leaks: {n_train} of its rows are trained on and {n_test} are tested "
        f"on{more}; split by group, as ProbeData.split and ProbeData.folds do"
    )


def _assign(
    groups: Array,
    y: Array,
    shares: Float[np.ndarray, " parts"],
    seed: int,
    regression: bool,
    *,
    what: str,
) -> Rows:
    """Return the part of each row.

    Groups go one by one, large ones first, to the part in which their classes are most wanting:
    where the sum over classes of count^2 / share grows least. Sizes are compared by power of two
    alone, so that a seed has a choice.
    """
    _, group = np.unique(np.asarray(groups), return_inverse=True)
    n_groups = int(group.max(initial=-1)) + 1
    if n_groups < len(shares):
        raise ProbeError(
            f"{what} at least {len(shares)} groups, and there {_are(n_groups)}: a group is "
            "never on both sides"
        )
    held, weight = _by_group(group, n_groups, _codes(np.asarray(y), regression))
    sizes = np.bincount(group, minlength=n_groups)
    order = np.random.default_rng(seed).permutation(n_groups)
    order = order[np.argsort(-np.floor(np.log2(sizes[order])), kind="stable")]
    part = _greedy(held, weight, order, shares)
    return part[group]


def _greedy(
    held: list[NDArray[np.int64]],
    weight: list[NDArray[np.float64]],
    order: NDArray[np.int64],
    shares: Float[np.ndarray, " parts"],
) -> NDArray[np.int64]:
    n_classes = max(int(classes.max(initial=0)) for classes in held) + 1
    filled = np.zeros((len(shares), n_classes))
    inverse, empty = 1 / shares, np.ones(len(shares), bool)
    part = np.zeros(len(held), np.int64)
    for done, group in enumerate(order.tolist()):
        classes, amount = held[group], weight[group]
        cost = inverse * (2 * (filled[:, classes] @ amount) + amount @ amount)
        # The last groups go where there is none yet.
        if int(empty.sum()) >= len(order) - done:
            cost[~empty] = math.inf
        chosen = int(cost.argmin())
        part[group], empty[chosen] = chosen, False
        filled[chosen, classes] += amount
    return part


def _by_group(
    group: NDArray[np.int64], n_groups: int, codes: NDArray[np.int64]
) -> tuple[list[NDArray[np.int64]], list[NDArray[np.float64]]]:
    """Return the classes that each group holds, and its share of all rows of each.

    Rows as such are class 0, so that parts are of the right size too.
    """
    rows, column = np.nonzero(codes >= 0)
    n_classes = int(codes.max(initial=0)) + 2
    key = np.concatenate([group * n_classes, group[rows] * n_classes + codes[rows, column] + 1])
    keys, count = np.unique(key, return_counts=True)
    owner, kind = np.divmod(keys, n_classes)
    share = count / np.bincount(kind, count, minlength=n_classes)[kind]
    starts = np.searchsorted(owner, np.arange(1, n_groups))
    return np.split(kind, starts), np.split(share, starts)


def _codes(y: Array, regression: bool) -> NDArray[np.int64]:
    """Return the classes of each row, [rows, classes at once]; -1 where it has fewer."""
    if regression:
        first = (y if y.ndim == 1 else y[:, 0]).astype(float)
        edges = np.quantile(first, np.linspace(0, 1, _BINS + 1)[1:-1])
        return np.searchsorted(edges, first).astype(np.int64)[:, None]
    if y.ndim == 1:
        return np.unique(y, return_inverse=True)[1].astype(np.int64)[:, None]
    labels = np.arange(y.shape[1], dtype=np.int64)
    return np.where(y != 0, labels, -1)


def _are(n: int) -> str:
    return "is 1" if n == 1 else f"are {n}"
