from __future__ import annotations

import builtins
import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import plotly.graph_objects as go
import plotly.io as pio
import pytest

import neoscope as ns
from neoscope import views
from neoscope.errors import MissingExtraError, ViewError
from neoscope.views import picture_drawing
from neoscope.views.heatmaps import heatmap
from neoscope.views.ink import contrast, luminance
from neoscope.views.saving import page
from neoscope.views.theme import CLOUD_BUTTONS, DAWN, INK, add_note, new_figure, template


@pytest.fixture
def figure() -> go.Figure:
    return heatmap(
        np.eye(2), rows=["a", "b"], columns=["c", "d"], scale="share", unit="probability",
        title="<script>alert(1)</script>",
    )  # fmt: skip


def test_a_page_holds_all_it_needs(figure: go.Figure, tmp_path: Path) -> None:
    text = views.save(figure, tmp_path / "x.html").read_text(encoding="utf-8")
    assert len(text) > 3_000_000  # plotly's script is in it
    assert not re.search(r"<(script|link|img)[^>]+(src|href)=", text.replace("\n", " "))


def test_markup_in_a_title_is_not_run(figure: go.Figure, tmp_path: Path) -> None:
    text = views.save(figure, tmp_path / "x.html").read_text(encoding="utf-8")
    assert "<script>alert(1)" not in text


def test_json_reads_back_as_the_same_figure(figure: go.Figure, tmp_path: Path) -> None:
    path = views.save(figure, tmp_path / "x.json")
    assert pio.from_json(path.read_text(encoding="utf-8")) == figure
    assert json.loads(path.read_text(encoding="utf-8"))["layout"]["title"]


def test_another_ending_is_named(figure: go.Figure, tmp_path: Path) -> None:
    with pytest.raises(ViewError, match=r"'\.htm'.*\.html"):
        views.save(figure, tmp_path / "x.htm")
    assert not list(tmp_path.iterdir())


def test_a_folder_that_is_not_there_is_named(figure: go.Figure, tmp_path: Path) -> None:
    with pytest.raises(ViewError, match="cannot be written: there is no such folder"):
        views.save(figure, tmp_path / "no" / "x.json")


