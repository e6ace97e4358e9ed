"""Sweeps: what comes back, what is refused, and what an interrupt leaves."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

import neoscope as ns
from neoscope.errors import PatchingError
from neoscope.organism import compiled
from neoscope.patching.engine.exact import exact_effects
from neoscope.patching.engine.progress import Progress
from neoscope.patching.metrics import kl, log_prob, logit_diff, loss, normalised, rank
from neoscope.patching.sweeps.first_look import every
from neoscope.patching.sweeps.sweeping import sweep
from tests.neoscope.patching import plain
from tests.neoscope.patching.cases import SEVERAL, cells_of, model_of, prompts_of

MODEL = model_of()
CLEAN, CORRUPTED = SEVERAL
METRIC = logit_diff([1, 2, 3], [4, 5, 6])


def run(site: str = "resid_pre", metric: Any = METRIC, **options: Any) -> Any:
    return sweep(MODEL, CLEAN, CORRUPTED, metric, site, progress=False, **options)


def test_result_of_a_sweep() -> None:
    found = run()
    assert found.values.shape == (3, 3, 8)
    assert found.mean.shape == found.stderr.shape == found.p_value.shape == (3, 8)
    assert found.interval.shape == (2, 3, 8)
    assert [axis.name for axis in found.axes] == ["layer", "pos"]
    assert (found.site, found.direction, found.base_name) == ("resid_pre", "denoise", "corrupted")
    assert (found.source, found.unit, found.complete) == ("other prompt", "logits", True)
    assert found.fingerprint == MODEL.fingerprint()
    assert set(found.components) == {"answer", "wrong"}
    gap = found.components["answer"] - found.components["wrong"] - found.patched
    assert np.nanmax(np.abs(gap)) < 1e-4
    # Shorter texts have no token in the first columns.
    assert np.isnan(found.values).sum() == 3 * (3 + 0 + 2)
    for name, sides in found.base_components.items():
        assert set(sides) == {"clean", "corrupted"}, name
    logits = MODEL(plain.tokens_of(prompts_of(MODEL), "clean"))[:, -1].detach()
    expected = [float(logits[i, a] - logits[i, b]) for i, a, b in ((0, 1, 4), (1, 2, 5), (2, 3, 6))]
    np.testing.assert_allclose(found.clean, expected, rtol=1e-4, atol=1e-4)


def test_what_did_not_run_did_not_move() -> None:
    found = run("attn_out")
    assert not found.ran.all()
    assert not np.nan_to_num(found.values)[:, ~found.ran].any()
    assert (np.nan_to_num(found.values) != 0).any(0)[found.ran].all()


@pytest.mark.parametrize("direction", ["denoise", "noise"])
@pytest.mark.parametrize(
    ("metric", "positions"),
    [
        (log_prob([1, 2, 3]), None),
        (rank([1, 2, 3]), None),
        (kl("clean"), None),
        (kl("corrupted"), "all"),
        (loss(), None),
        (normalised(METRIC), None),
    ],
)
def test_every_metric_on_patched_runs(metric: Any, positions: Any, direction: str) -> None:
    prompts = prompts_of(MODEL)
    cells = cells_of("attn_out", MODEL, prompts)[::4]
    found = exact_effects(
        MODEL, prompts, metric, cells, direction=direction, metric_positions=positions
    )
    logits, _ = plain.patched(MODEL, prompts, cells, direction=direction, everywhere=True)
    runs = [MODEL(plain.tokens_of(prompts, side)).detach() for side in ("clean", "corrupted")]
    base = prompts.base(direction)
    for n in range(len(cells)):
        for pair, real in enumerate(prompts.mask):
            x = logits[n, pair].double().log_softmax(-1)
            answer, wrong = pair + 1, pair + 4
            if metric.name.startswith("kl"):
                which = runs[metric.reference == "corrupted"]
                y = which[pair].double().log_softmax(-1)
                each = (y.exp() * (y - x)).sum(-1)
                expected = each[real].mean() if positions else each[-1]
            elif metric.name.startswith("loss"):
                ids = base[pair][real]
                expected = -x[real][:-1].gather(1, ids[1:, None]).mean()
            elif metric.name.startswith("log"):
                expected = x[-1, answer]
            elif metric.name.startswith("rank"):
                expected = (x[-1] > x[-1, answer]).sum()
                assert abs(found.patched[pair, n] - float(expected)) in (0, 1)
                continue
            else:
                gaps = [
                    torch.stack([r[i, -1, i + 1] - r[i, -1, i + 4] for i in range(3)]) for r in runs
                ]
                own = logits[n, pair, -1, answer] - logits[n, pair, -1, wrong]
                expected = (own - gaps[1].mean()) / (gaps[0].mean() - gaps[1].mean())
            assert found.patched[pair, n] == pytest.approx(float(expected), rel=1e-4, abs=1e-4)


# ---- progress and interrupts --------------------------------------------------------------------


def stop_after(ticks: int) -> Callable[[Progress], None]:
    told: list[Progress] = []

    def progress(now: Progress) -> None:
        told.append(now)
        if len(told) == ticks:
            raise KeyboardInterrupt

    return progress


def test_an_interrupt_returns_what_is_done() -> None:
    whole = sweep(MODEL, CLEAN[1:2], CORRUPTED[1:2], logit_diff(1, 4), progress=False)
    with pytest.warns(UserWarning, match=r"interrupted: \d+ of 24 cells are done.*NaN"):
        part = sweep(
            MODEL,
            CLEAN[1:2],
            CORRUPTED[1:2],
            logit_diff(1, 4),
            batch_tokens=20,
            progress=stop_after(4),
        )
    assert not part.complete
    done = np.isfinite(part.values)
    assert 0 < done.sum() < done.size
    np.testing.assert_allclose(part.patched[done], whole.patched[done], rtol=1e-5)
    assert np.isnan(part.components["answer"][~done]).all()
    assert np.isfinite(part.mean).sum() == done.sum()
    assert len(part.top(100)) == done.sum()
    assert "interrupted" in repr(part) or "incomplete" in repr(part) or "not" in repr(part)


def test_an_interrupt_among_batches_of_pairs_returns_the_pairs_that_are_done() -> None:
    whole = run()
    with pytest.warns(UserWarning, match="interrupted"):
        part = run_until(3, batch_tokens=16)
    assert not part.complete
    done = np.isfinite(part.patched)
    assert done.any()
    np.testing.assert_allclose(part.patched[done], whole.patched[done], rtol=1e-5)


def run_until(ticks: int, **options: Any) -> Any:
    return sweep(MODEL, CLEAN, CORRUPTED, METRIC, progress=stop_after(ticks), **options)


def test_an_interrupt_before_anything_is_done_is_one() -> None:
    def metric(logits: Tensor) -> Tensor:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(metric=metric)


@pytest.mark.parametrize("ticks", [1, 9, 13, 20])
@pytest.mark.parametrize("metric", [METRIC, lambda logits: logits[:, -1, 5] - logits[:, -1, 6]])
def test_an_interrupt_never_mixes_pairs(ticks: int, metric: Any) -> None:
    """Nine pairs go in several batches: a cell is there for all of them, or for none."""
    clean, corrupted = CLEAN * 3, CORRUPTED * 3
    metric = logit_diff(1, 4) if metric is METRIC else metric
    options: dict[str, Any] = {"site": "z", "positions": "all", "batch_tokens": 20}
    whole = sweep(MODEL, clean, corrupted, metric, progress=False, **options)
    try:
        with pytest.warns(UserWarning, match="interrupted"):
            part = sweep(MODEL, clean, corrupted, metric, progress=stop_after(ticks), **options)
    except KeyboardInterrupt:
        assert ticks < 9  # no cell was whole yet
        return
    done = np.isfinite(part.patched)
    assert (done.all(0) | ~done.any(0)).all() and done.any() and not done.all()
    np.testing.assert_allclose(part.patched[done], whole.patched[done], rtol=1e-5)
    assert not part.ran[~done.all(0)].any()


def test_a_metric_that_reads_one_position_is_not_given_two() -> None:
    with pytest.raises(PatchingError, match=r"reads one position of each prompt.*gives 2"):
        run(metric=logit_diff(1, 4), metric_positions=[-1, -2])


def test_metric_positions_come_in_order_however_they_are_listed() -> None:
    seen = [
        run(metric=lambda logits: logits[:, -1, 5], metric_positions=positions).clean
        for positions in ([-2, -1], [-1, -2], -1)
    ]
    np.testing.assert_allclose(seen[0], seen[1], rtol=1e-6)
    np.testing.assert_allclose(seen[0], seen[2], rtol=1e-5)


def test_the_name_of_a_model_is_no_model() -> None:
    with pytest.raises(PatchingError, match=r"model is str 'organism'.*neoscope.load"):
        sweep("organism", CLEAN, CORRUPTED, METRIC)


def test_ctrl_c() -> None:
    def progress(now: Progress) -> None:
        if np.isfinite(now.partial().patched).any():
            os.kill(os.getpid(), signal.SIGINT)

    with pytest.warns(UserWarning, match="interrupted"):
        part = sweep(MODEL, CLEAN, CORRUPTED, METRIC, batch_tokens=40, progress=progress)
    assert not part.complete


def test_progress_counts_to_the_end_and_shows_partial_results() -> None:
    seen: list[tuple[int, int, float]] = []

    def progress(now: Progress) -> None:
        partial = now.partial()
        assert partial.shape == (3, 8)
        seen.append((now.done, now.total, float(np.isfinite(partial.patched).mean())))

    found = sweep(MODEL, CLEAN, CORRUPTED, METRIC, batch_tokens=40, progress=progress)
    done, totals, shares = zip(*seen, strict=True)
    assert list(done) == sorted(set(done))
    assert done[-1] == totals[0] == 3 * 24
    assert set(totals) == {72}
    assert list(shares) == sorted(shares)
    assert found.complete


def test_a_bar_changes_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    assert sweep(MODEL, CLEAN, CORRUPTED, METRIC, progress=True) == run()
    assert capsys.readouterr().out == ""


def test_nothing_of_the_callers_is_changed() -> None:
    model = plain.random_model()
    before = {name: x.clone() for name, x in model.state_dict().items()}
    every(model, CLEAN, CORRUPTED, METRIC, progress=False)
    assert all(torch.equal(x, before[name]) for name, x in model.state_dict().items())
    assert all(x.grad is None for x in model.parameters())
    assert torch.is_grad_enabled()


def test_one_metric_value_for_one_pair_of_a_compiled_model() -> None:
    found = compiled.gate_pairs("or")
    result = sweep(
        ns.load("gates"),
        found.clean,
        found.corrupted,
        lambda logits: logits[0, -1, 5] - logits[0, -1, 6],
        progress=False,
    )
    assert result.clean.item() == pytest.approx(compiled.GATES_TRUTH.either.clean, abs=1e-4)
