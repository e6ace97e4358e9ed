"""Figures of causal tracing, alignment searches and audits."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

import neoscope as ns
from neoscope import patching, views
from neoscope.errors import ViewError
from neoscope.patching.gradient.audit import Audit
from neoscope.patching.subspace.result import DasControls, DasResult


@pytest.fixture(scope="module")
def traced() -> Any:
    model, pairs = ns.load("organism"), ns.organism.pairs("facts", 4)
    return patching.trace(model, pairs.clean, slice(0, 2), pairs.answer, draws=3)


def audited(**changes: Any) -> Audit:
    given: dict[str, Any] = {
        "labels": ("embed->m0", "<script>x", "c", "d"), "index": np.arange(4),
        "approximate": np.array([4.0, 3.0, 1.0, 0.5]), "exact": np.array([3.0, 3.5, 1.0, -0.5]),
        "top": np.array([True, True, False, False]), "n_cells": 9, "method": "EAP, 1 step(s)",
        "unit": "logits", "seed": 0,
    }  # fmt: skip
    return Audit(**{**given, **changes})


def das_result(**changes: Any) -> DasResult:
    given: dict[str, Any] = {
        "basis": torch.eye(8)[:, :1], "site": "resid_post", "layer": 2, "position": 9,
        "direction": "denoise", "accuracy": 0.75, "train_accuracy": 0.9, "losses": (2.0, 1.0),
        "controls": DasControls(0.0, 0.8, 0.1, 0.2, 0.3), "n_train": 30, "n_held_out": 12,
        "seed": 0, "model": "organism", "fingerprint": "",
    }  # fmt: skip
    return DasResult(**{**given, **changes})


def said(figure: Any) -> str:
    return f"{figure.layout.title.text} {figure.layout.title.subtitle.text}"


def test_a_trace_has_every_draw_beside_its_mean(traced: Any) -> None:
    figure = views.trace(traced, most=2)
    assert len(figure.data) == 2 * (3 + 1)
    thin, mean = figure.data[:3], figure.data[3]
    assert np.allclose(np.mean([line.y for line in thin], axis=0), mean.y, atol=1e-6)
    assert "2 more in views.patching" in said(figure) and "Total effect" in said(figure)
    largest = int(np.abs(traced.mean).max(0).argmax())
    assert np.allclose(mean.y, traced.mean[:, largest])


def test_a_trace_by_role_names_roles(traced: Any) -> None:
    names = {line.name for line in views.trace(traced, by_role=True).data}
    assert "last subject token" in names
    assert "no prompt has such a token" in said(views.patching(traced.by_role()))


def test_a_traced_heatmap_tells_the_range_over_draws(traced: Any) -> None:
    figure = views.patching(traced)
    assert "3 draws of noise" in figure.data[0].hovertemplate
    assert "noised tokens" in {one.name for one in figure.data}
    assert "noise 3 σ" in said(figure) and "noised " in said(figure)


def test_a_trace_refuses_what_is_none(traced: Any) -> None:
    with pytest.raises(ViewError, match="not Audit"):
        views.trace(audited())
    with pytest.raises(ViewError, match="most=9"):
        views.trace(traced, most=9)
    with pytest.raises(ViewError, match="axis 'layer'"):
        views.trace(traced.select(layer=1))


def test_an_alignment_search_stands_beside_its_controls() -> None:
    figure = views.das(das_result())
    bars, losses = figure.data
    shares = dict(zip(bars.y, bars.x, strict=True))
    assert shares["the whole site"] == 0.8 and shares["the subspace, held-out pairs"] == 0.75
    low, high, n = bars.customdata[0]
    assert low < 0.75 < high and n == 12
    assert tuple(losses.y) == (2.0, 1.0)


def test_an_alignment_search_without_controls_says_so() -> None:
    figure = views.das(das_result(controls=None, n_held_out=0))
    assert "No controls were measured" in said(figure)
    assert list(figure.data[0].y) == ["the subspace, all pairs"]
    with pytest.raises(ViewError, match=r"patching\.das"):
        views.das(1)


def test_an_audit_has_the_line_both_groups_and_the_correlation() -> None:
    figure = views.audit(audited())
    line, best, rest = figure.data
    assert tuple(line.x) == tuple(line.y)
    assert list(best.x) == [4.0, 3.0] and list(rest.y) == [1.0, -0.5]
    assert "rank correlation 0.800" in said(figure) and "worst miss 1 logits" in said(figure)
    assert best.text[1] == "&lt;script&gt;x"
    assert figure.layout.annotations[0].text == "embed-&gt;m0"


def test_an_audit_of_constants_or_gaps_says_so() -> None:
    figure = views.audit(audited(exact=np.zeros(4)))
    assert "rank correlation undefined" in said(figure)
    gaps = views.audit(audited(exact=np.array([3.0, np.nan, 1.0, 0.0])))
    assert "1 cells hold no number" in said(gaps)


def test_scores_are_no_audit() -> None:
    model, pairs = ns.load("organism"), ns.organism.pairs("ioi", 2)
    metric = patching.logit_diff(pairs.answer, pairs.wrong)
    with pytest.raises(ViewError, match=r"call its \.audit\(\)"):
        views.audit(patching.eap(model, pairs.clean, pairs.corrupted, metric))
