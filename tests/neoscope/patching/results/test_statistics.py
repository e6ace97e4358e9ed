from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy import stats

from neoscope.errors import PatchingError
from neoscope.patching.results import statistics


def effects(pairs: int, cells: int, *, seed: int = 0, shift: float = 0.0) -> NDArray[np.float64]:
    rng = np.random.default_rng(seed)
    return rng.normal(size=(pairs, cells)) + shift * np.arange(cells) / cells


def brute_force(x: NDArray[np.float64], statistic: str = "mean") -> tuple[list[float], list[float]]:
    """P-values without and with Westfall and Young's step-down correction, in plain loops."""
    n, cells = x.shape

    def size(signs: tuple[int, ...], c: int) -> float:
        flipped = [s * v for s, v in zip(signs, x[:, c], strict=True)]
        if statistic == "mean":
            return abs(sum(flipped) / n)
        sd = np.std(flipped, ddof=1)
        return float(abs(sum(flipped) / n) / (sd / np.sqrt(n)))

    patterns = list(itertools.product((1, -1), repeat=n))
    own = [size((1,) * n, c) for c in range(cells)]
    all_sizes = [[size(signs, c) for c in range(cells)] for signs in patterns]
    alone = [
        sum(sizes[c] >= own[c] * (1 - 1e-9) for sizes in all_sizes) / len(patterns)
        for c in range(cells)
    ]
    order = sorted(range(cells), key=lambda c: -own[c])
    corrected, worst = [0.0] * cells, 0.0
    for place, c in enumerate(order):
        left = order[place:]
        count = sum(max(sizes[d] for d in left) >= own[c] * (1 - 1e-9) for sizes in all_sizes)
        worst = max(worst, count / len(patterns))
        corrected[c] = worst
    return alone, corrected


@pytest.mark.parametrize(("pairs", "statistic"), [(1, "mean"), (2, "mean"), (6, "mean"), (6, "t")])
def test_sign_flip_equals_a_plain_enumeration(pairs: int, statistic: str) -> None:
    x = effects(pairs, 7, seed=pairs, shift=3.0)
    alone, corrected = brute_force(x, statistic)
    p = statistics.sign_flip(x, correction="none", statistic=statistic)
    np.testing.assert_allclose(p, alone, rtol=0, atol=1e-12)
    p = statistics.sign_flip(x, statistic=statistic)
    np.testing.assert_allclose(p, corrected, rtol=0, atol=1e-12)


def test_exact_p_values_are_those_of_scipy() -> None:
    x = effects(9, 5, seed=3, shift=1.0)
    ours = statistics.sign_flip(x, correction="none")
    theirs = stats.permutation_test(
        (x,), lambda sample, axis: sample.mean(axis=axis), permutation_type="samples",
        vectorized=True, n_resamples=np.inf,
    )  # fmt: skip
    np.testing.assert_allclose(ours, theirs.pvalue, rtol=0, atol=1e-12)


def test_drawn_p_values_come_near_to_those_of_scipy_and_never_are_zero() -> None:
    x = effects(20, 4, seed=4, shift=2.0)
    ours = statistics.sign_flip(x, correction="none", draws=20_000)
    theirs = stats.permutation_test(
        (x,), lambda sample, axis: sample.mean(axis=axis), permutation_type="samples",
        vectorized=True, n_resamples=20_000, rng=np.random.default_rng(1),
    )  # fmt: skip
    np.testing.assert_allclose(ours, theirs.pvalue, rtol=0, atol=0.02)
    assert statistics.sign_flip(np.ones((30, 1)), draws=99).tolist() == [0.01]


def test_ties_of_equal_effects_count_in_full() -> None:
    # Four equal effects: only all + and all - reach the observed sum.
    assert statistics.sign_flip(np.full((4, 1), 0.1)).tolist() == [2 / 16]
    # Columns equal but for rounding are tied, whatever their order.
    x = np.array([[0.1, 0.1 + 1e-17], [0.2, 0.2], [0.3, 0.3]])
    assert statistics.sign_flip(x).tolist() == [0.25, 0.25]


@pytest.mark.parametrize("correction", ["max", "holm"])
def test_under_the_null_some_cell_is_called_at_the_rate_alpha(correction: str) -> None:
    rng = np.random.default_rng(11)
    runs, alpha, called = 400, 0.1, 0
    for _ in range(runs):
        shared = rng.normal(size=(8, 1))
        x = shared + rng.normal(size=(8, 30))  # cells vary together, as in a real sweep
        called += bool(statistics.sign_flip(x, correction=correction).min() <= alpha)
    # Holm knows nothing of the dependence and may only call less.
    low = alpha - 3 * np.sqrt(alpha * (1 - alpha) / runs) if correction == "max" else 0.0
    assert low <= called / runs <= alpha + 3 * np.sqrt(alpha * (1 - alpha) / runs)