def test_an_old_file_stays_whole_when_drawing_fails(
    figure: go.Figure, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = views.save(figure, tmp_path / "x.json")
    before = path.read_bytes()

    def broken(*args: Any, **options: Any) -> str:
        raise RuntimeError("out of memory")

    monkeypatch.setattr(go.Figure, "to_json", broken)
    with pytest.raises(RuntimeError):
        views.save(figure, path)
    assert path.read_bytes() == before and len(list(tmp_path.iterdir())) == 1


def test_without_kaleido_a_picture_says_what_to_install(
    figure: go.Figure, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(MissingExtraError, match=r"neoscope\[pictures\]"):
        views.save(figure, tmp_path / "x.png")


@pytest.mark.parametrize("browser", ["/bin/false", "/no/such/browser"])
def test_without_a_browser_a_picture_is_refused_quietly_and_python_ends(
    tmp_path: Path, browser: str
) -> None:
    pytest.importorskip("kaleido")
    script = (
        "from neoscope import views; from neoscope.errors import ViewError\n"
        "from neoscope.views.theme import new_figure\n"
        f"try: views.save(new_figure('x'), {str(tmp_path / 'x.png')!r})\n"
        "except ViewError as problem: print(problem)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], env={**os.environ, "BROWSER_PATH": browser},
        capture_output=True, text=True, timeout=120, check=True,
    )  # fmt: skip
    assert "apt install chromium" in done.stdout and browser in done.stdout
    assert not done.stderr
    assert not list(tmp_path.iterdir())


def test_a_browser_that_never_answers_is_given_up(
    figure: go.Figure, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    slow = tmp_path / "slow.py"
    slow.write_text("import time; time.sleep(600)")
    monkeypatch.setattr(picture_drawing, "PATIENCE", 0.2)
    monkeypatch.setattr(picture_drawing, "command", lambda folder: [sys.executable, str(slow)])
    with pytest.raises(ViewError, match="no picture after"):
        views.save(figure, tmp_path / "x.png")


@pytest.mark.parametrize(
    "size", [{"width": -1}, {"width": "a"}, {"height": 0}, {"scale": 0.0}, {"scale": float("nan")}]
)
@pytest.mark.parametrize("ending", [".png", ".html"])
def test_a_size_that_is_none_is_refused(
    figure: go.Figure, tmp_path: Path, size: dict[str, Any], ending: str
) -> None:
    with pytest.raises(ViewError, match=rf"views\.save: {next(iter(size))}="):
        views.save(figure, tmp_path / f"x{ending}", **size)
    assert not list(tmp_path.iterdir())


def test_what_is_no_figure_is_refused_with_its_view(tmp_path: Path) -> None:
    _, cache = ns.load("organism").run_with_cache("The keys")
    with pytest.raises(ViewError, match=r"found ActivationCache; views\.attention_heads"):
        views.save(cache, tmp_path / "x.html")


def test_a_folder_and_a_path_without_an_ending_are_named(figure: go.Figure, tmp_path: Path) -> None:
    with pytest.raises(ViewError, match="is a folder"):
        views.save(figure, tmp_path)
    with pytest.raises(ViewError, match="has no ending"):
        views.save(figure, tmp_path / "x")


def test_an_ending_far_from_all_has_no_suggestion(figure: go.Figure, tmp_path: Path) -> None:
    with pytest.raises(ViewError, match=r"'\.bmp'$"):
        views.save(figure, tmp_path / "x.bmp")
    with pytest.raises(ViewError, match=r"did you mean '\.jpg'"):
        views.save(figure, tmp_path / "x.jpeg")


def test_colour_scales_stand_on_a_light_area_in_the_dark(figure: go.Figure) -> None:
    night = views.dark(figure).layout.template
    assert luminance([*bytes.fromhex(night.layout.plot_bgcolor[1:])]) > 0.8
    assert luminance([*bytes.fromhex(night.layout.paper_bgcolor[1:])]) < 0.05
    assert night.data.scatter[0].textfont.color == INK  # what is written in it
    for name in ("title.subtitle.font.color", "font.color"):
        assert contrast(night.layout[name], night.layout.paper_bgcolor) > 7
    lines = views.dark(new_figure("lines").add_scatter(y=[1, 2])).layout.template.layout
    assert lines.plot_bgcolor == lines.paper_bgcolor


def test_a_saved_page_knows_its_plot_area_in_the_dark(figure: go.Figure) -> None:
    assert f'"plot_bgcolor": "{DAWN}"' in page(figure)
    assert f'"plot_bgcolor": "{DAWN}"' not in page(new_figure("lines"))


@pytest.mark.skipif(
    not any(map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))),
    reason="no browser to draw pictures with",
)
@pytest.mark.parametrize(("ending", "start"), [(".png", b"\x89PNG"), (".svg", b"<svg")])
def test_pictures_are_drawn(figure: go.Figure, tmp_path: Path, ending: str, start: bytes) -> None:
    assert views.save(figure, tmp_path / f"x{ending}").read_bytes().startswith(start)


def test_no_button_sends_a_figure_away() -> None:
    removed = new_figure("x").layout.template.layout.modebar.remove
    assert {"sendChartToCloud", "sendDataToCloud"} <= set(removed) <= set(CLOUD_BUTTONS)


def test_the_dark_copy_leaves_the_figure_alone(figure: go.Figure) -> None:
    before = figure.to_dict()
    night = views.dark(figure)
    assert figure.to_dict() == before
    assert night.layout.template.layout.paper_bgcolor == template(night=True).layout.paper_bgcolor
    assert night.data[0].z.tolist() == figure.data[0].z.tolist()


def test_notes_stand_below_each_other_and_make_room() -> None:
    figure = new_figure("A title", "a model")
    before = figure.layout.margin.t
    add_note(add_note(figure, "first"), "second <b>")
    assert figure.layout.title.subtitle.text == "a model<br>first<br>second &lt;b&gt;"
    assert figure.layout.margin.t > before


def test_long_titles_are_wrapped() -> None:
    figure = new_figure("word " * 60, "other " * 60, width=500)
    lines = figure.layout.title.text.split("<br>")
    assert len(lines) > 1 and max(map(len, lines)) <= 500 / 8


def test_drawing_prints_and_opens_nothing(
    figure: go.Figure, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def loud(*args: Any, **options: Any) -> None:
        raise AssertionError("a view printed")

    monkeypatch.setattr(builtins, "print", loud)
    monkeypatch.setattr(go.Figure, "show", loud)
    views.save(figure, tmp_path / "x.html")
