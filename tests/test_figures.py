"""The figures of the README and the guide are those that were measured; none is measured here."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.benchmarks import publish, record, scale_table, table, targets
from tests.benchmarks.harness import Contest, Figure, Point, Result, Settings, measure, race
from tests.benchmarks.shortfalls import SHORTFALLS

MACHINE = {
    "processor": "some",
    "python": "3.11",
    "threads": 2,
    "versions": {"transformers": "5.0"},
    "matrix_rates": {"float32": 2e11, "bfloat16": 1e12},
    "memory_bandwidth": 1e10,
}


@pytest.mark.parametrize(
    ("page", "name", "made"), publish.PLACES, ids=lambda x: getattr(x, "name", x)
)
def test_tables_are_what_was_measured(page: Path, name: str, made: Any) -> None:
    shown = publish.between(page.read_text(encoding="utf-8"), name)
    assert shown == made(publish.MEASURED), (
        "run: python -m tests.benchmarks publish tests/benchmarks/measured.json"
    )


def test_every_row_is_measured_or_says_why_not() -> None:
    rows = json.loads(publish.MEASURED.read_text(encoding="utf-8"))["rows"]
    known = {(name, row.name) for name, some in targets.ROWS.items() for row in some}
    assert {(row["benchmark"], row["name"]) for row in rows} == known
    assert all(row["agrees"] for row in rows)


def test_every_missed_target_has_a_reason() -> None:
    assert [
        missed for missed in table.shortfalls(publish.MEASURED) if missed not in SHORTFALLS
    ] == []


def test_reasons_are_of_targets_that_exist() -> None:
    for benchmark, name, peer in SHORTFALLS:
        row = targets.find(benchmark, name)
        assert {"rate": row.share, "": row.at_most}.get(peer) or row.at_least[peer]


def result(ratio: float = 1.5, **more: Any) -> Result:
    return Result(
        "hidden, fp32",
        "8 x 256 tokens",
        0.5,
        ratios={"transformers": ratio},
        spread={"transformers": (ratio - 0.1, ratio + 0.1)},
        seconds={"neoscope": [0.5], "transformers": [0.5 * ratio]},
        **{"error": 1e-6, "tolerance": 1e-5, **more},
    )


def kept(path: Path, **other: Any) -> record.Record:
    return record.Record(path, {**json.loads(json.dumps(MACHINE)), **other})


def test_a_run_goes_on_where_it_was_interrupted(tmp_path: Path) -> None:
    path = tmp_path / "b.json"
    assert len(record.missing(path, "forward")) == len(targets.ROWS["forward"])
    kept(path).add("forward", result())
    again = kept(path)
    assert again.has("forward", "hidden, fp32")
    assert not again.has("forward", "logits, fp32")
    assert "hidden, fp32" not in record.missing(path, "forward")
    assert "logits, fp32" in record.missing(path, "forward")


def test_a_wrong_answer_and_what_was_not_run_are_still_missing(tmp_path: Path) -> None:
    path = tmp_path / "b.json"
    kept(path).add("forward", result(error=1.0))
    assert not kept(path).has("forward", "hidden, fp32")
    kept(path).add("forward", Result("hidden, fp32", "", not_run="needs --corpus"))
    assert not kept(path).has("forward", "hidden, fp32")
    assert "hidden, fp32" in record.missing(path, "forward", given=["--corpus"])
    assert "hidden, fp32" not in record.missing(path, "forward", given=["--slow"])


def test_one_file_is_of_one_machine(tmp_path: Path) -> None:
    path = tmp_path / "b.json"
    kept(path).add("forward", result())
    with pytest.raises(record.OtherMachineError, match="threads 2, not 4"):
        kept(path, threads=4)
    faster = {"float32": 3e11, "bfloat16": 1e11}
    assert kept(path, matrix_rates=faster).machine["matrix_rates"] == {
        "float32": 3e11,
        "bfloat16": 1e12,
    }


@pytest.mark.parametrize(("ratio", "shown"), [(1.5, "| 1.50 | 1.3 |"), (1.2, "| **1.20** | 1.3 |")])
def test_a_missed_target_is_marked_and_explained(tmp_path: Path, ratio: float, shown: str) -> None:
    path = tmp_path / "b.json"
    kept(path).add("forward", result(ratio))
    text = table.brief(path)
    assert shown in text
    assert ("Next:" in text) == ("**" in shown)
    assert "transformers 5.0" in text
    assert f"1: {ratio - 0.1:.2f} to {ratio + 0.1:.2f}" in table.full(path)


def test_costs_follow_from_rates_and_bytes(tmp_path: Path) -> None:
    path = tmp_path / "b.json"
    into = kept(path)
    for name, value in (
        ("model, float32", 1e9 / 3600 / 100),
        ("bytes a row, 125M, none, float32", 3_000.0),
        ("bytes a row, 125M, mean, float32", 6_400.0),
    ):
        into.add("scale", Result(name, "", value))
    lines = {line.split("|")[1].strip(): line for line in scale_table.costs(path).splitlines()[:-1]}
    assert lines["this machine's two threads, float32"].endswith("| 100 h | 1,422 h | 2,963 h |")
    assert "| 3.0 TB |" in lines["disk for a layer, a row a token, float32"]
    means = "disk for a layer, the mean of each text of 64 tokens, float32"
    assert "| 100 GB |" in lines[means]


def test_a_curve_is_listed_point_by_point(tmp_path: Path) -> None:
    path, name = tmp_path / "b.json", "patching, pairs, 125M"
    points = (Point(1, 0.5, 10**9), Point(10, 5.0, 10**9))
    kept(path).add("growth", Result(name, "pairs", points=points))
    text = table.full(path)
    assert "| 1 pairs |  |  |  |  | 0.5 s |  | 1,000 MB |" in text
    assert "| 10 pairs |  |  |  |  | 5 s |" in text


def test_what_needs_a_file_is_not_run_without_it() -> None:
    row = Figure("sweep", "s", lambda: pytest.fail("it was run"), needs="--treebank")
    assert measure(row, Settings(), {}).not_run == "needs --treebank"
    slow = Figure("sweep", "s", lambda: 1.0, slow=True)
    assert measure(slow, Settings(), {}).not_run == "needs --slow"
    assert measure(slow, Settings(slow=True), {}).value == 1.0


def test_a_wrong_answer_is_not_timed() -> None:
    row = Contest("x", "", lambda: pytest.fail("it was timed"), {}, lambda: 1.0, 1e-5)
    assert not measure(row, Settings(), {}).agrees


def test_rounds_alternate_after_a_warm_up() -> None:
    calls: list[str] = []
    works = {name: lambda name=name: calls.append(name) for name in "ab"}
    times, _ = race(works, Settings(), 2)
    assert "".join(calls) == "ab" + "ab" + "ba"
    assert [len(some) for some in times.values()] == [2, 2]


def test_only_what_is_between_the_comments_is_written() -> None:
    page = "a\n<!-- t: written by tests.benchmarks -->\nold\n<!-- end of t -->\nb"
    new = publish.replaced(page, "t", "new")
    assert new == page.replace("old", "new")
    assert publish.between(new, "t") == "new"
    with pytest.raises(ValueError, match="end of u"):
        publish.between(page, "u")
