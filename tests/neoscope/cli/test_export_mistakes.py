"""``neoscope export`` refuses what cannot be in one line that names options."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from neoscope.cli.argument_words import in_options
from neoscope.cli.export import command
from tests.neoscope.cli.exporting import export, refused, shards


@pytest.mark.parametrize(
    ("options", "message", "code"),
    [
        (["--text-column", "txt"], "has no column 'txt'; it has 'id', 'text', .*mean 'text'", 1),
        (["--keep", "lable"], "has no column 'lable'; .*did you mean 'label'", 1),
        (["--id-column", "key"], "has no column 'key'", 1),
        (["--pool", "token", "--positions", "wo"], "has no column 'wo'", 1),
        (["--sites", "resid_pots"], "no site is called 'resid_pots'; did you mean 'resid_post'", 2),
        (["--layers", "7"], r"layer 7 does not exist.*layers 0 to 3 \(or -4 to -1\)$", 2),
        (["--layers", "0-4"], r"layer 4 does.*hidden_states\[4\] is --sites hidden, and its", 2),
        (["--pool", "token"], "--pool token takes its place from each row: --positions names", 2),
        (["--pool", "mean,none"], "--pool mean,none: 'none' gives one row a token", 2),
        (["--pool", "none", "--normalize"], "normalize is for what is pooled; --pool none", 2),
        (["--overlap", "5"], "--overlap 5 is for --truncation stride only", 2),
        (["--max-length", "999"], "--max-length 999 is beyond the model's context, 128", 2),
        (
            ["--truncation", "error", "--max-length", "9"],
            "row 0 .*--truncation truncate cuts it",
            1,
        ),
        (["--positions", "99"], r"row 0 \(id 'r0'\): position 99 .*; --on-error skip leaves", 1),
        (["--device", "meta"], "--device 'meta': torch cannot use it here", 2),
        (["--revision", "main"], "has no revision 'main'", 1),
        (["--pool", "men"], "'men' is unknown; did you mean 'mean'", 2),
        (["--pool", ","], "--pool names nothing", 2),
        (["--sites", ""], "--sites names nothing", 2),
        (["--layers", "x"], "'x' is no whole number or range", 2),
        (["--pool", "none", "--positions", "0"], "positions is for what is pooled; --pool none", 2),
        (["--workers", "2"], "--workers is for --engine ray", 2),
        (["--ray-address", "auto"], "--ray-address is for --engine ray", 2),
        (["--shard-rows", "0"], "greater than or equal to 1|0 is not in the range", 2),
        (["--format", "csv"], "'csv' is not one of", 2),
        (["--truncation", "cut"], "'cut' is not one of", 2),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_mistake_is_refused_in_the_words_of_the_command_line(
    options: list[str], message: str, code: int, corpus: Path, out: Path
) -> None:
    refused(export(corpus, out, *options), message, code)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("nope.jsonl", "there is no file '.*; ?did you mean"),
        ("a.xlsx", r"has the suffix '\.xlsx'; those that can be read are \.parquet, \.jsonl"),
        ("empty.txt", "empty.txt holds no rows"),
        ("folder", r"the folder .* holds no \.parquet files"),
    ],
)
def test_input_is_looked_at_before_the_model(
    name: str, message: str, tmp_path: Path, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(command, "load_model", None)
    (tmp_path / "nop.jsonl").touch()
    (tmp_path / "a.xlsx").touch()
    (tmp_path / "empty.txt").write_text("\n \n")
    (tmp_path / "folder").mkdir()
    refused(export(tmp_path / name, out), message, 2 if name == "nope.jsonl" else 1)
    assert not out.exists()


def test_bad_row_is_named(tmp_path: Path, out: Path) -> None:
    source = tmp_path / "rows.csv"
    source.write_text('key,text\na,The keys\nb,""\n')
    refused(
        export(source, out, "--id-column", "key"),
        r"row 1 \(id 'b'\): the text is empty.*; --on-error skip leaves such rows out",
    )


def test_folder_of_other_files_is_refused(corpus: Path, out: Path) -> None:
    out.mkdir()
    (out / "thesis.tex").touch()
    refused(export(corpus, out), "is not empty and no feature store: it holds 'thesis.tex'")
    assert [path.name for path in out.iterdir()] == ["thesis.tex"]


def test_other_export_is_refused_value_by_value(corpus: Path, out: Path) -> None:
    export(corpus, out)
    before = shards(out)
    refused(
        export(corpus, out, "--pool", "max", "--format", "npy"),
        r"before: --format: the folder has parquet, now npy; --pool: the folder has mean, now max$",
    )
    refused(export(corpus, out, "--dtype", "bfloat16"), "model: the folder has")
    assert shards(out) == before


def test_read_only_folder_is_refused(
    corpus: Path, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Root may write anywhere, so that the permission itself cannot be taken away here.
    def fail(folder: Path) -> None:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr("neoscope.store.writer.make_folder", fail)
    refused(export(corpus, out), "cannot be written: Permission denied; make it writable or choose")


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may do anything")
def test_folder_without_permission_is_refused(corpus: Path, out: Path) -> None:
    out.parent.chmod(0o500)
    try:
        refused(export(corpus, out), "cannot be written: Permission denied")
    finally:
        out.parent.chmod(0o700)


@pytest.mark.parametrize(
    ("message", "said"),
    [
        ("on_error='skip' leaves them out", "--on-error skip leaves them out"),
        ("choose dtype='float32'", "choose --feature-dtype float32"),
        ("pool=['mean', 'none']: no", "--pool mean,none: no"),
        ("prepend_bos=True, but", "--prepend-bos, but"),
        ("before:\n  a: b\n  c: d", "before: a: b; c: d"),
        ("column 'pool=x' of unpool=3", "column '--pool x' of unpool=3"),
    ],
)
def test_arguments_become_options(message: str, said: str) -> None:
    assert in_options(message) == said
