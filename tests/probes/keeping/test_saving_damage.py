"""A damaged or altered probe is never taken for a whole one."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from neoscope.errors import ProbeError
from probes.keeping import saving
from probes.keeping.saving import load, save
from tests.probes.keeping.conftest import fitted


def weights(folder: Path) -> Path:
    return next(folder.glob("*.safetensors"))


def edit(folder: Path, change: Any) -> None:
    """Alter the card, with the hash that belongs to it."""
    path = folder / "probe.json"
    facts = json.loads(path.read_text())
    change(facts)
    facts["sha256"] = saving._hash(facts)
    path.write_text(json.dumps(facts))


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda f: weights(f).unlink(), r"probe-\w+.safetensors is missing, which probe.json na"),
        (lambda f: weights(f).write_bytes(weights(f).read_bytes()[:-5]), "was altered: .* bytes"),
        (lambda f: weights(f).write_bytes(b""), "damaged or was altered: 0 bytes"),
        (lambda f: (f / "probe.json").unlink(), "there is no probe in .*: it has no probe.json"),
        (lambda f: (f / "probe.json").write_text("{"), "probe.json is damaged: it is no JSON"),
        (lambda f: (f / "probe.json").write_text("[" * 99999), "probe.json is damaged"),
        (lambda f: (f / "probe.json").write_text("{}"), "is no card of a probe that neoscope"),
        (lambda f: edit(f, lambda c: c.update(format_version=2)), "of format 2, .*upgrade neosc"),
        (
            lambda f: edit(f, lambda c: c.update({"class": "LogisticProb"})),
            "of a LogisticProb, a class that is not known; did you mean 'LogisticProbe'",
        ),
        (lambda f: edit(f, lambda c: c["params"].update(spam=1)), "does not take its parameters"),
        (
            lambda f: edit(f, lambda c: c["weights"].update(file="../other.safetensors")),
            "names '../other.safetensors' as its numbers, which is no such file",
        ),
        (
            lambda f: edit(f, lambda c: c["fitted"].update(x_={"$pickle": "gASV"})),
            "fitted.x_ cannot be read: there is no kind of value called",
        ),
        (
            lambda f: edit(f, lambda c: c["fitted"].update(x_={"$tensor": "no", "order": "C"})),
            "fitted.x_ cannot be read: 'no'",
        ),
    ],
)
def test_damage_is_told_apart(damage: Any, message: str, folder: Path) -> None:
    save(fitted(), folder)
    damage(folder)
    with pytest.raises(ProbeError, match=message):
        load(folder)


def test_altered_card_is_noticed(folder: Path) -> None:
    save(fitted(), folder)
    path = folder / "probe.json"
    text = path.read_text()
    path.write_text(re.sub(r'"no",(\s+)"yes"', r'"yes",\1"no"', text))
    assert path.read_text() != text
    with pytest.raises(ProbeError, match="was altered since it was saved"):
        load(folder)


def test_missing_folder_and_file_are_told_apart(folder: Path) -> None:
    with pytest.raises(ProbeError, match="there is no probe in"):
        load(folder)
    save(fitted(), folder)
    with pytest.raises(ProbeError, match="is a file; give the folder"):
        load(folder / "probe.json")


def test_reader_meets_no_mix_of_two_saves(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save(fitted(), folder)
    read_card = saving.read_card
    calls = 0

    def replaced_meanwhile(where: Path) -> dict[str, Any]:
        nonlocal calls
        facts = read_card(where)
        calls += 1
        if calls == 1:
            monkeypatch.setattr(saving, "read_card", read_card)
            probe = fitted((1, 2))
            probe.coef_ = probe.coef_ * 2
            save(probe, where)
            monkeypatch.setattr(saving, "read_card", replaced_meanwhile)
        return facts

    monkeypatch.setattr(saving, "read_card", replaced_meanwhile)
    assert load(folder).classes_.tolist() == [1, 2]
