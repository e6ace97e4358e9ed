"""The truth card holds what was measured, its claims follow from it, and its script says so."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from neoscope.errors import CheckpointError
from neoscope.making.truth import main
from neoscope.model import HookedGPTNeo
from neoscope.organism import compiled, initial
from neoscope.organism.language import pairs
from neoscope.organism.truth import NAME, load
from neoscope.organism.truth.card import measure_task, n_forwards, write
from neoscope.organism.truth.claims import claims, strongest
from neoscope.organism.truth.progress import Progress

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Two random organisms, of two seeds."""
    root = tmp_path_factory.mktemp("organisms")
    out = []
    for seed in (0, 1):
        folder = root / f"seed-{seed}"
        folder.mkdir()
        for name, content in initial.files(initial.weights(seed)).items():
            (folder / name).write_bytes(content)
        out.append(folder)
    return out[0], out[1]


@pytest.fixture(scope="module")
def model(folders: tuple[Path, Path]) -> HookedGPTNeo:
    return HookedGPTNeo.from_pretrained(folders[0])


@pytest.fixture(scope="module")
def card(folders: tuple[Path, Path]) -> dict[str, Any]:
    assert main([*map(str, folders), "--pairs", "4", "--tasks", "tense"]) == 0
    return load(folders[0])


def test_card_holds_what_it_says(card: dict[str, Any], folders: tuple[Path, Path]) -> None:
    first, second = card["models"]
    assert (first["full"], second["full"]) == (True, False)
    assert (first["name"], second["name"]) == ("seed-0", "seed-1")
    assert first["sha256"] != second["sha256"]
    assert card["made_by"]["pairs"] == 4
    task = first["tasks"]["tense"]
    assert task["prompts"]["n_pos"] == 4
    assert task["prompts"]["roles"] == ["time", "", "", "subject"]
    assert task["prompts"]["changed"] == [0]
    shapes = {
        site: np.shape(task["by_position"][site]["low"])
        for site in ("resid_pre", "resid_post", "attn_out", "mlp_out")
    }
    assert shapes == {"resid_pre": (4, 4), "resid_post": (1, 4), "attn_out": (4, 4),
                      "mlp_out": (4, 4)}  # fmt: skip
    assert "by_position" not in second["tasks"]["tense"]
    stream = task["stream"]
    assert stream["changed"]["effect"][0] == pytest.approx(1, abs=1e-3)
    assert stream["last"]["effect"] == pytest.approx(
        [row[3] for row in task["by_position"]["resid_pre"]["effect"]]
        + [task["by_position"]["resid_post"]["effect"][0][3]], abs=1e-3
    )  # fmt: skip
    assert first["repeats"]["far"]["induction"][1] == [None] * 4
    assert np.shape(first["ablation"]["beyond_share_left"]) == (4, 4)


def test_claims_follow_from_the_card(card: dict[str, Any]) -> None:
    assert claims(card["models"]) == card["claims"]
    assert all(len(claim["values"]) == 2 for claim in (*card["claims"], *card["theorems"]))
    assert all(claim["claim"].endswith(".") for claim in card["claims"])
    assert {claim["holds_for_all"] for claim in card["claims"]} == {True, False}


def test_claims_turn_false_when_one_seed_disagrees(card: dict[str, Any]) -> None:
    models = json.loads(json.dumps(card["models"]))
    for model in models:
        model["ablation"]["induction_head"] = [2, 1]
        model["ablation"]["beyond_share_left"] = [[0.9] * 4, [1.0] * 4, [1, 0.1, 1, 1], [1.0] * 4]
    agreed = {claim["claim"]: claim for claim in claims(models)}
    (moved,) = [c for t, c in agreed.items() if t.startswith("The induction head, which")]
    assert moved["values"] == [2, 2] and moved["holds_for_all"]
    far = [claim for t, claim in agreed.items() if t.startswith("Repeats 64")]
    assert far and [claim["values"][0] for claim in far] == [0.1, 0.9, 0.9]
    assert all(claim["holds_for_all"] for claim in far)
    (able,) = [c for t, c in agreed.items() if t.startswith("It can be one")]
    assert able["holds_for_all"]
    models[1]["ablation"]["induction_head"] = [0, 1]
    (able,) = [c for c in claims(models) if c["claim"] == able["claim"]]
    assert able["values"] == [2, 0] and not able["holds_for_all"]
    (moved,) = [c for c in claims(models) if c["claim"] == moved["claim"]]
    assert moved["values"] == [2, 0] and not moved["holds_for_all"]


