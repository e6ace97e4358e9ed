"""``neoscope patch`` shows, prints and writes what the library measures."""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import typer
from typer.testing import CliRunner, Result

import neoscope as ns
from neoscope.cli import app
from neoscope.cli.patch import options as o
from neoscope.cli.patch import run as patch_run
from neoscope.cli.table import visible
from neoscope.model import HookedGPTNeo
from neoscope.organism.language import pairs
from neoscope.patching.metrics import kl, logit_diff, normalised
from neoscope.patching.results.result import PatchingResult
from neoscope.patching.sweeps.first_look import every
from neoscope.patching.sweeps.sweeping import sweep
from tests.neoscope.test_start_up import COMMAND, HEAVY, imported_by

RUNNER = CliRunner()
CLEAN = "When Mary and John went to the store, John gave a drink to"
CORRUPTED = "When Mary and John went to the store, Mary gave a drink to"
ANSWERS = ("--answer", " Mary", "--wrong", " John")
ONE = ("--clean", CLEAN, "--corrupted", CORRUPTED, *ANSWERS)


@pytest.fixture(scope="module")
def model() -> HookedGPTNeo:
    return ns.load("organism")


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "result.json"


def patch(*args: str, **options: Any) -> Result:
    result = RUNNER.invoke(app, ["patch", *args], **options)
    assert isinstance(result.exception, SystemExit | None), result.exception
    return result


def written(path: Path, *args: str) -> PatchingResult:
    result = patch(*args, "--out", str(path))
    assert result.exit_code == 0, result.output
    return PatchingResult.load(path)


def same(found: PatchingResult, expected: PatchingResult) -> None:
    assert found.axes == expected.axes
    assert found.site == expected.site
    assert found.direction == expected.direction
    np.testing.assert_allclose(found.patched, expected.patched, rtol=0, atol=1e-5)


# ---- what is shown ----------------------------------------------------------------------------


def test_one_pair_shows_prompts_baselines_and_the_name_mover(model: HookedGPTNeo) -> None:
    result = patch(*ONE, "--site", "z")
    assert result.exit_code == 0
    assert result.stderr == ""
    assert re.search(r"denoise, 1 pair of 14 tokens, 224 cells of z, ", result.stdout)
    assert "corrupted  When Mary and John went to the store, *Mary* gave a drink" in result.stdout
    expected = sweep(model, CLEAN, CORRUPTED, logit_diff(" Mary", " John"), "z", progress=False)
    for side in ("clean", "corrupted"):
        value = getattr(expected, side)[0]
        assert re.search(rf"^{side} +{value:.3f} ", result.stdout, re.M)
    best = expected.top(1).iloc[0]
    row = rf"^ +3 +2  13 to +\+{best.effect:.3f} +{best.patched:.3f} +{best.logit_answer:.3f} "
    assert re.search(row, result.stdout, re.M), result.stdout
    assert "interval" not in result.stdout
    assert "160 cells cannot" in result.stdout


def test_several_pairs_show_their_statistics() -> None:
    result = patch("-n", "16", "--site", "z", "--positions", "all", "--top", "3")
    assert result.exit_code == 0
    assert "16 pairs of 14 tokens, 16 cells" in result.stdout
    header = r"layer +head +effect +± +95 % interval +p +logit_diff +answer +wrong"
    assert re.search(header, result.stdout)
    row = r"^ +3 +2 +\+9\.\d+ +0\.\d+ +\d\.\d+ to 1?\d\.\d+ +0\.0001 "
    assert re.search(row, result.stdout, re.M), result.stdout
    assert len(re.findall(r"^ +\d +\d +[+-]", result.stdout, re.M)) == 3


def test_without_prompts_the_organism_patches_pairs_of_its_own() -> None:
    result = patch("--site", "z", "--positions", "all", "--layers", "3")
    assert result.exit_code == 0
    assert "64 pairs of 14 tokens, 4 cells of z" in result.stdout


@pytest.mark.parametrize("columns", [120, 80, 60, 40])
@pytest.mark.parametrize("args", [("--every",), ("--site", "pattern", "--keys", "each")])
def test_no_terminal_is_overrun_and_no_number_is_cut(args: tuple[str, ...], columns: int) -> None:
    few = ("-n", "3", "--layers", "2-3", "--top", "4")
    result = patch(*args, *few, env={"COLUMNS": str(columns), "NO_COLOR": "1"})
    assert result.exit_code == 0
    assert max(map(len, result.stdout.splitlines())) <= columns
    table = result.stdout.split("logit of wrong")[-1] if columns > 60 else result.stdout
    assert not re.search(r"\d…", table)
    assert re.search(r"[+-]\d\.\d{3}\b", table)


def test_cells_that_cannot_move_are_not_listed() -> None:
    result = patch(*ONE, "--layers", "0", "--top", "50")
    assert len(re.findall(r"^ +0 +\d+ \S+ ", result.stdout, re.M)) == 1
    assert "13 cells cannot move" in result.stdout


def test_what_cannot_be_seen_in_a_token_is_made_visible() -> None:
    assert visible(" a\x1b[0m\n") == " a\\x1b[0m\\n"


