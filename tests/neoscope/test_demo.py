"""The demonstration finds what the truth card says, and writes over nothing but itself."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import neoscope as ns
from neoscope import demo
from neoscope.demo.folder import MARKER
from neoscope.errors import ArgumentError, CheckpointError
from tests.promises.demonstrations import Shown, demonstrations

SMALL: dict[str, Any] = {"n": 200, "n_pairs": 16, "progress": False}


@pytest.fixture(scope="module")
def shown(tmp_path_factory: pytest.TempPathFactory) -> Shown:
    return demonstrations(tmp_path_factory)


@pytest.fixture(scope="module")
def found(shown: Shown) -> demo.Demo:
    return shown.demos["organism"]


def test_every_step_is_done_and_timed(found: demo.Demo) -> None:
    assert [step.name for step in found.steps] == list(demo.STEPS)
    assert all(step.seconds > 0 and step.lines for step in found.steps)
    assert found.failed == ()
    json.dumps(found.to_dict())


def test_the_heads_are_those_of_the_truth_card(found: demo.Demo) -> None:
    heads = {one["what"]: one for one in found.step("heads").facts["heads"]}
    assert {name: one["head"] for name, one in heads.items()} == {
        "previous word": "0.0", "induction": "2.0",
    }  # fmt: skip
    first = found.step("patch").facts["heads"][0]
    assert first["head"] == "3.2"
    assert first["card_interval"][0] <= first["card"] <= first["card_interval"][1]
    assert all(one["agrees"] for one in (*heads.values(), first))
    assert "all as on the truth card" in found.step("heads").verdict


def test_what_was_written_can_be_read(found: demo.Demo) -> None:
    import pandas as pd

    import probes

    cache = ns.ActivationCache.load(found.folder / "run.safetensors")
    assert cache.layers("resid_post") == [0, 1, 2, 3]
    table = pd.read_parquet(sorted((found.folder / "features").glob("*.parquet")))
    assert len(table) == 200 and set(table["label"]) == {"positive", "negative"}
    probe = probes.load(found.folder / "probe")
    assert set(probe.classes_) == {"singular", "plural"}
    page = found.report.read_text(encoding="utf-8")
    assert "neoscope report" in page and len(page) < 10_000_000
    figures = {path.name for path in (found.folder / "figures").iterdir()}
    assert {"heads.html", "lens.html", "patching.html", "plotly.min.js"} <= figures
    assert all(
        path.stat().st_size < 2_000_000 for path in (found.folder / "figures").glob("*.html")
    )


def test_features_beat_words_and_neoscope_is_not_needed_for_it(found: demo.Demo) -> None:
    facts = found.step("classifier").facts
    assert facts["features"] > 0.9 > facts["bag_of_words"]
    code = (
        "import sys, runpy; sys.argv = ['classify.py', 'resid_post_3_last']; "
        f"runpy.run_path({str(found.folder / 'classify.py')!r}, run_name='__main__'); "
        "assert not {'neoscope', 'torch'} & set(sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert f"resid_post_3_last: {facts['features']:.3f} on 40 texts" in done.stdout


def test_its_own_folder_is_written_over_and_no_other(found: demo.Demo, tmp_path: Path) -> None:
    demo.check(found.folder)
    (found.folder / "mine.txt").write_text("mine", encoding="utf-8")
    with pytest.raises(ArgumentError, match=r"mine\.txt"):
        demo.run(out=found.folder, **SMALL)
    (found.folder / "mine.txt").unlink()
    (tmp_path / "work").mkdir()
    (tmp_path / "work" / "thesis.tex").write_text("x", encoding="utf-8")
    with pytest.raises(ArgumentError, match="no demonstration's folder"):
        demo.run(out=tmp_path / "work", **SMALL)
    (tmp_path / "file").write_text("x", encoding="utf-8")
    with pytest.raises(ArgumentError, match="is no folder"):
        demo.run(out=tmp_path / "file", **SMALL)
    with pytest.raises(ArgumentError, match="there is no folder"):
        demo.run(out=tmp_path / "no" / "such", **SMALL)
    assert {path.name for path in tmp_path.iterdir()} == {"work", "file"}


def test_a_folder_that_cannot_be_written_is_an_error_before_any_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*args: Any, **options: Any) -> str:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("tempfile.mkdtemp", refuse)
    with pytest.raises(ArgumentError, match="cannot be written: Permission denied"):
        demo.run("no such model", out=tmp_path / "demo", **SMALL)


@pytest.mark.parametrize("stop", [KeyboardInterrupt, RuntimeError])
def test_what_is_interrupted_leaves_nothing_and_keeps_the_old(
    tmp_path: Path, stop: type[BaseException]
) -> None:
    old = tmp_path / "demo"
    old.mkdir()
    (old / MARKER).write_text('{"files": ["kept.txt"]}', encoding="utf-8")
    (old / "kept.txt").write_text("kept", encoding="utf-8")

    def finished(step: demo.Step) -> None:
        if step.name == "cache":
            raise stop

    with pytest.raises(stop):
        demo.run(out=old, finished=finished, **SMALL)
    assert (old / "kept.txt").read_text(encoding="utf-8") == "kept"
    assert list(tmp_path.iterdir()) == [old]


@pytest.mark.parametrize("bad", [{"n": 10}, {"n_pairs": 1}, {"n": 0}])
def test_numbers_that_mean_nothing_are_refused(tmp_path: Path, bad: dict[str, Any]) -> None:
    with pytest.raises(ArgumentError, match="expected a whole number"):
        demo.run(out=tmp_path / "demo", **{**SMALL, **bad})


def test_a_model_that_is_not_there_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError):
        demo.run(tmp_path / "nothing", out=tmp_path / "demo", **SMALL)
    assert list(tmp_path.iterdir()) == []


def test_a_model_without_a_truth_card_says_so(shown: Shown) -> None:
    made = shown.demos["organism-random"]
    assert made.failed == ()
    assert "no truth card" in made.step("heads").verdict
    assert made.step("heads").columns == ("head", "what", "measured", "95 % interval")


@pytest.mark.parametrize("name", ["gates", "induction"])
def test_a_model_that_reads_no_english_gets_what_there_is(shown: Shown, name: str) -> None:
    made = shown.demos[name]
    assert [step.name for step in made.steps] == list(demo.STEPS)
    assert made.failed == ()
    for step in ("patch", "probe", "export", "classifier"):
        assert made.step(step).lines[0].startswith("left out: ")
    assert {"heads", "attention", "lens"} <= {
        Path(page).stem for page in made.step("figures").facts["figures"]
    }
    assert made.report.is_file()


def test_a_step_is_found_by_its_name(found: demo.Demo) -> None:
    with pytest.raises(ArgumentError, match="did you mean 'patch'"):
        found.step("patsch")