def test_a_large_effect_is_found_among_many_cells_of_noise() -> None:
    x = effects(10, 500, seed=5) * 0.1
    x[:, 17] += 3.0
    p = statistics.sign_flip(x)
    assert p[17] == 2 / 2**10
    assert (np.delete(p, 17) > 0.05).all()


def test_false_discovery_rate_equals_scipy() -> None:
    p = np.random.default_rng(0).uniform(size=50) ** 3
    np.testing.assert_allclose(
        statistics.adjusted(p, "bh"), stats.false_discovery_control(p, method="bh")
    )


def test_holm_equals_its_definition() -> None:
    p = [0.01, 0.04, 0.03, 0.005]
    np.testing.assert_allclose(
        statistics.adjusted(np.array(p), "holm"), [0.03, 0.06, 0.06, 0.02], atol=1e-15
    )


def test_cells_that_cannot_move_are_none_of_the_family() -> None:
    x = effects(8, 3, seed=6, shift=4.0)
    with_zeros = np.concatenate([x, np.zeros((8, 40))], axis=1)
    tested = np.arange(43) < 3
    for correction in statistics.CORRECTIONS:
        p = statistics.sign_flip(with_zeros, correction=correction, tested=tested)
        assert p[:3].tolist() == statistics.sign_flip(x, correction=correction).tolist()
        assert (p[3:] == 1).all()


def test_missing_pairs_are_left_out() -> None:
    x = effects(7, 3, seed=7, shift=2.0)
    x[2:4, 1] = np.nan
    x[:, 2] = np.nan
    kept = np.delete(x[:, 1], [2, 3])
    assert statistics.mean(x)[1] == pytest.approx(kept.mean())
    assert statistics.stderr(x)[1] == pytest.approx(kept.std(ddof=1) / np.sqrt(5))
    p = statistics.sign_flip(x, correction="none")
    assert p[1] == pytest.approx(brute_force(kept[:, None])[0][0])
    low, high = statistics.bootstrap(x)
    assert low[1] < kept.mean() < high[1]
    for found in (statistics.mean(x), statistics.stderr(x), p, low, high):
        assert np.isnan(found[2]) and not np.isnan(found[0])


def test_a_plain_loop_gives_the_same_bootstrap_interval() -> None:
    x = effects(6, 3, seed=8)
    rng = np.random.default_rng(5)
    means = []
    for _ in range(300):
        counts = rng.multinomial(6, np.full(6, 1 / 6))
        drawn = [k for k, times in enumerate(counts) for _ in range(times)]
        means.append(x[drawn].mean(0))
    expected = np.quantile(np.array(means), [0.05, 0.95], axis=0)
    found = statistics.bootstrap(x, confidence=0.9, draws=300, seed=5)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-12)


def test_bootstrap_comes_near_to_transformer_lens() -> None:
    from transformer_lens.utilities.statistics import bootstrap_ci, derive_generator

    x = effects(40, 4, seed=9)
    theirs = bootstrap_ci(
        torch.tensor(x), dim=0, statistic="mean", confidence=0.95, n_resamples=4000,
        generator=derive_generator(0, "bootstrap"),
    )  # fmt: skip
    ours = statistics.bootstrap(x, draws=4000)
    np.testing.assert_allclose(ours, np.stack([t.numpy() for t in theirs]), rtol=0, atol=0.03)


def test_interval_covers_the_true_mean_about_as_often_as_it_says() -> None:
    x = np.random.default_rng(2).normal(size=(30, 2000))
    low, high = statistics.bootstrap(x, confidence=0.9, draws=500)
    assert 0.85 < float(np.mean((low <= 0) & (high >= 0))) < 0.92


def test_results_do_not_depend_on_the_size_of_the_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    x = effects(14, 50, seed=10, shift=1.0)
    whole = [statistics.bootstrap(x, draws=200), statistics.sign_flip(x, draws=200)]
    monkeypatch.setattr(statistics, "_PIECE", 1000)
    again = [statistics.bootstrap(x, draws=200), statistics.sign_flip(x, draws=200)]
    for a, b in zip(whole, again, strict=True):
        np.testing.assert_allclose(a, b, rtol=0, atol=1e-12)


def test_one_pair_has_neither_error_nor_interval_nor_evidence() -> None:
    x = np.ones((1, 2, 3))
    assert np.isnan(statistics.stderr(x)).all() and np.isnan(statistics.bootstrap(x)).all()
    assert (statistics.sign_flip(x) == 1).all()
    assert statistics.bootstrap(x).shape == (2, 2, 3)


def test_mistakes_are_named() -> None:
    x = np.ones((2, 2))
    with pytest.raises(PatchingError, match="did you mean 'holm'"):
        statistics.sign_flip(x, correction="hollm")
    with pytest.raises(PatchingError, match="'mean', 't'"):
        statistics.sign_flip(x, statistic="median")
    with pytest.raises(PatchingError, match="between 0 and 1"):
        statistics.bootstrap(x, confidence=95.0)
    with pytest.raises(PatchingError, match="one at least"):
        statistics.bootstrap(x, draws=0)
