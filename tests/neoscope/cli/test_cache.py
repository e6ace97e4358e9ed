"""``neoscope cache`` keeps what it was asked for, and says what it cannot do before it does it."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import Any

import pytest
import torch
import typer
from typer.testing import CliRunner, Result

from neoscope.cache import ActivationCache
from neoscope.cli import app
from neoscope.cli.cache import command
from neoscope.cli.cache.look import _show
from neoscope.cli.options import split_ints
from neoscope.model import HookedGPTNeo
from neoscope.organism.language.tasks import fact
from tests.neoscope.cli.exporting import refused
from tests.neoscope.folders import BOS, write_checkpoint

RUNNER = CliRunner()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_checkpoint(tmp_path_factory.mktemp("tiny"))


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "run.safetensors"


def cache(out: Path, *args: str, **options: Any) -> Result:
    return RUNNER.invoke(app, ["cache", *args, "--out", str(out)], **options)


# ---- ordinary use ----------------------------------------------------------------------------


def test_default_shows_what_the_organism_expects_and_writes_a_cache(out: Path) -> None:
    result = cache(out)
    assert result.exit_code == 0
    expected = dict(re.findall(r"^after (.*)\n +the model expects: (\w+) ", result.stdout, re.M))
    found = {text.split()[-1]: word for text, word in expected.items()}
    assert found.pop("cabinet") in ("are", "were", "have")
    assert found == {
        "to": "Mary",
        "I": "hated",
        "the": fact("Captain Harlan", "instrument"),
        "tired": "clarinet",
    }
    assert re.search(r"0 +0 +[01]\.\d\d +drink \(token 12, after a\)", result.stdout)
    assert result.stderr.startswith("5 texts, 40 tokens, ")
    assert ActivationCache.load(out)["pattern", 3].shape == (5, 4, 14, 14)


def test_cache_equals_that_of_the_library(folder: Path, out: Path) -> None:
    result = cache(out, str(folder), "--text", "hello there", "--text", "the fox")
    assert result.exit_code == 0
    model = HookedGPTNeo.from_pretrained(folder).requires_grad_(False)
    _, expected = model.run_with_cache(["hello there", "the fox"])
    kept = ActivationCache.load(out)
    assert kept.tokens is not None
    assert kept.tokens.texts == ("hello there", "the fox")
    assert set(kept) == set(expected)
    last = kept.last("resid_post", 1)
    torch.testing.assert_close(last, expected.last("resid_post", 1))


def test_json_is_all_that_is_printed(folder: Path, out: Path) -> None:
    result = cache(out, str(folder), "--text", "hello there", "--sites", "z,pattern", "--json")
    assert result.exit_code == 0
    assert result.stderr == ""
    facts = json.loads(result.stdout)
    assert facts["file"] == str(out)
    assert facts["file_bytes"] == out.stat().st_size
    assert (facts["texts"], facts["tokens"], facts["truncated"], facts["added"]) == (1, 2, 0, [])
    assert facts["tensors"]["blocks.1.attn.hook_z"] == {
        "axes": ["batch", "pos", "head", "d_head"],
        "shape": [1, 2, 2, 4],
    }
    assert len(facts["tensors"]) == 4


@pytest.mark.parametrize(
    ("options", "names"),
    [
        (["--sites", "z"], ["blocks.0.attn.hook_z", "blocks.1.attn.hook_z"]),
        (["--sites", "z", "--layers", "-1"], ["blocks.1.attn.hook_z"]),
        (["--sites", " z , embed,", "--layers=0"], ["hook_embed", "blocks.0.attn.hook_z"]),
        (["--sites", "z", "--layers", "0-1"], ["blocks.0.attn.hook_z", "blocks.1.attn.hook_z"]),
        (["--sites", "blocks.1.attn.hook_pattern"], ["blocks.1.attn.hook_pattern"]),
    ],
)
def test_sites_and_layers_select(
    options: list[str], names: list[str], folder: Path, out: Path
) -> None:
    result = cache(out, str(folder), "--text", "hello there", *options)
    assert result.exit_code == 0, result.output
    assert sorted(ActivationCache.load(out)) == sorted(names)


def test_positions_count_the_tokens_of_each_text(folder: Path, out: Path) -> None:
    texts = ["--text", "the fox", "--text", "the quick brown fox"]
    assert cache(out, str(folder), *texts, "--positions", "0,-1", "--sites", "z").exit_code == 0
    kept = ActivationCache.load(out)
    model = HookedGPTNeo.from_pretrained(folder).requires_grad_(False)
    for row, text in enumerate(texts[1::2]):
        _, alone = model.run_with_cache(text, sites="z")
        torch.testing.assert_close(kept["z", 1][row], alone["z", 1][0][[0, -1]])


def test_look_at_heads_needs_the_last_token(out: Path) -> None:
    assert "where heads look" not in cache(out, "--positions", "0").stdout
    assert "where heads look" in cache(out, "--positions", "0,-1").stdout


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
def test_dtype_is_kept(dtype: str, folder: Path, out: Path) -> None:
    result = cache(out, str(folder), "--text", "hello", "--dtype", dtype, "--sites", "resid_post")
    assert result.exit_code == 0
    assert ActivationCache.load(out)["resid_post", 0].dtype == getattr(torch, dtype)


def test_bos_and_truncation_are_told(folder: Path, out: Path) -> None:
    result = cache(out, str(folder), "--text", "the " * 30, "--truncate", "--prepend-bos")
    assert result.exit_code == 0
    assert f"put before each text: {BOS}" in result.stdout
    tokens = ActivationCache.load(out).tokens
    assert tokens is not None
    assert tokens.lengths == [16]
    assert f"cut off as asked: {tokens.truncated[0]} tokens" in result.stdout
    assert tokens.strings[0][0] == BOS


def test_file_that_is_no_cache_is_left_alone(folder: Path) -> None:
    weights = folder / "model.safetensors"
    before = weights.read_bytes()
    result = cache(weights, str(folder), "--text", "hello")
    assert result.exit_code == 1
    assert "is there already" in result.stderr
    assert weights.read_bytes() == before


def test_optional_site_is_switched_on_when_named(out: Path) -> None:
    assert cache(out, "--sites", "result,mlp_in").exit_code == 0
    assert ActivationCache.load(out)["result", 3].shape == (5, 14, 4, 128)


def test_existing_cache_is_replaced(folder: Path, out: Path) -> None:
    assert cache(out, str(folder), "--text", "hello", "--sites", "z").exit_code == 0
    assert cache(out, str(folder), "--text", "hello").exit_code == 0
    assert len(ActivationCache.load(out)) == 38
    assert [path.name for path in out.parent.iterdir()] == [out.name]


# ---- text ------------------------------------------------------------------------------------


def test_lines_of_a_file_are_texts(folder: Path, out: Path, tmp_path: Path) -> None:
    file = tmp_path / "texts.txt"
    # A byte order mark, a Windows line end, blank lines, and a form feed inside of a line.
    file.write_bytes("\ufeffhello there\r\n\n   \nthe\x0cfox é\n".encode())
    result = cache(out, str(folder), "--file", str(file), "--text", "first")
    assert result.exit_code == 0
    tokens = ActivationCache.load(out).tokens
    assert tokens is not None
    assert tokens.texts == ("first", "hello there", "the\x0cfox é")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, r"cannot read .*texts\.txt: No such file or directory"),
        (b"", r"texts\.txt holds no text: every line is blank"),
        (b"\n  \n", r"texts\.txt holds no text: every line is blank"),
        (b"a\n\x89PNG\r\n\x1a\n", r"cannot read .*it is no UTF-8 text \(byte 2 is 0x89\)"),
        (b"the\n" + b"the " * 5000, r"text 1 \('the the .*'\) has \d+ tokens.*--truncate"),
    ],
)
def test_bad_file_is_refused(
    content: bytes | None, message: str, folder: Path, out: Path, tmp_path: Path
) -> None:
    file = tmp_path / "texts.txt"
    if content is not None:
        file.write_bytes(content)
    # A file that is not there is named wrongly; one that cannot be used is no fault of the command.
    code = 2 if content is None else 1
    refused(cache(out, str(folder), "--file", str(file)), message, code)
    assert not out.exists()


def test_blank_file_is_refused_beside_a_text(folder: Path, out: Path, tmp_path: Path) -> None:
    (tmp_path / "texts.txt").touch()
    file = str(tmp_path / "texts.txt")
    refused(cache(out, str(folder), "--text", "hello", "--file", file), "every line is blank")


def test_a_folder_is_no_text_file(folder: Path, out: Path) -> None:
    refused(cache(out, str(folder), "--file", str(folder)), "cannot read .*: Is a directory")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "text 0 is empty: ''.*--prepend-bos"),
        ("the " * 30, r"text 0 \('the the.*has \d+ tokens, but the model's context is 16.*--trunc"),
        ("a\udcff", "text 0 is not valid Unicode"),
    ],
)
def test_bad_text_is_refused(text: str, message: str, folder: Path, out: Path) -> None:
    refused(cache(out, str(folder), "--text", text), message)


def test_model_without_text_is_wrong_usage(folder: Path, out: Path) -> None:
    refused(cache(out, str(folder)), "give --text or --file: only 'organism'", code=2)


def test_model_without_tokenizer_says_what_was_looked_for(out: Path, tmp_path: Path) -> None:
    model = write_checkpoint(tmp_path / "bare", tokenizer=False)
    refused(cache(out, str(model), "--text", "hello"), r"has no tokenizer: none of tokenizer\.json")


@pytest.mark.parametrize(
    "text", ["[red]x[/red] [/]", "<script>x", r"\[b] [link=x]", "{a} %s", "[/red]"]
)
def test_markup_in_a_text_is_shown_as_it_is(text: str, folder: Path, out: Path) -> None:
    result = cache(out, str(folder), "--text", text, "--truncate", env={"COLUMNS": "400"})
    assert result.exit_code == 0, result.output
    shown = next(line for line in result.stdout.splitlines() if line.startswith("after "))
    letters = text.replace(" ", "")[-5:]
    assert letters in shown.replace(" ", "").replace("·", "")


def test_control_characters_of_a_text_do_not_reach_the_terminal(folder: Path, out: Path) -> None:
    result = cache(out, str(folder), "--text", "a\x1b[31mb\x07\x00\u202ec")
    assert result.exit_code == 0
    assert not {"\x1b", "\x07", "\x00", "\u202e"} & set(result.stdout)


@pytest.mark.parametrize(
    ("token", "shown"),
    [
        (" the", "the"),
        ("  the", "··the"),
        ("the ", "the·"),
        ("a b", "a b"),
        ("\n", "⏎"),
        ("\t", "⇥"),
        ("\x1b[0m", "\\x1b[0m"),
        ("\u202e", "\\u202e"),
        ("e\u0301", "e\u0301"),
        ("", "∅"),
        ("  ", "··"),
    ],
)
def test_tokens_are_shown_so_that_one_can_see_them(token: str, shown: str) -> None:
    assert _show(token) == shown


@pytest.mark.parametrize("columns", [60, 30])
def test_narrow_terminal_is_not_overrun(columns: int, folder: Path, out: Path) -> None:
    environment = {"COLUMNS": str(columns), "NO_COLOR": "1"}
    result = cache(out, str(folder), "--text", "the quick brown fox", env=environment)
    assert result.exit_code == 0
    lines = [line for line in result.stdout.splitlines() if not line.startswith("wrote ")]
    assert max(map(len, lines)) <= columns
    assert "\x1b" not in result.stdout


# ---- selections ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "numbers"),
    [
        ("0", [0]),
        ("0,3,-1", [0, 3, -1]),
        (" 1 , 2 ,", [1, 2]),
        ("0-3", [0, 1, 2, 3]),
        ("5-5,-2", [5, -2]),
    ],
)
def test_numbers_and_ranges_are_read(value: str, numbers: list[int]) -> None:
    assert split_ints(value, "--layers") == numbers


@pytest.mark.parametrize(
    "value", ["x", "1.5", "0-", "-", "--1", "-3--1", "-3-5", "3-1", "0-99999999", "1-2-3", "", ","]
)
def test_other_numbers_are_wrong_usage(value: str, out: Path) -> None:
    with pytest.raises(typer.BadParameter, match="--layers"):
        split_ints(value, "--layers")
    refused(cache(out, f"--layers={value}"), "--layers", code=2)


@pytest.mark.parametrize(
    ("options", "message", "code"),
    [
        (["--sites", "patern"], "no site is called 'patern'; did you mean 'pattern'", 2),
        (["--sites", ","], "--sites names nothing", 2),
        (["--layers", "4"], "layer 4 does not exist; the model has layers 0 to 3", 2),
        (["--positions", "99"], "99 is out of range in row 0, which has 14 tokens", 2),
        (["--positions", "0-"], "'0-' is no whole number or range", 2),
        (["--dtype", "int8"], "'int8' is not one of 'float32'", 2),
        (["--device", "abacus"], "'abacus' is no device", 2),
        (["--device", "meta"], "--device 'meta': torch cannot use it here", 2),
        (["--revision", "main"], "has no revision 'main'", 1),
    ],
)
def test_bad_option_is_refused(options: list[str], message: str, code: int, out: Path) -> None:
    refused(cache(out, *options), message, code)
    assert not out.exists()


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_cuda_without_a_device_is_refused(out: Path) -> None:
    refused(cache(out, "--device", "cuda"), "torch finds no CUDA device; use cpu", 2)


def test_unknown_model_is_refused(out: Path) -> None:
    refused(cache(out, "no-such/model", "--text", "a"), "^error: 'no-such/model': ")


# ---- the file --------------------------------------------------------------------------------


def before_loading(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fail if a model is loaded."""
    monkeypatch.setattr(command, "load_model", None)