def test_json_is_all_that_is_printed(out: Path) -> None:
    result = patch("-n", "4", "--site", "q", "--positions", "all", "--json", "--top", "2",
                   "--out", str(out))  # fmt: skip
    assert result.exit_code == 0
    assert result.stderr == ""
    facts = json.loads(result.stdout)
    assert (facts["model"], facts["pairs"], facts["cells"]) == ("organism", 4, 16)
    assert facts["complete"] is True
    assert set(facts["baselines"]["clean"]) == {"logit_diff", "logit_answer", "logit_wrong"}
    (found,) = facts["results"]
    assert found["axes"] == {"layer": [0, 1, 2, 3], "head": [0, 1, 2, 3]}
    assert found["file"] == str(out)
    assert len(found["top"]) == 2
    best = PatchingResult.load(out).top(1).iloc[0]
    assert found["top"][0]["effect"] == pytest.approx(best.effect)
    assert (found["top"][0]["layer"], found["top"][0]["head"]) == (best.layer, best["head"])


def test_numbers_that_one_pair_lacks_are_null() -> None:
    facts = json.loads(patch(*ONE, "--layers", "0", "--positions", "all", "--json").stdout)
    assert facts["results"][0]["top"][0]["stderr"] is None


# ---- what is measured -------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", ["json", "parquet"])
@pytest.mark.parametrize(
    ("written_as", "positions"), [("9,-1", [9, -1]), ("2:5", [slice(2, 5)]), ("all", "all")]
)
def test_file_equals_the_result_of_the_library(
    written_as: str, positions: Any, suffix: str, model: HookedGPTNeo, tmp_path: Path
) -> None:
    found = written(tmp_path / f"r.{suffix}", *ONE, "--layers=1-2", "--positions", written_as)
    metric = logit_diff(" Mary", " John")
    expected = sweep(
        model, CLEAN, CORRUPTED, metric, layers=[1, 2], positions=positions, progress=False
    )
    same(found, expected)


def test_options_reach_the_sweep(model: HookedGPTNeo, out: Path) -> None:
    found = written(
        out, "--task", "agreement", "-n", "3", "--seed", "7", "--site", "pattern", "--heads", "0,2",
        "--positions", "-1", "--keys", "each", "--direction", "noise", "--metric", "kl",
        "--metric-positions", "1:", "--batch-tokens", "64",
    )  # fmt: skip
    some = pairs("agreement", 3, seed=7)
    expected = sweep(
        model, some.clean, some.corrupted, kl(), "pattern", heads=[0, 2], positions=[-1],
        keys="each", direction="noise", metric_positions=slice(1, None), progress=False, seed=7,
    )  # fmt: skip
    same(found, expected)
    assert found.metric == "kl"
    assert found.seed == 7


def test_every_writes_two_files(model: HookedGPTNeo, out: Path) -> None:
    result = patch("-n", "2", "--every", "--layers", "3", "--out", str(out))
    assert result.exit_code == 0, result.output
    some = pairs("ioi", 2)
    metric = logit_diff(some.answer, some.wrong)
    expected = every(model, some.clean, some.corrupted, metric, layers=[3], progress=False)
    for name in ("stream", "heads"):
        path = out.with_name(f"result-{name}.json")
        same(PatchingResult.load(path), getattr(expected, name))
        assert f"wrote {path}" in result.stdout
    assert not out.exists()


def test_ablation_needs_no_corrupted_prompt(model: HookedGPTNeo, out: Path) -> None:
    args = ("--source", "zero", "--site", "z", "--positions", "all", *ANSWERS)
    found = written(out, "--clean", CLEAN, *args)
    expected = sweep(
        model, CLEAN, None, logit_diff(" Mary", " John"), "z", positions="all", source="zero",
        direction="noise", progress=False,
    )  # fmt: skip
    same(found, expected)


def test_source_is_put_into_the_clean_run_unless_told_otherwise(out: Path) -> None:
    args = ("-n", "3", "--source", "mean", "--layers", "0", "--positions", "all")
    assert written(out, *args).base_name == "clean"
    assert written(out, *args, "--direction", "denoise").base_name == "corrupted"


def test_neurons_are_units(out: Path) -> None:
    found = written(out, *ONE, "--site=post", "--layers=1", "--positions=all", "--units=0-3")
    assert [axis.name for axis in found.axes] == ["layer", "neuron"]
    assert found.shape == (1, 4)


def test_normalised_scale_runs_from_corrupted_to_clean(model: HookedGPTNeo, out: Path) -> None:
    found = written(out, *ONE, "--normalised", "--layers", "0")
    metric = normalised(logit_diff([" Mary"], [" John"]))
    same(found, sweep(model, CLEAN, CORRUPTED, metric, layers=[0], progress=False))
    assert found.clean is not None and found.clean.tolist() == pytest.approx([1.0])