def test_claims_tell_a_head_that_looks_elsewhere_than_right_after(card: dict[str, Any]) -> None:
    models = json.loads(json.dumps(card["models"]))
    for model, offset in zip(models, (1, 6), strict=True):
        profile = [0.01] * len(model["repeats"]["offsets"])
        profile[model["repeats"]["offsets"].index(offset)] = 0.8
        model["repeats"]["far"]["by_offset"][2] = [profile] * 4
    (found,) = [c for c in claims(models) if c["claim"].endswith("right after it (offset).")]
    assert found["values"] == [1, 6] and not found["holds_for_all"]


def test_strongest_skips_what_cannot() -> None:
    assert strongest([[None, None], [None, -1.0]]) == [1, 1]
    assert strongest([[None]]) is None


def test_number_of_forwards_is_foretold(model: HookedGPTNeo) -> None:
    for full in (False, True):
        ticks: list[None] = []
        record = measure_task(
            model, pairs("tense", 2), full=full, tick=lambda ticks=ticks: ticks.append(None)
        )
        assert len(ticks) == n_forwards(4, 4, 4, full=full)
        assert ("by_position" in record) == full


def test_same_run_writes_the_same_card(
    card: dict[str, Any],
    folders: tuple[Path, Path],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    out = tmp_path / "other.json"
    arguments = [*map(str, folders), "--pairs", "4", "--tasks", " tense ,tense", "--out", str(out)]
    assert main(arguments) == 0
    assert out.read_bytes() == (folders[0] / NAME).read_bytes()
    said = capsys.readouterr().out
    assert "seed-1: ablation took" in said
    assert "holds  No head of a local layer" in said
    assert f"written: {out}" in said


def test_card_is_written_a_line_for_each_name(tmp_path: Path) -> None:
    card = {"format": 1, "a": {"b": [[1, 2], [3]], "c": {}}, "d": [{"e": None}, {"e": []}]}
    write(card, tmp_path / NAME)
    assert load(tmp_path) == load(tmp_path / NAME) == card
    lines = (tmp_path / NAME).read_text().splitlines()
    assert '  "b": [[1,2],[3]],' in lines
    assert [*tmp_path.iterdir()] == [tmp_path / NAME]
    with pytest.raises(ValueError, match="JSON"):
        write({"x": float("nan")}, tmp_path / NAME)
    assert load(tmp_path) == card


@pytest.mark.parametrize(
    ("content", "message"),
    [(None, "no truth card can be read"), ("{", "no truth card"), ('{"format": 9}', "format 9"),
     ("[]", "format None")],
)  # fmt: skip
def test_card_that_is_none_is_refused(tmp_path: Path, content: str | None, message: str) -> None:
    if content is not None:
        (tmp_path / NAME).write_text(content)
    with pytest.raises(CheckpointError, match=message):
        load(tmp_path)


def test_errors_are_one_line(
    folders: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    good = str(folders[0])
    empty = tmp_path / "empty"
    empty.mkdir()
    other = tmp_path / "other"
    shutil.copytree(compiled.induction(), other)
    cases = [
        ([str(tmp_path / "none")], "there is no such folder"),
        ([good, str(tmp_path / "none")], "there is no such folder"),
        ([str(empty)], "holds no model.safetensors"),
        ([str(other)], "expected the organism's"),
        ([good, "--tasks", "tens"], "there is no task 'tens'; there are ioi"),
        ([good, "--tasks", ""], "there is no task ''"),
        ([good, "--pairs", "0"], "n is 0; expected"),
        ([good, "--out", str(tmp_path / "none" / "card.json")], "to write into"),
    ]
    for arguments, message in cases:
        assert main(arguments) == 1
        out, error = capsys.readouterr()
        assert out == ""
        assert error.startswith("error: ") and error.count("\n") == 1
        assert message in error


def test_progress_tells_elapsed_and_left() -> None:
    now, said = [0.0], list[str]()
    progress = Progress(10.0, said.append, every=5.0, clock=lambda: now[0])
    tick = progress.step("tense", 1.0)
    for second in (1, 6, 7, 12):
        now[0] = float(second)
        tick()
    assert said == [
        " 20%  elapsed 0:06  ETA 0:24  tense",
        " 40%  elapsed 0:12  ETA 0:18  tense",
    ]
    assert progress.elapsed == 12