def test_missing_folder_is_refused_before_loading(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before_loading(monkeypatch)
    refused(cache(tmp_path / "no" / "run.safetensors"), "the folder .*no does not exist")


def test_folder_as_target_is_refused_before_loading(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before_loading(monkeypatch)
    refused(cache(tmp_path), "it is a folder; name a file")
    monkeypatch.setenv("HOME", str(tmp_path))
    refused(cache(Path("~")), "it is a folder; name a file")


def test_device_is_not_replaced_by_a_file(monkeypatch: pytest.MonkeyPatch) -> None:
    before_loading(monkeypatch)
    refused(cache(Path(os.devnull)), "it is no ordinary file")


def test_read_only_folder_is_refused_before_loading(
    out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before_loading(monkeypatch)
    # Root may write anywhere, so that the permission itself cannot be taken away here.
    monkeypatch.setattr(os, "access", lambda *args: False)
    refused(cache(out), "no permission to write in")


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may do anything")
def test_read_only_folder_is_refused(out: Path) -> None:
    out.parent.chmod(0o500)
    try:
        refused(cache(out), "no permission to write in")
    finally:
        out.parent.chmod(0o700)


def test_more_than_the_memory_is_refused(out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(command, "_free_memory", lambda: 1000.0)
    refused(cache(out), r"needs 2\.7 MiB, but only 1000 B of memory are free; choose fewer")


def test_failure_while_running_keeps_the_old_file(
    out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out.write_text("old")

    def fail(self: ActivationCache, path: Path) -> None:
        raise OSError("disk on fire")

    monkeypatch.setattr(ActivationCache, "save", fail)
    assert cache(out).exit_code == 1
    assert out.read_text() == "old"
