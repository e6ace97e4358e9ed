"""scikit-learn and concept-erasure at the work of the probes, and how well we agree."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegressionCV, Ridge, RidgeCV
from sklearn.metrics import r2_score
from sklearn.model_selection import KFold

import probes
from probes.erasure import fit_leace

Array = NDArray[Any]
Folds = Sequence[tuple[Array, Array]]
# scikit-learn's default, with which its objective is within 1e-4 of the minimum.
_TOL = 1e-4
_SCORE, _OBJECTIVE = 0.002, 1e-4


def folds(n: int, k: int) -> Folds:
    """Return k folds of rows."""
    return list(KFold(k, shuffle=True, random_state=0).split(np.empty(n)))


def logistic(layers: Sequence[Array], y: Array, cv: Folds, strengths: Array) -> list[Any]:
    """Search the strengths layer by layer, as anyone would."""
    return [
        LogisticRegressionCV(
            Cs=strengths,
            cv=cv,
            refit=False,
            tol=_TOL,
            max_iter=10_000,
            scoring="accuracy",
            use_legacy_attributes=True,
        ).fit(X, y)
        for X in layers
    ]


def logistic_error(layers: Sequence[Array], y: Array, cv: Folds, strengths: Array) -> float:
    """Return the worst disagreement, 1 being 0.002 of a mean score or 1e-4 of an objective.

    Scores are means over the folds, by which a strength is chosen. An objective below
    scikit-learn's is no disagreement: it is a minimum that both look for.
    """
    worst = 0.0
    for X, theirs in zip(layers, logistic(layers, y, cv, strengths), strict=True):
        train = [rows for rows, _ in cv]
        joint = probes.LogisticProbe(standardize=False).fit_folds(X, y, train, strengths)
        scores = np.asarray(theirs.scores_[theirs.classes_[-1]])
        ours = np.empty_like(scores)
        paths = theirs.coefs_paths_
        for number, (fitted, valid) in enumerate(cv):
            said = joint.scores(number, X[valid].astype(np.float64))
            for place, C in enumerate(strengths):
                coef = np.stack([paths[k][number, place] for k in theirs.classes_[-len(paths) :]])
                best = said[place].argmax(1) if said.shape[2] > 1 else said[place][:, 0] > 0
                ours[number, place] = np.mean(theirs.classes_[best.astype(int)] == y[valid])
                at = number * len(strengths) + place
                mine = _objective(joint.coef[at], joint.intercept[at], X[fitted], y[fitted], C)
                other = _objective(coef[:, :-1], coef[:, -1], X[fitted], y[fitted], C)
                worst = max(worst, (mine - other) / other / _OBJECTIVE)
        worst = max(worst, float(np.abs(ours.mean(0) - scores.mean(0)).max()) / _SCORE)
    return worst


def _objective(coef: Array, intercept: Array, X: Array, y: Array, C: float) -> float:
    scores = X.astype(np.float64) @ coef.T + intercept
    if scores.shape[1] == 1:
        scores = np.concatenate([np.zeros_like(scores), scores], 1)
    top = scores.max(1)
    each = np.log(np.exp(scores - top[:, None]).sum(1)) + top
    loss = each - scores[np.arange(len(y)), np.searchsorted(np.unique(y), y)]
    return float(C * loss.sum() + np.square(coef).sum() / 2)


def ridge(layers: Sequence[Array], y: Array, cv: Folds, penalties: Array) -> list[Any]:
    """Search the penalties layer by layer."""
    return [RidgeCV(alphas=penalties, cv=cv).fit(X, y) for X in layers]


def ridge_error(layers: Sequence[Array], y: Array, cv: Folds, penalties: Array) -> float:
    """Return the largest difference of a validation R2 from scikit-learn's Ridge."""
    worst = 0.0
    for X in layers:
        train = [rows for rows, _ in cv]
        joint = probes.RidgeProbe(standardize=False).fit_folds(X, y, train, penalties)
        for number, (fitted, valid) in enumerate(cv):
            said = joint.scores(number, X[valid].astype(np.float64))
            for place, alpha in enumerate(penalties):
                model = Ridge(alpha).fit(X[fitted].astype(np.float64), y[fitted])
                other = r2_score(y[valid], model.predict(X[valid].astype(np.float64)))
                worst = max(worst, abs(r2_score(y[valid], said[place][:, 0]) - other))
    return worst


def leace(
    layers: Sequence[torch.Tensor], y: Array, dtype: torch.dtype = torch.float64
) -> list[Any]:
    """Fit concept-erasure's eraser layer by layer, with the settings under which it is exact.

    In float32 its answer is another one where features are correlated as these are, and class means
    are not equal afterwards.
    """
    from concept_erasure import LeaceFitter

    z = torch.nn.functional.one_hot(torch.as_tensor(y)).to(dtype)
    erasers = []
    for x in layers:
        fitter = LeaceFitter(
            x.shape[1],
            z.shape[1],
            dtype=dtype,
            svd_tol=1e-3,
            shrinkage=False,
            constrain_cov_trace=False,
        )
        fitter.update(x.to(dtype), z)
        erasers.append(fitter.eraser)
    return erasers


def leace_error(x: torch.Tensor, y: Array) -> float:
    """Return the largest difference of what both leave of the features, relative to the largest."""
    theirs = leace([x], y)[0](x.double())
    ours = torch.as_tensor(fit_leace(x.numpy(), y)(x.numpy()))
    return float((ours - theirs).abs().max() / theirs.abs().max())
