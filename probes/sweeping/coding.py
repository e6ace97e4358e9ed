"""The codelength of a place's labels: the online code, with strengths that are paid for."""

from __future__ import annotations

import dataclasses
import math
import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning

from probes.data.dataset import ProbeData
from probes.judging.mdl.codelength import Codelength
from probes.judging.mdl.online import (
    CodeBlocks,
    code_blocks,
    codelength_from,
    online_codelength,
    true_log2,
)
from probes.linear.joint import JointProbe
from probes.sweeping.judged import Asked, Judged
from probes.sweeping.selecting import loosen, with_strength

Array = NDArray[Any]


def code_of(judged: Judged, X: Array, data: ProbeData, asked: Asked) -> Codelength:
    """Return the online code of all labels, in the strengths that make it shortest.

    A penalty that suits all rows lets a probe of the first few be certain of what it cannot know.
    So either one strength is told for all blocks, log2 of how many there are, or one for each
    block, whichever is shorter, and one bit says which.

    Args:
        judged: A fitted probe.
        X: [rows, features].
        data: Labels and groups.
        asked: Strengths, and the seed that orders the groups.
    """
    if not (isinstance(judged.probe, JointProbe) and len(asked.strengths) > 1):
        probe = with_strength(judged.probe, judged.selected.strength)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            return online_codelength(
                probe, X, data.y, data.groups, seed=asked.seed, kind=data.kind, progress=False
            )
    blocks = code_blocks(data.y, data.groups, seed=asked.seed, kind=data.kind)
    coded = [_block(judged.probe, X, blocks, *step, asked.strengths) for step in blocks.steps()]
    bits = -np.array([part.sum(1) for part in coded])  # [blocks, strengths]
    told = math.log2(len(asked.strengths))
    one, each = bits.sum(0), bits.min(1)
    if one.min() + told <= each.sum() + told * len(coded):
        chosen, said = np.full(len(coded), one.argmin()), told + 1
    else:
        chosen, said = bits.argmin(1), told * len(coded) + 1
    last = (asked.strengths[int(chosen[-1])],)
    whole = _block(judged.probe, X, blocks, blocks.order, blocks.order, last)
    code = codelength_from(
        blocks,
        [part[place] for part, place in zip(coded, chosen, strict=True)],
        -float(whole.sum()),
    )
    return dataclasses.replace(
        code,
        bits=code.bits + said,
        model_bits=code.model_bits + said,
        notes={"strengths": [asked.strengths[place] for place in chosen], "strengths_bits": said},
    )


def _block(
    probe: Any,
    X: Array,
    blocks: CodeBlocks,
    train: Array,
    rows: Array,
    strengths: Sequence[float],
) -> Array:
    """Return log2 of the probability of what is true, [strengths, rows]."""
    y = blocks.y[train]
    n = len(train)
    if y.ndim == 1 and (y == y[0]).all():
        sure = true_log2(blocks, rows, np.ones((len(rows), 1)), y[:1], n)
        return np.repeat(sure[None], len(strengths), 0)
    shell = clone(probe)
    loosen(shell)
    if y.ndim == 2 and len(varying := np.flatnonzero(np.ptp(y, 0) > 0)) < y.shape[1]:
        return _some_labels(shell, X, blocks, train, rows, varying, strengths)
    joint = shell.prepare_folds(X[train], y, [np.arange(n)]).fit(strengths)
    columns = None if y.ndim == 2 else shell.classes_
    return np.array(
        [
            true_log2(blocks, rows, shell._proba_of(logits), columns, n)
            for logits in joint.scores(0, X[rows])
        ]
    )


def _some_labels(
    shell: Any,
    X: Array,
    blocks: CodeBlocks,
    train: Array,
    rows: Array,
    varying: Array,
    strengths: Sequence[float],
) -> Array:
    """Of several labels, those that do not vary among the rows before are taken to stay."""
    y, n = blocks.y[train], len(train)
    fixed = np.repeat(y[:1].astype(np.float64), len(rows), 0)
    if not len(varying):
        return np.repeat(true_log2(blocks, rows, fixed, None, n)[None], len(strengths), 0)
    given = y[:, varying[0]] if len(varying) == 1 else y[:, varying]
    joint = shell.prepare_folds(X[train], given, [np.arange(n)]).fit(strengths)
    found = []
    for logits in joint.scores(0, X[rows]):
        proba = fixed.copy()
        said = shell._proba_of(logits)
        proba[:, varying] = said[:, 1:] if len(varying) == 1 else said
        found.append(true_log2(blocks, rows, proba, None, n))
    return np.array(found)
