"""How neoscope was meant to read in a user's hands: each snippet runs as it was written.

``tests/usage/USAGE.md`` was written before the library. What a snippet takes for granted (texts,
labels, a direction, a hook) is handed to it; ``metric=...`` stands for any metric.
"""

from __future__ import annotations

import doctest
import json
import re
import shlex
import shutil
import subprocess
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import plotly.graph_objects as go
import pytest
import torch
from typer.testing import CliRunner, Result

import neoscope as ns
from neoscope.cli import app
from tests.neoscope.folders import write_checkpoint

PAGE = Path(__file__).parent / "usage" / "USAGE.md"
TEXT = PAGE.read_text(encoding="utf-8")
STAND_IN = "EleutherAI/gpt-neo-125m"
Names = dict[str, Any]


def block(heading: str, kind: str = "python", number: int = 0) -> str:
    """Return a snippet of the section with a heading."""
    section = TEXT.split(f"\n## {heading}\n")[1].split("\n## ")[0]
    return re.findall(rf"```{kind}\n(.*?)```", section, re.DOTALL)[number]


def commands(heading: str) -> list[str]:
    """Return the shell's lines of a section, continued lines joined."""
    joined = block(heading, "console").replace("\\\n", " ")
    return [line.removeprefix("$ ") for line in joined.splitlines()]


def command(heading: str, name: str) -> list[str]:
    """Return the arguments of a command of a section."""
    lines = [shlex.split(line, comments=True) for line in commands(heading)]
    return next(line[1:] for line in lines if line[:2] == ["neoscope", name])


def run(heading: str, **given: Any) -> Names:
    """Run the Python of a section; an expression's value is dropped, as in a script."""
    names = {"ns": ns, **given}
    exec(compile(block(heading), f"{PAGE.name}: {heading}", "exec"), names)
    return names


def in_shell(*args: str) -> Result:
    return CliRunner().invoke(app, list(args), env={"COLUMNS": "100"})


@pytest.fixture(scope="module")
def model() -> ns.HookedGPTNeo:
    return ns.load("organism")


@pytest.fixture(scope="module")
def reviews() -> tuple[list[str], list[str]]:
    """Texts and labels."""
    some = ns.organism.sentences("sentiment", 120)
    return [one.prompt for one in some], [one.attributes["sentiment"] for one in some]


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A hub's cache in which the organism has the 125M's name."""
    home = tmp_path_factory.mktemp("home")
    shutil.copytree(ns.organism.path(), snapshot(home))
    return home / "hub"


def snapshot(home: Path) -> Path:
    """Return the folder that a download would have filled."""
    cache = home / "hub"
    folder = cache / f"models--{STAND_IN.replace('/', '--')}"
    (folder / "refs").mkdir(parents=True)
    (folder / "refs" / "main").write_text("a" * 40)
    return folder / "snapshots" / ("a" * 40)


@pytest.fixture(autouse=True)
def place(hub: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Work in an empty folder, with that cache and no network."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(hub))
    monkeypatch.chdir(tmp_path)
    with warnings.catch_warnings():
        # The organism knows few words, and is asked about others.
        warnings.simplefilter("ignore", ns.UnseenWordWarning)
        yield tmp_path


def test_look_inside(place: Path) -> None:
    names = run("Look inside")
    cache, config = names["cache"], names["model"].config
    assert isinstance(cache, ns.ActivationCache)
    assert cache["resid_post", 3].shape == (1, 14, config.d_model)
    assert cache.stack("resid_post").shape[0] == config.n_layers
    assert (place / "run.safetensors").is_file()


def test_change_something(
    model: ns.HookedGPTNeo, place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    seen: list[str] = []

    def my_hook(pattern: torch.Tensor, hook: Any) -> None:
        seen.append(hook.name)

    text = "The film was"
    run(
        "Change something", model=model, text=text, tokens=model.to_tokens(text), my_hook=my_hook,
        direction=torch.randn(model.config.d_model, generator=torch.Generator().manual_seed(0)),
    )  # fmt: skip
    assert capsys.readouterr().out.startswith(text)
    assert seen == ["blocks.1.attn.hook_pattern"]


def test_patch(model: ns.HookedGPTNeo) -> None:
    source = block("Patch").replace("metric=...,", "metric=metric,")
    assert source != block("Patch")
    pairs = ns.organism.pairs("ioi", n=64)
    metric = ns.patching.logit_diff(pairs.answer, pairs.wrong)
    names: Names = {"ns": ns, "model": model, "metric": metric}
    exec(compile(source, "Patch", "exec"), names)
    assert names["result"].mean.shape == (model.config.n_layers, model.config.n_heads)
    assert isinstance(ns.views.patching(names["result"]), go.Figure)


def test_features_for_a_classifier(reviews: tuple[list[str], list[str]]) -> None:
    texts, labels = reviews
    names = run(
        "Features for a classifier", train_texts=texts[:80], train_labels=labels[:80],
        test_texts=texts[80:], test_labels=labels[80:],
    )  # fmt: skip
    assert names["clf"].score(texts[80:], labels[80:]) > 0.5


def test_features_of_a_file_in_a_shell(
    reviews: tuple[list[str], list[str]], place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Layer 12 needs a model of more layers than the 125M has; the next test tells why."""
    kinds = [[["global", "local"], 6], [["global"], 1]]
    folder = snapshot(place / "home")
    write_checkpoint(folder, num_layers=13, max_position_embeddings=80, attention_types=kinds)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(place / "home" / "hub"))
    pd.DataFrame({"text": reviews[0][:20]}).to_parquet("reviews.parquet")
    first, second = commands("Features for a classifier")
    assert second.startswith("python -c")
    done = in_shell(*shlex.split(first)[1:])
    assert done.exit_code == 0, done.output
    # As written, in a shell: the pattern is polars' to expand, and not the shell's.
    shown = subprocess.run(
        second.replace("python", sys.executable, 1), shell=True, capture_output=True, text=True,
        check=True,
    )  # fmt: skip
    assert "shape: (20," in shown.stdout
    columns = pd.read_parquet(next((place / "features").glob("*.parquet"))).columns
    assert {f"resid_post_{n}_{pool}" for n in (4, 8, 12) for pool in ("mean", "last")} < set(
        columns
    )


