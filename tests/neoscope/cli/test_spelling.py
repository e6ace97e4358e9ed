"""An option has one name in all commands, and its words can be spelled with either dash."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from neoscope.cli import app
from neoscope.cli.spelling import hyphened, spelled, underscored, word_of
from tests.neoscope.cli.exporting import refused

RUNNER = CliRunner()
COMMANDS: Any = typer.main.get_command(app)


def names(command: str) -> dict[str, list[str]]:
    found = COMMANDS
    for word in command.split():
        found = found.commands[word]
    return {name: one.opts for one in found.params for name in one.opts}


class Pool(StrEnum):
    """Words of both kinds."""

    weighted_mean = "weighted_mean"
    mass_mean = "mass-mean"


@pytest.mark.parametrize("written", ["mass_mean", "mass-mean", " mass-mean", Pool.mass_mean])
def test_word_is_read_in_either_spelling(written: str) -> None:
    assert word_of(Pool)(written) is Pool.mass_mean
    assert word_of(Pool)("weighted-mean") is Pool.weighted_mean


def test_wrong_word_names_the_nearest() -> None:
    with pytest.raises(typer.BadParameter) as caught:
        word_of(Pool)("mass-men")
    assert str(caught.value) == (
        "'mass-men' is not one of 'weighted_mean', 'mass-mean'; did you mean 'mass-mean'?"
    )


def test_names_of_the_library_and_of_tasks_are_turned() -> None:
    assert (underscored("resid-post"), hyphened("far_induction")) == ("resid_post", "far-induction")
    assert underscored(None) is None is hyphened(None)
    assert spelled("meen", ["mean"]) == "meen"


@pytest.mark.parametrize("command", ["cache", "export", "probe train"])
def test_several_sites_have_the_plural_first(command: str) -> None:
    assert names(command)["--site"] == ["--sites", "--site"]
    assert names(command)["--layer"] == ["--layers", "--layer"]


@pytest.mark.parametrize("command", ["lens", "patch", "neurons"])
def test_one_site_has_the_singular_first(command: str) -> None:
    assert names(command)["--sites"] == ["--site", "--sites"]
    assert {"--layer", "--layers"} <= names(command).keys()


@pytest.mark.parametrize(
    "command", ["cache", "heads", "neurons", "probe train", "probe apply", "eval"]
)
def test_file_of_texts_has_both_names(command: str) -> None:
    assert set(names(command)["--file"]) == {"--file", "--data"} == set(names(command)["--data"])


def test_counts_have_the_names_that_python_gives_them() -> None:
    assert names("run")["--n"] == names("run")["--num-return-sequences"]
    for command in ("lens", "neurons"):
        assert names(command)["--top"] == names(command)["--k"] == names(command)["-k"]


@pytest.mark.parametrize(
    ("args", "message"),
    [
        ("attribute --input integrated_gradient", "did you mean 'integrated-gradients'?"),
        ("patch --metric logit_dif", "did you mean 'logit-diff'?"),
        ("neurons --unit 1 --truncation strid", "did you mean 'stride'?"),
        ("cache --dtype flot16", "did you mean 'float16'?"),
    ],
)
def test_wrong_word_is_told_with_its_option(args: str, message: str) -> None:
    result = RUNNER.invoke(app, args.split(), env={"COLUMNS": "300"})
    refused(result, f"Invalid value for '{args.split()[-2]}': '", code=2)
    assert message in result.stderr
    assert "Value error" not in result.stderr


def test_underscored_method_and_hyphened_site_run(tmp_path: Path) -> None:
    method = ["attribute", "--input", "integrated_gradients", "--steps", "2", "--json"]
    assert RUNNER.invoke(app, method).exit_code == 0
    out = tmp_path / "run.safetensors"
    cached = RUNNER.invoke(app, ["cache", "--site", "attn-out", "--layer", "0", "--out", str(out)])
    assert cached.exit_code == 0, cached.output
    assert out.exists()


def test_debug_is_in_the_help() -> None:
    assert "After any command too: --debug" in RUNNER.invoke(app, ["--help"]).stdout
