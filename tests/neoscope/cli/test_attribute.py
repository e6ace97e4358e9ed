"""``neoscope attribute`` shows, prints and writes what the library measures."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner, Result

import neoscope as ns
from neoscope import analysis
from neoscope.cli import app
from tests.neoscope.test_start_up import COMMAND, HEAVY, imported_by

RUNNER = CliRunner()
TEXT = "When Mary and John went to the store, John gave a drink to"


@pytest.fixture(scope="module")
def model() -> ns.HookedGPTNeo:
    return ns.load("organism")


def attribute(*args: str, **options: Any) -> Result:
    result = RUNNER.invoke(app, ["attribute", *args], **options)
    assert isinstance(result.exception, SystemExit | None), result.exception
    return result


def facts(*args: str) -> dict[str, Any]:
    result = attribute(*args, "--json")
    assert result.exit_code == 0, result.output
    found: dict[str, Any] = json.loads(result.stdout)
    return found


def test_without_options_it_explains_the_organisms_own_sentence(model: ns.HookedGPTNeo) -> None:
    result = attribute("organism", env={"COLUMNS": "80"})
    assert result.exit_code == 0
    assert result.stderr == ""
    assert TEXT in result.stdout
    assert "logit of ' Mary' - ' John': 7.524" in result.stdout
    _, cache = model.run_with_cache(TEXT)
    found = analysis.direct_logit_attribution(cache, " Mary", " John")
    for row in found.top(15).itertuples():
        line = rf"^{row.component} +{re.escape(f'{row.attribution:+.3f}')}"
        assert re.search(line, result.stdout, re.M), result.stdout
    assert re.search(r"all to 7\.524, \de-0\d from the model's\s+logit", result.stdout)
    assert max(map(len, result.stdout.splitlines())) <= 80


@pytest.mark.parametrize("by", ["component", "layer", "head", "mlp", "neuron", "source"])
def test_json_holds_what_the_library_says(by: str, model: ns.HookedGPTNeo) -> None:
    said = facts("--by", by, "--top", "5", "--position", "8", "--answer", " Mary")
    _, cache = model.run_with_cache(TEXT)
    found = analysis.direct_logit_attribution(cache, " Mary", by=by, position=8)
    assert (said["by"], said["components"], said["position"]) == (by, len(found.kind), 8)
    assert said["wrong"] is None
    assert said["logit"] == pytest.approx(float(found.logit[0]), abs=1e-5)
    assert abs(said["residual"]) < 1e-4
    top = found.top(5)
    assert [row["component"] for row in said["top"]] == top.component.tolist()
    np.testing.assert_allclose(
        [row["attribution"] for row in said["top"]], top.attribution, rtol=0, atol=1e-5
    )


@pytest.mark.parametrize(
    "method", ["integrated-gradients", "gradient-x-input", "saliency", "occlusion"]
)
def test_input_tokens_are_judged(method: str, model: ns.HookedGPTNeo) -> None:
    plain = [] if method == "saliency" else ["--baseline", "zero"]
    said = facts("--input", method, *plain, "--top", "3")
    found = analysis.input_attribution(
        model, TEXT, " Mary", " John", method=method.replace("-", "_"), baseline="zero"
    )
    assert [row["token"] for row in said["top"]] == found.top(3).token.tolist()
    assert said["method"] == method.replace("-", "_")
    shown = attribute("--input", method, env={"COLUMNS": "80"})
    assert shown.exit_code == 0
    assert "   1 ' Mary'" in shown.stdout
    words = "length of the logit's gradient" if method == "saliency" else "against 'mean'"
    assert words in shown.stdout


def test_the_answer_is_the_likeliest_token_unless_given(model: ns.HookedGPTNeo) -> None:
    said = facts("--text", "The keys to the cabinet")
    best = int(model("The keys to the cabinet")[0, -1].argmax())
    assert said["answer"] == model.to_string([best])
    assert said["wrong"] is None
    said = facts("--text", "The keys to the cabinet", "--input", "saliency", "--position", "1")
    best = int(model("The keys to the cabinet")[0, 1].argmax())
    assert said["answer"] == model.to_string([best])


@pytest.mark.parametrize("name", ["a.json", "a.safetensors"])
def test_everything_is_written(name: str, tmp_path: Path) -> None:
    path = tmp_path / name
    result = attribute("--by", "neuron", "--top", "2", "--out", str(path))
    assert result.exit_code == 0
    assert "neoscope.analysis.load" in result.stdout
    found = analysis.load(path)
    assert isinstance(found, analysis.Attribution)
    assert len(found.kind) == 4 * 512 + 9


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (["induction"], "give a text"),
        (["--by", "hed"], "'hed' is not one of"),
        (["--by", "head", "--input", "saliency"], "--input judges its tokens"),
        (["--steps", "5"], "are for --input"),
        (["--input", "saliency", "--baseline", "zero"], "compares with no --baseline"),
        (["--input", "occlusion", "--steps", "5"], "--steps is for"),
        (["--out", "a.csv"], "ends in neither .json nor .safetensors"),
        (["--top", "0"], "--top"),
        (["--text", "A", "--text", "B"], "--text is given 2 times"),
    ],
)
def test_wrong_usage_is_told(args: list[str], said: str) -> None:
    result = attribute(*args, env={"COLUMNS": "200"})
    assert result.exit_code == 2
    assert said in result.stderr


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (["--answer", "xyzzy"], "--answer 'xyzzy' is 6 tokens"),
        (["--answer", " Mary", "--wrong", " Mary"], "the same token"),
        (["--position", "99"], "99 is out of range"),
        (["--text", "The keys", "--position", "-9"], "-9 is out of range; the text has 2 tokens"),
        (["--text", ""], "beginning-of-text token: --prepend-bos\n"),
        (["--text", "The keys " * 100], "the model's context is 128; --truncate keeps the first"),
        (["--input", "occlusion", "--baseline", "average"], "--baseline 'average'"),
    ],
)
def test_errors_are_one_line(args: list[str], said: str) -> None:
    result = attribute(*args)
    assert result.exit_code == (1 if re.search("same token|-bos|--truncate", said) else 2)
    assert said in result.stderr
    assert len(result.stderr.splitlines()) == 1


@pytest.mark.parametrize("args", [("--help",), ("--by", "hed"), ("induction",), ("--steps", "5")])
def test_help_and_wrong_usage_import_no_torch(args: tuple[str, ...]) -> None:
    assert imported_by(COMMAND, "attribute", *args).isdisjoint(HEAVY)


def test_a_long_text_is_cut_where_asked() -> None:
    long = ("--text", "The keys " * 100, "--truncate", "--answer", " Mary", "--position", "-1")
    assert facts(*long)["position"] == 127
    assert facts(*long, "--input", "saliency")["position"] == 127


def test_components_that_add_nothing_are_counted() -> None:
    text = ("--text", "<|endoftext|> hugo plays", "--answer", "flute")
    shown = attribute("facts", *text, env={"COLUMNS": "80"})
    assert shown.exit_code == 0, shown.output
    assert "+0.000" not in shown.stdout
    assert re.search(r"the 20 others\s+0", shown.stdout)
    nothing = attribute("facts", *text, "--position", "0", env={"COLUMNS": "80"})
    assert "no component adds anything" in nothing.stdout
