"""The online (prequential) code: each block of labels is coded by a probe of the blocks before it.

Voita & Titov 2020 (arXiv:2003.12298), with their block fractions. The first block is sent with the
uniform code; each later one costs the sum of -log2 p under a probe that was trained, from a cold
start, on all rows before it.

A probe has never seen all classes in a short prefix, so its probabilities are mixed with the
uniform distribution: (m p + s) / (m + s K) after m rows of K classes, s the smoothing. With
features that say nothing this is the Dirichlet code (Krichevsky & Trofimov's for s = 1/2) of the
label frequencies; it costs at most K s log2(e) bits a block where the probe is certain and right.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from neoscope.errors import ProbeError
from probes.data.labels import read_groups
from probes.judging.fitting import fit_and_say, read_features
from probes.judging.mdl.codelength import Block, Codelength, read_codable, uniform_bits
from probes.judging.reading import Array
from probes.progress import Bar

FRACTIONS = (0.001, 0.002, 0.004, 0.008, 0.016, 0.032, 0.0625, 0.125, 0.25, 0.5, 1.0)
"""Shares of the rows at which blocks end, from Voita & Titov."""
SMOOTHING = 0.5
"""Rows that each class is taken to have had before the first."""


@dataclass(frozen=True, eq=False)
class CodeBlocks:
    """In which order labels are coded, and where blocks end."""

    order: NDArray[np.int64]
    """[rows]: all rows, groups shuffled, the rows of a group together."""
    edges: tuple[int, ...]
    """Where blocks end in ``order``; the first block is coded uniformly."""
    y: Array
    """[rows] labels or [rows, labels], in their first order."""
    groups: NDArray[np.int64]
    """[rows] codes."""
    classes: Array
    """Sorted classes; of several labels their numbers."""
    kind: str

    def steps(self) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64]]]:
        """Yield rows to train on and rows to code, for each block but the first."""
        for start, stop in zip(self.edges, self.edges[1:], strict=False):
            yield self.order[:start], self.order[start:stop]


def code_blocks(
    y: Any,
    groups: Any = None,
    *,
    fractions: Sequence[float] = FRACTIONS,
    seed: int = 0,
    kind: str | None = None,
) -> CodeBlocks:
    """Shuffle groups and find where blocks end.

    Edges are moved to the nearest end of a group, so that no group is in two blocks; blocks that
    are empty then, for data are few or a group is large, are dropped.

    Args:
        y: [rows] classes, or [rows, labels] of 0 and 1.
        groups: [rows] sentence or document; None: each row by itself.
        fractions: Shares of the rows at which blocks end, rising, the last one 1.
        seed: Of the shuffle.
        kind: Kind of label; None to go by the labels.

    Raises:
        ProbeError: Labels are numbers, there is one class or one group only, or the fractions do
            not rise to 1.
    """
    y, kind, classes = read_codable(y, kind)
    shares = np.asarray(fractions, np.float64)
    if len(shares) < 2 or shares[0] <= 0 or (np.diff(shares) <= 0).any() or shares[-1] != 1:
        raise ProbeError(f"fractions={tuple(fractions)}; expected shares rising from above 0 to 1")
    codes, names = read_groups(groups, len(y))
    count = len(names)
    if count < 2:
        raise ProbeError(
            "all rows are of one group, which is never divided: an online code needs two groups "
            "or more (groups=None takes each row by itself)"
        )
    rank = np.random.default_rng(seed).permutation(count)
    order = np.argsort(rank[codes], kind="stable")
    ends = np.cumsum(np.bincount(rank[codes], minlength=count))
    nearest_end = np.abs(ends[None] - shares[:, None] * len(y)).argmin(1)
    edges = tuple(int(end) for end in np.unique(ends[nearest_end]))
    if len(edges) < 2:
        # One group is nearly all there is: it is coded by what comes before or after it.
        edges = (int(ends[0]), len(y))
    return CodeBlocks(order.astype(np.int64), edges, y, codes, classes, kind)


def true_log2(
    blocks: CodeBlocks,
    rows: Array,
    proba: Array,
    columns: Array | None,
    n_trained: int,
    smoothing: float = SMOOTHING,
) -> NDArray[np.float64]:
    """Return log2 of the smoothed probability of what is true.

    Args:
        blocks: Whose labels are coded.
        rows: [rows] which ones.
        proba: [rows, columns] probabilities that a probe gave them.
        columns: [columns] the classes that it knows, a subset of all; None: all of them in order.
        n_trained: Rows that it was trained on.
        smoothing: See the module.

    Returns:
        [rows]; of several labels at once the sum over labels.
    """
    y = blocks.y[rows]
    p = np.asarray(proba, np.float64)
    if p.shape != (len(y), len(blocks.classes) if columns is None else len(columns)):
        raise ProbeError(f"probabilities of shape {p.shape} for {len(y)} rows and their classes")
    if blocks.kind == "multilabel":
        chosen, k = np.where(y > 0, p, 1 - p), 2
    else:
        known = blocks.classes if columns is None else np.asarray(columns)
        place = np.searchsorted(known, y).clip(0, len(known) - 1)
        seen = known[place] == y
        chosen, k = np.where(seen, p[np.arange(len(y)), place], 0.0)[:, None], len(blocks.classes)
    if np.isnan(chosen).any():
        raise ProbeError(f"the probability of row {rows[np.isnan(chosen).any(1).argmax()]} is NaN")
    mixed = (n_trained * chosen.clip(0, 1) + smoothing) / (n_trained + smoothing * k)
    with np.errstate(divide="ignore"):
        return np.asarray(np.log2(mixed).sum(1))


def codelength_from(
    blocks: CodeBlocks, log2_probabilities: Sequence[Array], data_bits: float
) -> Codelength:
    """Add up an online code.

    Args:
        blocks: Which rows were coded in which block.
        log2_probabilities: For each of ``blocks.steps()``, [rows] log2 of the probability of what
            is true, see `true_log2`.
        data_bits: Minus the sum of the same over all rows, under the probe of all rows.

    Raises:
        ProbeError: A block lacks its probabilities.
    """
    sizes = [len(part) for part in log2_probabilities]
    expected = np.diff(blocks.edges).tolist()
    if sizes != expected:
        raise ProbeError(f"probabilities of blocks of {sizes} rows; expected {expected}")
    first = blocks.edges[0]
    k = len(blocks.classes)
    parts = [Block(0, first, uniform_bits(first, k, blocks.kind))]
    for start, part in zip(blocks.edges, log2_probabilities, strict=False):
        # Adding 0 makes a -0 of certain blocks a 0.
        parts.append(Block(start, start + len(part), 0.0 - float(part.sum())))
    bits = sum(part.bits for part in parts)
    n = len(blocks.order)
    whole = uniform_bits(n, k, blocks.kind)
    return Codelength(bits, whole, data_bits, bits - data_bits, n, k, "online", tuple(parts))


def online_codelength(
    probe: Any,
    X: Any,
    y: Any,
    groups: Any = None,
    *,
    fractions: Sequence[float] = FRACTIONS,
    seed: int = 0,
    smoothing: float = SMOOTHING,
    kind: str | None = None,
    progress: bool = True,
) -> Codelength:
    """Return how many bits the labels cost, coded block by block with probes of earlier blocks.

    Args:
        probe: Estimator with ``predict_proba``; cloned and fitted from a cold start each time.
        X: [rows, features], also memory-mapped.
        y: [rows] classes, or [rows, labels] of 0 and 1.
        groups: [rows] sentence or document, which is never divided; None: each row by itself.
        fractions: Shares of the rows at which blocks end.
        seed: Of the order of groups.
        smoothing: Rows that each class is taken to have had before the first; above 0, for a class
            that a prefix lacks costs infinitely many bits otherwise.
        kind: Kind of label; None to go by the labels.
        progress: Whether a bar is shown after two seconds.

    Raises:
        ProbeError: Labels are numbers or all the same, there is one group only, the probe gives no
            probabilities, or shapes do not fit.
    """
    if not smoothing > 0:
        raise ProbeError(f"smoothing={smoothing}; expected a number above 0")
    blocks = code_blocks(y, groups, fractions=fractions, seed=seed, kind=kind)
    X = read_features(X, len(blocks.y))

    def coded(train: Array, rows: Array) -> Array:
        said = fit_and_say(
            probe, X[train], blocks.y[train], X[rows], blocks.kind, blocks.groups[train]
        )
        if said.proba is None:
            raise ProbeError(f"{type(probe).__name__} gives no probabilities, which a code needs")
        return true_log2(blocks, rows, said.proba, said.classes, len(train), smoothing)

    steps = list(blocks.steps())
    with Bar(progress, len(steps) + 1, "block") as bar:
        parts = [bar.after(coded(*step)) for step in steps]
        data_bits = -float(coded(blocks.order, blocks.order).sum())
    return codelength_from(blocks, parts, data_bits)
