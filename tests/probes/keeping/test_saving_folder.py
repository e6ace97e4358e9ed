"""A probe replaces another as a whole, or not at all."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from neoscope.errors import ProbeError
from probes.keeping.saving import load, save
from tests.probes.keeping.conftest import fitted


def test_earlier_probe_is_replaced_whole(folder: Path) -> None:
    save(fitted(), folder)
    (folder / "notes.txt").write_text("mine")
    save(fitted((1, 2)), folder)
    assert load(folder).classes_.tolist() == [1, 2]
    names = sorted(path.name for path in folder.iterdir())
    assert len(names) == 3 and names[:1] == ["notes.txt"] and names[2] == "probe.json"
    save(fitted((1, 2)), folder)
    assert sorted(path.name for path in folder.iterdir()) == names


@pytest.mark.parametrize("at", [0, 1])
def test_crash_while_saving_leaves_the_earlier_probe(
    at: int, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save(fitted(), folder)
    calls, replace = 0, Path.replace

    def crash(self: Path, target: Any) -> Path:
        nonlocal calls
        calls += 1
        if calls > at:
            raise KeyboardInterrupt
        return replace(self, target)

    probe = fitted((1, 2))
    probe.coef_ = probe.coef_ * 2
    with monkeypatch.context() as patched:
        patched.setattr(Path, "replace", crash)
        with pytest.raises(KeyboardInterrupt):
            save(probe, folder)
    assert load(folder).classes_.tolist() == ["no", "yes"]
    save(probe, folder)
    assert load(folder).classes_.tolist() == [1, 2]


def test_folder_of_something_else_is_left_alone(folder: Path) -> None:
    folder.mkdir()
    (folder / "thesis.tex").write_text("mine")
    with pytest.raises(ProbeError, match=r"it holds something that is no probe \(thesis.tex\)"):
        save(fitted(), folder)
    (folder / "thesis.tex").rename(folder / "probe.json")
    with pytest.raises(ProbeError, match=r"it is no JSON .*remove it first"):
        save(fitted(), folder)
    assert [path.name for path in folder.iterdir()] == ["probe.json"]
    with pytest.raises(ProbeError, match="it is no folder"):
        save(fitted(), folder / "probe.json")


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may write")
def test_folder_that_cannot_be_written_is_named(folder: Path) -> None:
    folder.mkdir(mode=0o500)
    with pytest.raises(ProbeError, match="cannot write"):
        save(fitted(), folder)


def test_what_a_crash_left_is_no_hindrance(folder: Path) -> None:
    folder.mkdir()
    (folder / "probe-0123456789abcdef.safetensors").write_bytes(b"")
    (folder / ".probe.json.x1.tmp").write_bytes(b"")
    save(fitted(), folder)
    load(folder)
