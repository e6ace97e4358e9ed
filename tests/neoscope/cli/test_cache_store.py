"""``neoscope cache --out store/``: activations of a corpus, one row a token."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from typer.testing import Result

import neoscope as ns
from neoscope.cli import app
from neoscope.cli.cache import store as cache_store
from neoscope.store import FeatureStore
from tests.neoscope.cli.exporting import RUNNER, refused


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    file = tmp_path / "corpus.csv"
    file.write_text("key,said\na,the film\nb,Mary and John went to\nc,the keys\n")
    return file


def store(corpus: Path, out: str, *args: str) -> Result:
    return RUNNER.invoke(app, ["cache", "--file", str(corpus), "--out", out, *args])


@pytest.mark.parametrize("how", ["slash", "folder", "format"])
def test_corpus_becomes_a_store_of_one_row_a_token(how: str, corpus: Path, tmp_path: Path) -> None:
    out = tmp_path / "store"
    if how == "folder":
        out.mkdir()
    ends = "/" if how == "slash" else ""
    more = ["--format", "safetensors"] if how == "format" else []
    sites = ["--sites", "z,resid_post", "--layers", "0,-1", "--text-column", "said"]
    result = store(corpus, f"{out}{ends}", *sites, *more)
    assert result.exit_code == 0, result.output
    found = FeatureStore.open(out)
    assert found.manifest["kind"] == "activations"
    assert found.features == ("z_0", "z_3", "resid_post_0", "resid_post_3")
    frame = found.to_pandas()
    model = ns.load("organism")
    tokens = model.tokenize(["the film", "Mary and John went to", "the keys"])
    assert len(frame) == sum(tokens.lengths)
    assert list(frame["key"])[: tokens.lengths[0]] == ["a"] * tokens.lengths[0]
    assert list(frame["token"][frame["key"] == "b"]) == ["Mary", "and", "John", "went", "to"]
    _, cache = model.run_with_cache("Mary and John went to", sites=["z"])
    middle = frame[(frame["key"] == "b") & (frame["token_index"] == 2)]["z_3"].item()
    np.testing.assert_allclose(middle, cache["z", 3][0, 2].flatten().numpy(), atol=1e-5)


def test_store_is_of_every_layer_of_the_stream_and_goes_on(corpus: Path, tmp_path: Path) -> None:
    out = f"{tmp_path}/store/"
    options = ["--text-column", "said", "--json"]
    done = json.loads(store(corpus, out, *options).stdout)
    features = [column["name"] for column in done["columns"] if column["feature"]]
    assert features == [f"resid_post_{layer}" for layer in range(4)]
    assert done["input_rows"] == 3
    again = json.loads(store(corpus, out, *options).stdout)
    assert (again["resumed_rows"], again["written_bytes"]) == (3, 0)


def test_store_holds_patterns_and_sites_that_are_off(corpus: Path, tmp_path: Path) -> None:
    options = ["--sites", "pattern,result", "--layers", "1", "--text-column", "said"]
    assert store(corpus, f"{tmp_path}/store/", *options).exit_code == 0
    frame = FeatureStore.open(tmp_path / "store").to_pandas()
    n = int((frame["key"] == "a").sum())
    assert frame["pattern_1"][n - 1].shape == (4 * n,)
    assert frame["result_1"][0].shape == (4 * 128,)


def test_store_keeps_float16_weights_in_float16(corpus: Path, tmp_path: Path) -> None:
    for dtype, kept in (("float16", torch.float16), ("bfloat16", torch.float32)):
        options = ["--text-column", "said", "--dtype", dtype, "--layers", "0"]
        assert store(corpus, f"{tmp_path}/{dtype}/", *options).exit_code == 0
        array = FeatureStore.open(tmp_path / dtype).to_numpy("resid_post_0")
        assert torch.from_numpy(array).dtype == kept


def test_long_text_of_a_store_is_refused_or_cut_as_asked(tmp_path: Path) -> None:
    file = tmp_path / "long.txt"
    file.write_text("the keys\n" + "keys" + " keys" * 199 + "\n")
    result = store(file, f"{tmp_path}/refused/")
    refused(result, r"row 1 \(id 1\): the text has 200 tokens, more than 128; --truncate cuts it$")
    result = store(file, f"{tmp_path}/cut/", "--truncate")
    assert (result.exit_code, result.stderr) == (0, "")
    assert "1 text cut on the right (72 tokens)" in result.stdout


@pytest.mark.parametrize(
    ("args", "message", "code"),
    [
        (["--out", "store/"], "a store of activations is made of a corpus: give --file", 2),
        (["--format", "npy", "--text", "hello"], "--text is for one file of activations", 2),
        (["--file", "a.txt", "--out", "s/", "--positions", "0"], "--positions is for one file", 2),
        (["--file", "a.txt", "--text-column", "a"], "--text-column is for a store", 2),
        (["--file", "a.txt", "--out", "s/"], "there is no file 'a.txt'$", 1),
        (["--file", ".", "--out", "s/"], "the folder . holds no .parquet files", 1),
    ],
)
def test_store_that_cannot_be_is_refused_before_loading(
    args: list[str], message: str, code: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cache_store, "load_model", None)
    monkeypatch.chdir(tmp_path)
    refused(RUNNER.invoke(app, ["cache", *args]), message, code)
    assert list(tmp_path.iterdir()) == []


def test_bad_row_of_a_store_is_named_without_options_it_lacks(tmp_path: Path) -> None:
    file = tmp_path / "rows.jsonl"
    file.write_text('{"text": "the keys"}\n{"text": 5}\n')
    refused(store(file, f"{tmp_path}/s/"), r"row 1 \(id 1\): the text is int, not a string: 5$")