def test_layer_numbers_past_the_last_are_translated(
    reviews: tuple[list[str], list[str]], place: Path
) -> None:
    """``--layers 4,8,12`` counts twelve layers from 1; neoscope counts from 0 everywhere."""
    pd.DataFrame({"text": reviews[0][:2]}).to_parquet("reviews.parquet")
    write_checkpoint(place / "twelve", num_layers=12, attention_types=[[["global", "local"], 6]])
    arguments = command("Features for a classifier", "export")
    done = in_shell(*(str(place / "twelve") if one == STAND_IN else one for one in arguments))
    assert done.exit_code != 0
    assert "layer 12" in done.stderr
    assert "11" in done.stderr


def test_probe(model: ns.HookedGPTNeo, reviews: tuple[list[str], list[str]], place: Path) -> None:
    texts, labels = (one[:32] for one in reviews)
    names = run(
        "Probe", model=model, texts=texts, labels=labels,
        document_ids=[number // 2 for number in range(len(texts))],
    )  # fmt: skip
    table = names["sweep"].to_dataframe()
    assert list(table["layer"].dropna()) == [0, 1, 2, 3]
    assert {"accuracy", "selectivity", "compression"} <= set(table.columns)
    assert not list(place.rglob("*.pkl"))
    assert json.loads(next((place / "probe").glob("*.json")).read_text(encoding="utf-8"))


def test_explore(model: ns.HookedGPTNeo) -> None:
    assert run("Explore, report, show", model=model)["model"] is model


def test_verify_in_a_shell(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a model of two narrow layers: each of the checks runs it once."""
    write_checkpoint(snapshot(place / "home"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(place / "home" / "hub"))
    done = in_shell(*command("Explore, report, show", "verify"))
    assert done.exit_code == 0, done.output
    assert STAND_IN in done.stdout


@pytest.mark.slow
def test_report_in_a_shell(place: Path) -> None:
    done = in_shell(*command("Explore, report, show", "report"))
    assert done.exit_code == 0, done.output
    assert (place / "report.html").stat().st_size > 1_000_000


def test_eval_in_a_shell_says_what_data_it_lacks_without_a_network() -> None:
    """The suite's questions are the network's: what can be shown here is how it says so."""
    done = in_shell(*command("Explore, report, show", "eval"))
    assert done.exit_code == 1
    assert done.stderr.count("\n") == 1
    assert done.stderr.startswith("error: ")
    assert "neither here nor within reach" in done.stderr


def test_the_model_cards_own_example() -> None:
    source = block("The model card's own example")
    torch.manual_seed(0)
    test = doctest.DocTestParser().get_doctest(source, {"ns": ns}, "card", PAGE.name, 0)
    runner = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS | doctest.REPORT_NDIFF)
    runner.run(test)
    assert (runner.tries, runner.failures) == (2, 0)


def test_every_snippet_is_run() -> None:
    """The demonstration, the one line that is left out, is run by the demonstration's tests."""
    headings = re.findall(r"^## (.*)$", TEXT, re.MULTILINE)
    assert headings == [
        "Look inside", "Change something", "Patch", "Features for a classifier", "Probe",
        "Explore, report, show", "The model card's own example",
    ]  # fmt: skip
    assert TEXT.count("```") // 2 == 9
    assert [line.split()[1] for line in commands("Explore, report, show")] == [
        "demo", "verify", "report", "eval",
    ]  # fmt: skip
