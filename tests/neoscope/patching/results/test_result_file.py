from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from neoscope.errors import PatchingError
from neoscope.patching.results import file as result_file
from neoscope.patching.results.axes import Axis
from neoscope.patching.results.loading import load
from neoscope.patching.results.result import PatchingResult
from tests.neoscope.patching.made_results import result

SUFFIXES = (".json", ".parquet")


def unusual() -> dict[str, dict[str, Any]]:
    patched = result().patched.copy()
    patched[2:, 1] = np.nan
    answer = result().components["answer"].copy()
    answer[0, 0, 0], answer[0, 0, 1], answer[0, 0, 2] = np.inf, -np.inf, np.nan
    return {
        "plain": {},
        "interrupted": {"patched": patched, "complete": False},
        "infinite": {"components": {"patched": answer}},
        "double": {"patched": result().patched.astype(np.float64) / 3},
        "no clean": {"clean": None, "base_components": {}, "components": {}},
        "mixed labels": {
            "axes": (Axis("layer", (0, 1, 2)), Axis("what", (1, "a", "b,\n\0", "😀")))
        },
    }


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("name", unusual())
def test_what_is_loaded_equals_what_was_saved(tmp_path: Path, suffix: str, name: str) -> None:
    saved = result(**unusual()[name])
    path = tmp_path / f"résultat{suffix}"
    assert saved.save(path) == path
    loaded = PatchingResult.load(path)
    assert loaded == saved and load(str(path)) == saved
    assert loaded.patched.dtype == saved.patched.dtype
    np.testing.assert_array_equal(loaded.p_value, saved.p_value)
    np.testing.assert_array_equal(loaded.interval, saved.interval)
    assert os.listdir(tmp_path) == [path.name]


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_one_cell_and_one_pair_survive(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"one{suffix}"
    for saved in (result(1), result().select(layer=1, pos=2), result(1).select(layer=1, pos=2)):
        saved.save(path)
        assert load(path) == saved


def test_other_programs_can_read_both(tmp_path: Path) -> None:
    found = result()
    found.save(tmp_path / "r.json")
    found.save(tmp_path / "r.parquet")

    def no_constant(word: str) -> None:
        raise AssertionError(f"{word} is no JSON")

    said = json.loads((tmp_path / "r.json").read_text("utf-8"), parse_constant=no_constant)
    np.testing.assert_array_equal(said["summary"]["effect"], found.mean)
    np.testing.assert_array_equal(said["summary"]["p"], found.p_value)
    table = pq.read_table(tmp_path / "r.parquet").to_pandas()
    assert table[list(found.to_dataframe().drop(columns="patched"))].equals(
        found.to_dataframe().drop(columns="patched")
    )
    np.testing.assert_array_equal(table["pairs: patched"][5], found.patched[:, 1, 1])


def test_json_of_what_did_not_run_is_strict_json(tmp_path: Path) -> None:
    result(1, patched=np.full((1, 3, 4), np.nan)).save(tmp_path / "r.json")
    text = (tmp_path / "r.json").read_text("utf-8")
    assert "NaN" not in text and json.loads(text)["summary"]["stderr"][0][0] is None


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_damaged_file_says_so(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"r{suffix}"
    result().save(path)
    whole = path.read_bytes()
    for broken in (b"", whole[: len(whole) // 2], whole[:-9], b"{}", b"[1]", b"PAR1", b"\xff\xfe"):
        path.write_bytes(broken)
        with pytest.raises(PatchingError, match="is damaged or no PatchingResult") as raised:
            PatchingResult.load(path)
        assert len(str(raised.value)) < len(str(path)) + 200 and "\\x" not in str(raised.value)
        with pytest.raises(PatchingError, match="is damaged or no"):
            load(path)


def test_a_flipped_bit_in_a_parquet_file_is_seen(tmp_path: Path) -> None:
    path = tmp_path / "r.parquet"
    result().save(path)
    whole = path.read_bytes()
    saved = load(path)
    for at in range(4, len(whole), 97):
        path.write_bytes(whole[:at] + bytes([whole[at] ^ 16]) + whole[at + 1 :])
        try:
            found = load(path)
        except PatchingError:
            continue
        # What is not covered by a checksum is not what the result is made of.
        np.testing.assert_array_equal(found.patched, saved.patched)


def test_json_with_parts_missing_or_changed_says_so(tmp_path: Path) -> None:
    path = tmp_path / "r.json"
    result().save(path)
    said = json.loads(path.read_text("utf-8"))

    def refused(change: Any, words: str) -> None:
        other = json.loads(json.dumps(said))
        change(other)
        path.write_text(json.dumps(other), "utf-8")
        with pytest.raises(PatchingError, match=words):
            load(path)

    refused(lambda x: x["arrays"].pop("patched"), "damaged .*patched")
    refused(lambda x: x["arrays"]["patched"].pop(), "shape")
    refused(lambda x: x["arrays"]["patched"][0].pop(), "damaged")
    refused(lambda x: x["neoscope_patching"].pop("axes"), "damaged .*axes")
    refused(lambda x: x["neoscope_patching"].update(format=2, version="9.9"), "upgrade neoscope")
    refused(lambda x: x["arrays"]["patched"][0][0].__setitem__(0, "x"), "damaged")


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_failed_save_leaves_the_old_file(
    tmp_path: Path, suffix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / f"r{suffix}"
    result().save(path)
    before = path.read_bytes()

    def fail(_: object, temporary: Path) -> None:
        temporary.write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(result_file, "_write_json", fail)
    monkeypatch.setattr(result_file, "_write_parquet", fail)
    with pytest.raises(PatchingError, match="No space left"):
        result(seed=1).save(path)
    assert path.read_bytes() == before and os.listdir(tmp_path) == [path.name]


def test_only_an_older_result_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "config.json"
    path.write_text('{"model_type": "gpt_neo"}')
    with pytest.raises(PatchingError, match="something that is no PatchingResult"):
        result().save(path)
    assert path.read_text() == '{"model_type": "gpt_neo"}'
    folder = tmp_path / "r.parquet"
    folder.mkdir()
    with pytest.raises(PatchingError, match="something that is no PatchingResult"):
        result().save(folder)
    result().save(tmp_path / "r.json")
    result(seed=1).save(tmp_path / "r.json")
    assert load(tmp_path / "r.json") == result(seed=1)


def test_names_that_cannot_be_written_or_read_say_why(tmp_path: Path) -> None:
    with pytest.raises(PatchingError, match=r"did you mean '\.json'"):
        result().save(tmp_path / "r.jsn")
    with pytest.raises(PatchingError, match="no such folder"):
        result().save(tmp_path / "missing" / "r.json")
    for read in (load, PatchingResult.load):
        with pytest.raises(PatchingError, match="there is no result file"):
            read(tmp_path / "r.json")
