"""The report: one file that loads nothing, shows everything, and survives a section that fails."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

import neoscope as ns
from neoscope.errors import AnalysisError, TokenizationError, ViewError
from neoscope.views.report import SECTIONS, Report, catalogue
from neoscope.views.report.citing import BIBTEX, cite_neoscope
from neoscope.views.report.parts import Picture, Prose, Table, said
from neoscope.views.report.study import MOST_TOKENS, Study, label_of
from tests.neoscope.views.report_page import QUIET, SCRIPT, Page

ROOT = Path(__file__).parents[3]


@pytest.fixture(scope="module")
def html(report: Report) -> str:
    return report.html()


@pytest.fixture(scope="module")
def page(html: str) -> Page:
    return Page(html)


def broken(study: Study) -> Iterator[Any]:
    yield Prose("what there was")
    raise AnalysisError(f"it is broken {SCRIPT}")


# ---- the page ----------------------------------------------------------------------------------


def test_every_section_is_there_and_says_what_is_seen(report: Report, page: Page) -> None:
    assert [one.name for one in report.sections] == list(SECTIONS)
    assert [(one.name, one.note) for one in report.sections if one.status != "done"] == []
    text = " ".join("".join(page.text).split())
    for one in report.sections:
        assert one.title in text
        assert one.seen in text and one.read in text


def test_the_page_loads_nothing(page: Page, html: str) -> None:
    assert page.loads == []
    assert all(script.get("type", "application/json") == "application/json"
               for script in page.scripts)  # fmt: skip
    (policy,) = re.findall(r'http-equiv="Content-Security-Policy" content="([^"]*)"', html)
    assert "default-src &#39;none&#39;" in policy and "connect-src &#39;none&#39;" in policy
    assert "unsafe-eval" not in policy and "script-src &#39;sha256-" in policy
    assert (
        "@import" not in html.partition("</style>")[0]
        and "url(" not in html.partition("</style>")[0]
    )


def test_plotly_is_there_once_and_the_page_is_small(html: str) -> None:
    assert html.count("plotly.js v") == 1
    assert len(html.encode()) < 10_000_000


def test_every_figure_is_data_with_words_and_a_table_in_its_section(
    report: Report, page: Page, html: str
) -> None:
    figures = [json.loads(text) for name, text in page.data.items() if name.startswith("data-")]
    pictures = [(one, block) for one in report.sections for block in one.blocks
                if isinstance(block, Picture)]  # fmt: skip
    assert len(figures) == len(pictures) == html.count('class="plot"') >= 12
    assert all("template" not in figure["layout"] for figure in figures)
    for section, picture in pictures:
        assert picture.caption
        assert any(isinstance(block, Table) for block in section.blocks), section.name


def test_truth_card_stands_beside_what_was_measured(report: Report) -> None:
    tables = {block.caption: block for one in report.sections for block in one.blocks
              if isinstance(block, Table)}  # fmt: skip
    heads = tables["Beside the truth card"]
    assert [row[1] for row in heads.rows] == ["0.0", "2.0"]
    assert all(abs(float(row[2]) - float(row[4])) < 0.01 for row in heads.rows)
    assert tables["Share restored, beside the truth card"].rows[0][1] == "3.2"


def test_nothing_tells_where_it_was_made(model: ns.HookedGPTNeo, html: str) -> None:
    assert model.checkpoint is not None
    assert str(model.checkpoint.folder.parent) not in html
    assert model.fingerprint() in html


def test_the_same_report_again_is_the_same_page(model: ns.HookedGPTNeo) -> None:
    pages = [Report(model, sections=["model", "attention", "provenance"], **QUIET).html()
             for _ in range(2)]  # fmt: skip
    assert pages[0] == pages[1]
    assert not re.search(r">20\d\d-\d\d-\d\d<", pages[0])
    dated = Report(model, sections="provenance", dated=True, **QUIET).html()
    assert re.search(r">20\d\d-\d\d-\d\d<", dated)


# ---- hostile text ------------------------------------------------------------------------------


def test_prompts_and_tokens_are_shown_and_not_run() -> None:
    model = ns.load("organism")
    text = f"The keys {SCRIPT} </script><img src=x onerror=alert(1)>"
    with pytest.warns(ns.UnseenWordWarning):
        made = Report(model, text, sections=["attention", "lenses", "attribution"], **QUIET)
    assert made.failed == ()
    html = made.html()
    page = Page(html)
    assert SCRIPT not in html and "<img" not in html
    assert page.loads == []
    assert SCRIPT in "".join(page.text)


def test_a_name_and_an_error_are_escaped(
    model: ns.HookedGPTNeo, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(catalogue, "broken", broken, raising=False)
    entry = catalogue.Entry("T", "S.", "R.", "neoscope.views.report.catalogue:broken")
    monkeypatch.setattr(catalogue, "CATALOGUE", {**catalogue.CATALOGUE, "heads": entry})
    monkeypatch.setattr(
        "neoscope.views.report.reporting.CATALOGUE", {**catalogue.CATALOGUE, "heads": entry}
    )
    monkeypatch.setattr(model.cfg, "model_name", "<b>bold")
    html = Report(model, sections="heads", **QUIET).html()
    assert "<b>bold" not in html and "&lt;b&gt;bold" in html
    assert SCRIPT not in html and "&lt;script&gt;" in html


# ---- sections ----------------------------------------------------------------------------------


def test_sections_come_in_the_reports_order(model: ns.HookedGPTNeo) -> None:
    made = Report(model, sections=["citing", "model"], **QUIET)
    assert [one.name for one in made.sections] == ["model", "citing"]
    assert repr(made) == "Report('organism', 2 sections)"


@pytest.mark.parametrize(
    ("sections", "said"),
    [(["atention"], "'atention'; did you mean 'attention'"), ([], "no section was named")],
)
def test_an_unknown_section_is_named(
    model: ns.HookedGPTNeo, sections: list[str], said: str
) -> None:
    with pytest.raises(ViewError, match=re.escape(said)):
        Report(model, sections=sections, **QUIET)


def test_a_section_that_fails_leaves_the_others(
    model: ns.HookedGPTNeo, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*args: Any, **options: Any) -> None:
        raise AnalysisError("no such luck")

    monkeypatch.setattr("neoscope.views.heads", fail)
    made = Report(model, sections=["model", "heads"], **QUIET)
    assert made.failed == ("heads",)
    assert made.sections[1].note == "no such luck"
    assert "This section failed: no such luck" in made.html()
    assert made.sections[0].status == "done"


def test_an_interrupt_is_not_a_failed_section(
    model: ns.HookedGPTNeo, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(*args: Any, **options: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("neoscope.views.heads", stop)
    name = model.cfg.model_name
    with pytest.raises(KeyboardInterrupt):
        Report(model, sections=["heads"], **QUIET)
    assert model.cfg.model_name == name


def test_a_model_without_a_tokenizer_gets_what_there_is() -> None:
    config = ns.NeoConfig(n_layers=2, d_model=16, n_heads=2, n_ctx=64, d_vocab=50, window_size=8)
    made = Report(ns.HookedGPTNeo.from_config(config), **QUIET)
    assert made.failed == ()
    skipped = {one.name: one.note for one in made.sections if one.status == "skipped"}
    assert {"attention", "lenses", "attribution", "patching", "probes", "projection"} <= set(
        skipped
    )
    assert "without a tokenizer" in skipped["patching"]
    assert "Not for this model" in made.html()


def test_a_tokenizer_that_knows_no_names_is_told_of() -> None:
    made = Report(ns.load("induction"), sections=["attention", "patching", "probes"], **QUIET)
    notes = {one.name: (one.status, one.note) for one in made.sections}
    assert notes["attention"][0] == "done"
    assert notes["patching"][0] == "skipped" and "0 names" in notes["patching"][1]
    assert notes["probes"][0] == "skipped"


# ---- texts -------------------------------------------------------------------------------------


def test_one_token_is_enough(model: ns.HookedGPTNeo) -> None:
    made = Report(model, "The", sections=["attention", "lenses", "attribution"], **QUIET)
    assert made.failed == ()


@pytest.mark.parametrize("text", ["", " ".join(["the"] * 200)])
def test_a_text_that_cannot_be_read_is_an_error_at_once(model: ns.HookedGPTNeo, text: str) -> None:
    with pytest.raises(TokenizationError):
        Report(model, text, sections=["model"], **QUIET)


def test_a_long_text_is_cut_and_the_page_says_so() -> None:
    organism = ns.load("organism")
    config = ns.NeoConfig(
        n_layers=1, d_model=16, n_heads=2, n_ctx=2048, d_vocab=organism.config.d_vocab
    )
    model = ns.HookedGPTNeo.from_config(config)
    model.tokenizer = organism.tokenizer
    made = Report(model, " ".join(["the"] * 2000), sections=["attention", "lenses"], **QUIET)
    assert made.failed == ()
    assert f"is about the first {MOST_TOKENS} of them" in made.html()
    assert len(made.html()) < 10_000_000


# ---- files -------------------------------------------------------------------------------------


def test_it_is_saved_whole(model: ns.HookedGPTNeo, tmp_path: Path) -> None:
    made = Report(model, sections="citing", **QUIET)
    path = made.save(tmp_path / "report.html")
    assert path.read_text(encoding="utf-8") == made.html()
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("name", ["report.pdf", "no/such/folder/report.html"])
def test_a_path_that_cannot_be_written_is_an_error(
    model: ns.HookedGPTNeo, tmp_path: Path, name: str
) -> None:
    with pytest.raises(ViewError):
        Report(model, sections="citing", **QUIET).save(tmp_path / name)


# ---- words -------------------------------------------------------------------------------------


def test_what_is_cited_is_what_the_citation_file_says() -> None:
    said_there = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert said_there["version"] in cite_neoscope()
    for one in said_there["references"]:
        assert one["title"] in BIBTEX
        assert all(who["family-names"] in BIBTEX for who in one["authors"])
        assert one.get("doi", "10.5281") in BIBTEX


def test_every_section_has_two_sentences_or_more() -> None:
    for entry in catalogue.CATALOGUE.values():
        assert entry.seen.endswith(".") and entry.read.endswith(".")


def test_a_folder_is_no_part_of_a_models_name(model: ns.HookedGPTNeo, tmp_path: Path) -> None:
    assert label_of(model) == "organism"
    model = ns.HookedGPTNeo.from_config(
        ns.NeoConfig(n_layers=1, d_model=8, n_heads=2, n_ctx=8, d_vocab=9)
    )
    model.cfg.model_name = str(tmp_path / "mine")
    assert label_of(model) == "mine"
    model.cfg.model_name = "EleutherAI/gpt-neo-125m"
    assert label_of(model) == "EleutherAI/gpt-neo-125m"


def test_numbers_in_tables_are_short() -> None:
    assert [said(x) for x in (1234567, 0.000123456, True, None)] == [
        "1,234,567", "0.000123", "yes", "–",
    ]  # fmt: skip
