"""plot finds the view of any result."""

from __future__ import annotations

import pytest

import neoscope as ns
from neoscope import analysis, patching, views
from neoscope.errors import ViewError
from neoscope.views.dispatch import VIEWS, view_of


def test_every_view_of_the_table_is_public() -> None:
    assert set(VIEWS.values()) <= set(views.__all__)


def test_every_public_view_can_be_imported() -> None:
    for name in views.__all__:
        assert callable(getattr(views, name)), name


def test_plot_passes_options_on() -> None:
    read = analysis.token_losses(ns.load("organism"), ["The keys are old.", "The dog runs."])
    figure = views.plot(read, color="entropy", text=1)
    assert "text 1" in figure.layout.title.subtitle.text
    assert figure.to_dict() == views.losses(read, color="entropy", text=1).to_dict()


def test_a_class_is_found_by_what_it_derives_from() -> None:
    class Mine(analysis.TokenLosses):
        pass

    assert "TokenLosses" in VIEWS
    assert view_of(object.__new__(Mine)) == "losses"


def test_what_has_no_view_is_refused_with_what_has() -> None:
    with pytest.raises(ViewError, match=r"no view of a dict.*LensResult.*TokenLosses"):
        views.plot({})


def test_a_cache_is_drawn_as_its_attention() -> None:
    _, cache = ns.load("organism").run_with_cache("The keys are old.")
    assert views.plot(cache).layout.title.text.startswith("Attention of every head")


def test_a_cache_given_for_a_result_is_told_what_to_make_of_it() -> None:
    _, cache = ns.load("organism").run_with_cache("The keys are old.")
    with pytest.raises(ViewError, match=r"use analysis\.logit_lens\(cache\)"):
        views.lens(cache)


def test_an_option_that_a_view_does_not_have_is_named() -> None:
    model = ns.load("organism")
    _, cache = model.run_with_cache("The keys are old.")
    with pytest.raises(ViewError, match=r"views\.lens has no option 'colour'.*mean 'color'"):
        views.plot(analysis.logit_lens(cache), colour="kl")


def test_a_flag_that_is_none_is_named() -> None:
    model, pairs = ns.load("organism"), ns.organism.pairs("ioi", 1)
    metric = patching.logit_diff(pairs.answer, pairs.wrong)
    result = patching.sweep(
        model, pairs.clean, pairs.corrupted, metric, site="resid_pre", layers=[0], positions=[-1]
    )
    with pytest.raises(ViewError, match="normalised='yes'; expected True or False"):
        views.patching(result, normalised="yes")
