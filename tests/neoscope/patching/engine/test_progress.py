"""Whatever runs for long counts to its end, and keeps what is done when it is interrupted."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from neoscope.errors import PatchingError
from neoscope.patching.circuits.faithfulness import completeness, faithfulness
from neoscope.patching.circuits.minimality import minimality
from neoscope.patching.engine.memory import read_budget, rows_at_once
from neoscope.patching.engine.progress import EndsEarly, Progress
from neoscope.patching.gradient.attribution import attribution
from neoscope.patching.gradient.edges import eap, eap_ig
from neoscope.patching.metrics import logit_diff
from neoscope.patching.subspace.search import das
from neoscope.patching.sweeps.first_look import Every, every
from tests.neoscope.patching.gradient.edge_oracle import ANSWER, WRONG, model, pairs

METRIC = logit_diff(ANSWER, WRONG)
# One pair of seven tokens at a time.
SMALL: dict[str, Any] = {"batch_tokens": 7}
Work = Callable[..., Any]


def gradients(**options: Any) -> Work:
    return lambda **more: attribution(model(), *pairs(3), METRIC, **(options | more))


WORKS: dict[str, Work] = {
    "attribution": gradients(),
    "GradDrop": gradients(grad_drop=True),
    "inputs": gradients(steps=3, rule="trapezoid"),
    "site": gradients(steps=2, path="site", layers=[0, 2]),
    "eap": lambda **more: eap(model(), *pairs(3), METRIC, **more),
    "eap_ig": lambda **more: eap_ig(model(), *pairs(3), METRIC, steps=3, **more),
}


@pytest.mark.parametrize("name", WORKS)
def test_gradients_count_to_the_end_and_show_what_is_known(name: str) -> None:
    seen: list[tuple[int, int]] = []
    parts: list[Any] = []

    def progress(now: Progress) -> None:
        seen.append((now.done, now.total))
        if now.done > now.total / 2:
            parts.append(now.partial())

    found = WORKS[name](progress=progress, **SMALL)
    done, totals = zip(*seen, strict=True)
    assert list(done) == sorted(set(done)) and done[-1] == totals[0] and set(totals) == {done[-1]}
    assert len(done) > 2 and type(parts[0]) is type(found) and not parts[0].complete
    assert found.complete


@pytest.mark.parametrize("name", WORKS)
def test_interrupted_gradients_keep_the_pairs_that_are_done(name: str) -> None:
    def stop(now: Progress) -> None:
        if now.done > now.total / 2:
            raise KeyboardInterrupt

    whole = WORKS[name](progress=False)
    with pytest.warns(UserWarning, match=r"interrupted: \d of 3 pairs are done") as caught:
        part = WORKS[name](progress=stop, **SMALL)
    assert caught[0].filename == __file__
    done = np.isfinite(part.clean)
    assert done.any() and not done.all() and not part.complete and "interrupted" in repr(part)
    np.testing.assert_allclose(part.clean[done], whole.clean[done], rtol=1e-5)
    np.testing.assert_allclose(part.values[done], whole.values[done], atol=2e-5)
    assert np.isnan(part.values[~done]).all()
    expected = whole.values[done].mean(0)
    np.testing.assert_allclose(part.mean, expected, atol=2e-5)


@pytest.mark.parametrize("name", ["attribution", "eap"])
def test_an_audit_of_an_interrupted_attribution_is_of_its_own_pairs(name: str) -> None:
    def stop(now: Progress) -> None:
        if now.done > now.total / 2:
            raise KeyboardInterrupt

    with pytest.warns(UserWarning, match="interrupted"):
        part = WORKS[name](progress=stop, **SMALL)
    done = np.flatnonzero(np.isfinite(part.clean)).tolist()
    alone = {"attribution": attribution, "eap": eap}[name](
        model(), *(side[done] for side in pairs(3)), METRIC, progress=False
    )
    np.testing.assert_allclose(
        part.audit(4, progress=False).exact, alone.audit(4, progress=False).exact, atol=1e-4
    )


@pytest.mark.parametrize("name", ["inputs", "site", "eap", "eap_ig"])
def test_nothing_done_is_nothing_to_return(name: str) -> None:
    def stop(now: Progress) -> None:
        with pytest.raises(PatchingError, match="no pair is done yet"):
            now.partial()
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        WORKS[name](progress=stop)


def test_interrupted_runs_of_circuits_keep_what_is_done() -> None:
    circuit = eap(model(), *pairs(3), METRIC).circuit(9, "top")
    whole = minimality(model(), circuit, *pairs(3), METRIC)
    for share in (0.4, 0.9):

        def stop(now: Progress, share: float = share) -> None:
            if now.done >= now.total * share:
                raise KeyboardInterrupt

        with pytest.warns(UserWarning, match="interrupted"):
            part = minimality(model(), circuit, *pairs(3), METRIC, progress=stop, **SMALL)
        n = len(part.whole)
        assert 0 < n <= 3 and part.without.shape == (len(circuit), n) and not part.complete
        known = np.isfinite(part.without)
        np.testing.assert_allclose(part.effects[known], whole.effects[:, :n][known], atol=1e-5)
        assert len(part.to_dataframe()) == len(circuit)


@pytest.mark.parametrize("measure", [faithfulness, completeness])
def test_faithfulness_of_the_pairs_that_are_done(measure: Work) -> None:
    circuit = eap(model(), *pairs(3), METRIC).circuit(9, "top")
    told: list[Any] = []

    def stop(now: Progress) -> None:
        told.append(now.partial())
        if now.done == 2:
            raise KeyboardInterrupt

    with pytest.warns(UserWarning, match="interrupted: 2 of 3 runs"):
        part = measure(model(), circuit, *pairs(3), METRIC, progress=stop, **SMALL)
    two = measure(model(), circuit, *(side[:2] for side in pairs(3)), METRIC)
    assert part.value == pytest.approx(two.value, rel=1e-4) and "interrupted" in repr(part)
    assert len(told[0].patched) == 1 and not told[0].complete


def test_an_interrupted_audit_holds_the_cells_that_are_done() -> None:
    found = attribution(model(), *pairs(2), METRIC, progress=False)

    def stop(now: Progress) -> None:
        if np.isfinite(now.partial().patched).all(0).sum() > 2:
            raise KeyboardInterrupt

    with pytest.warns(UserWarning, match="interrupted"):
        part = found.audit(6, progress=stop, batch_tokens=7)
    assert 2 < len(part.labels) < 12 and np.isfinite(part.exact).all()
    whole = found.audit(6, progress=False)
    exact = dict(zip(whole.labels, whole.exact, strict=True))
    np.testing.assert_allclose(part.exact, [exact[label] for label in part.labels], atol=1e-5)


def test_a_first_look_shows_itself_on_the_way() -> None:
    seen: list[Any] = []
    found = every(model(), *pairs(2), METRIC, layers=1, progress=lambda now: seen.append(now))
    part = seen[-1].partial()
    assert isinstance(part, Every) and part.complete
    assert part.stream == found.stream and part.heads == found.heads


def test_a_search_counts_and_outlives_an_interrupt_of_its_controls() -> None:
    clean, corrupted = pairs(8)
    answers = [3, 5, 3, 5, 3, 5, 3, 5], [5, 3, 5, 3, 5, 3, 5, 3]
    options: dict[str, Any] = {"layer": 1, "epochs": 2, "batch_size": 4, "seed": 0}
    seen: list[Progress] = []

    def count(now: Progress) -> None:
        if not seen:
            with pytest.raises(PatchingError, match="the search is not done yet"):
                now.partial()
        seen.append(now)

    whole = das(model(), clean, corrupted, *answers, progress=count, **options)
    assert seen[-1].done == seen[-1].total == 6 * 3 * 2

    def stop(now: Progress) -> None:
        if now.done > now.total / 2:
            assert now.partial().accuracy == whole.accuracy
            raise KeyboardInterrupt

    with pytest.warns(UserWarning, match="its controls are not"):
        part = das(model(), clean, corrupted, *answers, progress=stop, **options)
    assert part.controls is None and part.losses == whole.losses and whole.controls is not None


def test_other_errors_pass() -> None:
    with pytest.raises(ValueError, match="no"), EndsEarly(lambda: 3, 3, "pairs"):
        raise ValueError("no")


@pytest.mark.parametrize("given", ["many", 2.5])
def test_batch_tokens_are_a_whole_number(given: Any) -> None:
    for read in (
        lambda: rows_at_once(given, 7, 100, torch.device("cpu")),
        lambda: read_budget(given, 7, torch.device("cpu")),
    ):
        with pytest.raises(PatchingError, match=f"batch_tokens={given!r}; expected a whole number"):
            read()
