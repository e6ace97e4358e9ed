"""What a report is given: names and folders, texts that do not fit, and what it refuses."""

from __future__ import annotations

import re
import warnings
from pathlib import Path
from typing import Any

import pytest

import neoscope as ns
from neoscope.errors import NeoscopeError, TokenizationError, ViewError
from neoscope.views.report import Report
from neoscope.views.report.parts import Picture, Prose, Section, Table
from neoscope.views.report.sections_reading import last_positions
from neoscope.views.report.study import Study
from neoscope.views.report.writing import shown_text
from tests.neoscope.views.report_page import QUIET


def section(report: Report, name: str) -> Section:
    (found,) = (one for one in report.sections if one.name == name)
    return found


def tables(one: Section) -> dict[str, Table]:
    return {block.caption: block for block in one.blocks if isinstance(block, Table)}


def test_a_model_may_be_named() -> None:
    made = Report("organism", sections=["citing"], **QUIET)
    assert made.model == "organism" and made.failed == ()


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"model": 3}, "model is a int; expected a model"),
        ({"text": ["The", "A"]}, "text is a list; expected one text"),
        ({"text": b"The"}, "text is a bytes; expected one text"),
        ({"lens": 5}, "lens is a int; expected a TunedLens"),
    ],
)
def test_what_is_no_model_text_or_lens_is_refused(
    model: ns.HookedGPTNeo, given: dict[str, Any], said: str
) -> None:
    with pytest.raises(ViewError, match=re.escape(said)):
        Report(**{"model": model, "sections": "citing", **given}, **QUIET)


def test_a_lens_that_is_not_there_is_an_error_at_once(
    model: ns.HookedGPTNeo, tmp_path: Path
) -> None:
    with pytest.raises(NeoscopeError, match="nosuch"):
        Report(model, sections="citing", lens=tmp_path / "nosuch", **QUIET)


def test_a_notebook_sees_how_each_section_went() -> None:
    config = ns.NeoConfig(n_layers=1, d_model=8, n_heads=2, n_ctx=16, d_vocab=9)
    bare = ns.HookedGPTNeo.from_config(config)
    bare.cfg.model_name = "<b>bold"
    html = Report(bare, sections=["model", "patching"], **QUIET)._repr_html_()
    assert "&lt;b&gt;bold" in html and "<b>bold" not in html
    assert "<td>Model card</td><td>done</td>" in html
    assert "<td>Patching a task</td><td>skipped</td><td>the model came without" in html


def test_the_reports_own_text_is_shortened_to_the_context() -> None:
    small = ns.load("gates")
    assert small.config.n_ctx < 12
    for prepend_bos in (False, True):
        study = Study(small, prepend_bos=prepend_bos)
        assert len(study.tokens) == small.config.n_ctx
        assert study.left_out > 0
    made = Report(small, sections=["attention", "lenses", "attribution"], **QUIET)
    assert made.failed == ()
    for one in made.sections:
        assert any(
            isinstance(block, Prose)
            and f"about its first {small.config.n_ctx} tokens" in block.text
            for block in one.blocks
        )
    with pytest.raises(TokenizationError, match="the model's context is"):
        Report(small, "true " * 12, sections=["citing"], **QUIET)


def test_words_of_a_long_text_are_shown_at_its_end(model: ns.HookedGPTNeo) -> None:
    assert last_positions(30) is None
    assert last_positions(31) == range(1, 31)
    config = ns.NeoConfig(n_layers=1, d_model=16, n_heads=2, n_ctx=64,
                          d_vocab=model.config.d_vocab)  # fmt: skip
    roomy = ns.HookedGPTNeo.from_config(config)
    roomy.tokenizer = model.tokenizer
    made = Report(roomy, " ".join(["the"] * 40), sections="lenses", **QUIET)
    (found,) = (
        block for block in section(made, "lenses").blocks
        if isinstance(block, Picture) and block.caption.startswith("The logit lens")
    )  # fmt: skip
    assert "the last 30 of 40 positions" in found.caption
    ticks = found.figure.layout.xaxis.ticktext
    assert len(ticks) == 30 and ticks[0].startswith("10 ")
    assert any(trace.mode == "text" for trace in found.figure.data if trace.type == "scatter")


def test_checks_that_must_exceed_their_limit_say_so(report: Report) -> None:
    rows = tables(section(report, "contract"))["Checks"].rows
    limits = {row[0]: row[4] for row in rows}
    assert limits["moves what follows"] == "> 0"
    assert all(said.startswith("≤ ") for what, said in limits.items()
               if what not in ("moves what follows", "gradient"))  # fmt: skip


def test_two_induction_numbers_are_told_apart(report: Report) -> None:
    blocks = section(report, "heads").blocks
    assert any(
        isinstance(block, Prose) and "repeats random tokens" in block.text for block in blocks
    )


def test_bytes_are_bytes_and_targets_have_positions(model: ns.HookedGPTNeo) -> None:
    with pytest.warns(ns.UnseenWordWarning):
        made = Report(model, "The \u00d7 keys", sections="attention", **QUIET)
    html = made.html()
    assert "\ufffd" not in html[: html.index("<script>")]
    (looked,) = (
        block for name, block in tables(section(made, "attention")).items() if "look most" in name
    )
    assert looked.rows[2][1] == "\\xc3"
    assert all(re.match(r"\d+ \S+ [01]\.\d\d$", str(row[2])) for row in looked.rows)


def test_an_unseen_word_is_warned_of_once(model: ns.HookedGPTNeo) -> None:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        made = Report(model, "The zebra keys", sections=["attention", "lenses"], **QUIET)
    assert made.failed == ()
    assert len([one for one in caught if one.category is ns.UnseenWordWarning]) == 1


def test_what_would_turn_the_line_is_shown_as_a_number(model: ns.HookedGPTNeo) -> None:
    assert shown_text("a\u202eb\u2066c\n") == "a\\x202eb\\x2066c\n"
    with pytest.warns(ns.UnseenWordWarning):
        html = Report(model, "The \u202ekeys", sections="attention", **QUIET).html()
    assert "\u202e" not in html and "\\x202ekeys" in html


def test_paper_gets_whole_figures_and_open_tables(model: ns.HookedGPTNeo) -> None:
    html = Report(model, "The keys", sections="attention", **QUIET).html()
    on_paper = html.partition("@media print {")[2].partition("</style>")[0]
    assert "details:not([open])" not in on_paper
    assert "thead, summary { break-after: avoid; }" in on_paper
    script = html[html.rindex("<script>") :]
    assert "one.open = true" in script and "plot.style.zoom = printing ?" in script


def test_a_wide_figure_is_scrolled_and_a_narrow_screen_is_told(model: ns.HookedGPTNeo) -> None:
    text = " ".join(["the"] * 28)
    html = Report(model, text, sections="lenses", **QUIET).html()
    assert re.search(r'style="height:\d+px;min-width:1\d\d\dpx"', html)
    assert "Swipe the figure sideways" in html and "::-webkit-scrollbar" in html
