"""A compiled model's folder: its tokenizer, its bytes, and its cached copy."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
import transformers

from neoscope.errors import CheckpointError, ConfigError
from neoscope.organism import compiled
from neoscope.organism.compiled import INDUCTION_TRUTH as TRUTH


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return compiled.write_induction(tmp_path_factory.mktemp("compiled") / "induction")


@pytest.fixture(scope="module")
def tokenizer(folder: Path) -> Any:
    return transformers.AutoTokenizer.from_pretrained(folder, local_files_only=True)


def test_tokenizer_round_trips_every_word(tokenizer: Any) -> None:
    text = " ".join(TRUTH.words)
    assert tokenizer.is_fast
    assert len(tokenizer) == 16
    assert tokenizer(text).input_ids == list(range(16))
    assert tokenizer.decode(range(16)) == text
    assert tokenizer.convert_ids_to_tokens(list(range(16))) == list(TRUTH.words)
    for row in compiled.repeated(4).tolist():
        assert tokenizer(tokenizer.decode(row)).input_ids == row


def test_tokenizer_offsets_point_at_the_words(tokenizer: Any) -> None:
    text = "  river\tapple\n<|endoftext|> stone "
    coded = tokenizer(text, return_offsets_mapping=True)
    assert [text[a:b] for a, b in coded.offset_mapping] == [
        *("river", "apple", "<|endoftext|>", "stone")
    ]
    assert coded.input_ids == [2, 1, 0, 3]


def test_tokenizer_adds_nothing_and_knows_no_other_word(tokenizer: Any) -> None:
    assert tokenizer("apple").input_ids == tokenizer("apple", add_special_tokens=False).input_ids
    assert tokenizer("apple").input_ids == [1]
    assert tokenizer("").input_ids == []
    assert tokenizer("apple zeppelin Apple").input_ids == [1, 0, 0]
    assert tokenizer.bos_token_id == tokenizer.eos_token_id == tokenizer.unk_token_id == 0
    assert tokenizer.pad_token is None
    assert tokenizer.model_max_length == 40


def test_writing_twice_gives_the_same_bytes(tmp_path: Path) -> None:
    first, second = (compiled.write_induction(tmp_path / name) for name in ("a", "deep/er/b"))
    assert {p.name: p.read_bytes() for p in first.iterdir()} == {
        p.name: p.read_bytes() for p in second.iterdir()
    }
    times = {p: p.stat().st_mtime_ns for p in first.iterdir()}
    assert compiled.write_induction(str(first)) == first
    assert times == {p: p.stat().st_mtime_ns for p in first.iterdir()}
    assert {p.name for p in tmp_path.iterdir()} == {"a", "deep"}


def test_writing_fills_an_empty_folder(tmp_path: Path) -> None:
    compiled.write_induction(tmp_path)
    assert len(list(tmp_path.iterdir())) == 4


def test_writing_leaves_another_checkpoint_alone(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(CheckpointError, match=r"another config\.json"):
        compiled.write_induction(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["config.json"]
    with pytest.raises(CheckpointError, match="cannot be written"):
        compiled.write_induction(tmp_path / "config.json")


def test_failed_write_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(path: Path, content: bytes) -> int:
        raise OSError("disk is full")

    monkeypatch.setattr(Path, "write_bytes", fail)
    with pytest.raises(CheckpointError, match="disk is full"):
        compiled.write_induction(tmp_path / "m")
    assert not list(tmp_path.iterdir())


def test_lost_race_uses_the_other_copy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    other = compiled.write_induction(tmp_path / "other")
    real = os.rename

    def rename(source: Path, target: Path) -> None:
        real(other, target)
        real(source, target)

    monkeypatch.setattr(os, "rename", rename)
    folder = compiled.write_induction(tmp_path / "m")
    assert [path.name for path in tmp_path.iterdir()] == ["m"]
    assert len(list(folder.iterdir())) == 4


@pytest.mark.parametrize("name", ["model.safetensors", "config.json", "tokenizer.json"])
@pytest.mark.parametrize("damage", ["cut", "gone"])
def test_damaged_cached_copy_is_rebuilt(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, damage: str
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    folder = compiled.induction()
    assert folder.is_relative_to(tmp_path / "neoscope")
    whole = (folder / name).read_bytes()
    if damage == "cut":
        (folder / name).write_bytes(whole[: len(whole) // 2])
    else:
        (folder / name).unlink()
    assert compiled.induction() == folder
    assert (folder / name).read_bytes() == whole
    assert len(list(folder.iterdir())) == 4


def test_cached_variants_do_not_share_a_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    variants: tuple[dict[str, Any], ...] = ({}, {"window": 8}, {"sharpness": 8.0})
    assert len({compiled.induction(**variant) for variant in variants}) == 3


def test_cache_is_in_the_home_folder_by_default(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", "relative/is/ignored")
    assert compiled.induction().parent == tmp_path / ".cache" / "neoscope" / "organism"


@pytest.mark.parametrize("wrong", [{"window": 0}, {"sharpness": 0.0}, {"sharpness": float("nan")}])
def test_impossible_variants_are_refused(tmp_path: Path, wrong: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=r"expected a (whole|positive) number"):
        compiled.write_induction(tmp_path / "m", **wrong)
    assert not list(tmp_path.iterdir())
