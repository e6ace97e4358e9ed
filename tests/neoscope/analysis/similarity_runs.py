"""What the tests of similarity share."""

from __future__ import annotations

from typing import Any

import numpy as np

import neoscope as ns

TEXTS = [sentence.text for sentence in ns.organism.sentences("agreement", 30)]


RANDOM = np.random.default_rng(0)


def noise(n: int, *widths: int, seed: int = 0) -> list[Any]:
    rng = np.random.default_rng(seed)
    return [rng.normal(size=(n, width)) for width in widths]


def rotation(d: int) -> Any:
    return np.linalg.qr(np.random.default_rng(1).normal(size=(d, d)))[0]


def textbook(X: Any, Y: Any, debiased: bool) -> float:
    """CKA from n x n kernels, term by term as Song et al. write it."""
    n = len(X)
    K, L = X @ X.T, Y @ Y.T

    def hsic(A: Any, B: Any) -> float:
        if not debiased:
            H = np.eye(n) - 1 / n
            return float(np.trace(A @ H @ B @ H))
        A, B = A - np.diag(np.diag(A)), B - np.diag(np.diag(B))
        one = np.ones(n)
        return float(
            np.trace(A @ B)
            + (one @ A @ one) * (one @ B @ one) / ((n - 1) * (n - 2))
            - 2 / (n - 2) * (one @ A @ B @ one)
        )

    return hsic(K, L) / float(np.sqrt(hsic(K, K) * hsic(L, L)))