@pytest.mark.parametrize("name", list(o.MetricName))
def test_every_metric_runs(name: o.MetricName) -> None:
    result = patch(*ONE, "--metric", name.value, "--layers", "3", "--positions", "-1", "--json")
    assert result.exit_code == 0, result.output
    facts = json.loads(result.stdout)
    assert facts["metric"] == name.name
    assert facts["results"][0]["top"][0]["effect"] is not None


def test_pairs_of_the_organism_are_read_from_their_file(model: HookedGPTNeo, out: Path) -> None:
    file = out.with_name("pairs.jsonl")
    drawn = ["organism", "sample", "--pairs", "--task", "facts", "--n", "5", "--out", str(file)]
    assert RUNNER.invoke(app, drawn).exit_code == 0
    found = written(out, "--pairs", str(file), "--site", "mlp_out")
    some = pairs("facts", 5)
    metric = logit_diff(some.answer, some.wrong)
    same(found, sweep(model, some.clean, some.corrupted, metric, "mlp_out", progress=False))


def test_pairs_may_be_token_ids(out: Path) -> None:
    file = out.with_name("ids.jsonl")
    row = {"clean": [1, 2, 3], "corrupted": [1, 4, 3], "answer": 5, "wrong": 6}
    file.write_text(f"{json.dumps(row)}\n\n{json.dumps(row | {'clean': [1, 5, 3]})}\n")
    found = written(out, "induction", "--pairs", str(file))
    assert found.n_pairs == 2


# ---- Ctrl-C -----------------------------------------------------------------------------------


def interrupt_after(n: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Press Ctrl-C when the sweep has told of its progress for the n-th time."""
    calls = 0

    def tell(now: object) -> None:
        nonlocal calls
        calls += 1
        if calls >= n:
            raise KeyboardInterrupt

    @contextlib.contextmanager
    def bar(*, quiet: bool) -> Iterator[Callable[[object], None]]:
        if not n:
            raise KeyboardInterrupt
        yield tell

    monkeypatch.setattr(patch_run, "_bar", bar)


@pytest.mark.parametrize("args", [(), ("--json",)])
def test_interrupt_keeps_what_is_done(
    args: tuple[str, ...], out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    interrupt_after(2, monkeypatch)
    result = patch(*ONE, "--batch-tokens", "30", "--out", str(out), *args)
    assert result.exit_code == 130
    found = PatchingResult.load(out)
    assert not found.complete
    done = int(np.isfinite(found.mean).sum())
    assert 0 < done < 56
    assert result.stderr == (
        f"interrupted; {done} of 56 patched runs are done; {out} holds what is done, the rest is "
        "NaN\n"
    )
    if args:
        assert json.loads(result.stdout)["complete"] is False
    else:
        assert f"{done} of 56 cells" in result.stdout


def test_interrupt_before_anything_is_done_writes_nothing(
    out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    interrupt_after(0, monkeypatch)
    result = patch(*ONE, "--out", str(out))
    assert result.exit_code == 130
    assert result.stdout == ""
    assert result.stderr == "interrupted before a cell was done; nothing was written\n"
    assert list(out.parent.iterdir()) == []


def test_interrupted_first_look_shows_what_there_is(monkeypatch: pytest.MonkeyPatch) -> None:
    interrupt_after(1, monkeypatch)
    result = patch(*ONE, "--every", "--batch-tokens", "14")
    assert result.exit_code == 130
    assert re.match(r"interrupted; [\d,]+ of 248 patched runs are done\n", result.stderr)
    assert "the residual stream" in result.stdout


# ---- reading options --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "found"),
    [
        (None, None),
        ("each", None),
        ("all", "all"),
        ("0,3,-1", [0, 3, -1]),
        ("0-2", [0, 1, 2]),
        ("2:5", [slice(2, 5)]),
        (":-1,7", [slice(None, -1), 7]),
        ("-3:", [slice(-3, None)]),
    ],
)
def test_positions_are_read(value: str | None, found: object) -> None:
    assert o.read_places(value, "--positions") == found


def test_other_axes_are_read() -> None:
    assert [o.read_heads(x) for x in (None, "each", "all", "1-2")] == [None, None, "all", [1, 2]]
    assert [o.read_keys(x) for x in (None, "each", "all", "1:3")] == [
        None, "each", None, [slice(1, 3)],
    ]  # fmt: skip
    assert [o.read_units(x) for x in (None, "each", "all", "4")] == [None, "each", None, [4]]
    assert [o.read_layers(x) for x in (None, "each", "-1")] == [None, None, [-1]]
    found = [o.read_metric_positions(x) for x in (None, "all", "last", "1:", "0,-1")]
    assert found == [None, "all", "last", slice(1, None), [0, -1]]
    with pytest.raises(typer.BadParameter, match="one span"):
        o.read_metric_positions("1:2,5")


@pytest.mark.parametrize(
    "args",
    [
        ("--help",),
        ("some/model",),
        ("--clean", "a"),
        ("--heads", "x"),
        ("--every", "--site", "z"),
        ("--out", "result.csv"),
    ],
    ids=" ".join,
)
def test_help_and_usage_errors_import_no_torch(args: tuple[str, ...]) -> None:
    assert imported_by(COMMAND, "patch", *args).isdisjoint(HEAVY)
