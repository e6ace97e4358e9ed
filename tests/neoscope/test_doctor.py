"""The doctor finds what is broken, says what to do about it, and never breaks itself."""

from __future__ import annotations

import json
import os
import re
import socket
import subprocess
import tomllib
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest

from neoscope import doctor
from neoscope.doctor import (
    bundled,
    hub_cache,
    machine,
    packages,
    pictures,
    trial,
)
from neoscope.doctor.checkup import Checkup, Fact
from neoscope.errors import ArgumentError
from neoscope.organism import bundle

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
WELL: dict[str, Any] = {
    "torch": {"version": "2.13.0", "cpu": "AVX2", "threads": 1, "built": None, "devices": [],
              "cuda_error": "", "mps": False},
    "organism": {"next": " Mary"},
}  # fmt: skip


def bare(requirement: str) -> str:
    name = re.split(r"[>=<\[]", requirement)[0]
    return name.replace("_", "-").lower()


def torch_says(**changes: Any) -> dict[str, Any]:
    return {**WELL, "torch": {**WELL["torch"], **changes}}


def one(facts: Any, name: str) -> Fact:
    return next(fact for fact in facts if fact.name == name)


@pytest.fixture
def versions(monkeypatch: pytest.MonkeyPatch) -> dict[str, str | None]:
    """Versions that are pretended; None is a package that is not installed."""
    pretended: dict[str, str | None] = {}
    real = metadata.version

    def version(name: str) -> str:
        found = pretended.get(name, "") if name in pretended else real(name)
        if found is None:
            raise metadata.PackageNotFoundError(name)
        return found

    # As pip writes it down; an editable installation may have been made for an older list.
    written = list(PROJECT["dependencies"]) + [
        f"{line}; extra == '{extra}'"
        for extra, lines in PROJECT["optional-dependencies"].items()
        for line in lines
    ]
    monkeypatch.setattr(metadata, "requires", lambda name: written)
    monkeypatch.setattr(metadata, "version", version)
    monkeypatch.setattr(packages, "_is_there", lambda module: True)
    return pretended


def test_whatever_pip_installs_is_looked_at() -> None:
    assert set(packages.CORE) == {bare(line) for line in PROJECT["dependencies"]}
    assert set(packages.EXTRAS) == set(PROJECT["optional-dependencies"])
    for extra, (_, names) in packages.EXTRAS.items():
        declared = {bare(line) for line in PROJECT["optional-dependencies"][extra]}
        assert set(names) <= declared
        assert extra == "dev" or set(names) == declared


def test_what_is_installed_here_will_do() -> None:
    broken = [fact for fact in packages.core() if fact.state != "ok"]
    assert not broken
    assert one(packages.core(), "torch").value == metadata.version("torch")


def test_missing_and_too_old_packages_are_broken_with_a_command(
    versions: dict[str, str | None],
) -> None:
    versions.update({"torch": None, "transformers": "4.40.0"})
    torch, transformers = one(packages.core(), "torch"), one(packages.core(), "transformers")
    assert (torch.state, torch.value) == ("broken", "not installed")
    assert torch.cure.startswith("pip install 'torch")
    assert transformers.state == "broken"
    assert "4.40.0, needs >=" in transformers.value
    assert transformers.cure.startswith("pip install 'transformers>=")


def test_package_whose_files_are_gone_is_broken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packages, "_is_there", lambda module: module != "sklearn")
    fact = one(packages.core(), "scikit-learn")
    assert fact.state == "broken"
    assert "--force-reinstall" in fact.cure


@pytest.mark.parametrize(
    ("torch", "vision", "state"),
    [
        ("2.6.0", "0.21.0", "ok"),
        ("2.13.0+cpu", "0.28.0+cpu", "ok"),
        ("2.13.0+cpu", "0.28.0+cu130", "note"),
        ("2.13.0", "0.21.0", "note"),
    ],
)
def test_torchvision_of_another_build_is_noted(
    torch: str, vision: str, state: str, versions: dict[str, str | None]
) -> None:
    versions.update({"torch": torch, "torchvision": vision})
    fact = one(packages.core(), "torchvision")
    assert fact.state == state
    assert ("pip uninstall torchvision" in fact.cure) == (state == "note")


def test_extra_that_lacks_a_package_says_how_to_get_it(versions: dict[str, str | None]) -> None:
    versions.update({"captum": None, "anywidget": None, "lm-eval": "0.4.0"})
    found = {fact.name: fact for fact in packages.extras()}
    assert all(found[name].state == "missing" for name in ("attribution", "notebook", "eval"))
    assert found["notebook"].cure == "pip install 'neoscope[notebook]'"
    assert "anywidget not installed" in found["notebook"].value
    assert "0.4.0, needs" in found["eval"].value
    assert all(fact.purpose for fact in found.values())


def test_extras_for_developers_are_no_lack_and_come_last(
    versions: dict[str, str | None],
) -> None:
    versions.update({"concept-erasure": None, "sphinx": None, "pytest": None})
    last = list(packages.extras())[-3:]
    assert {fact.name for fact in last} == {"bench", "docs", "dev"}
    assert {fact.state for fact in last} == {"ok"}
    assert all("not installed, for developers only" in fact.value for fact in last)


def test_copy_that_pip_does_not_know_is_looked_at_all_the_same(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    real = metadata.distribution

    def unknown(name: str) -> Any:
        if name == "neoscope":
            raise metadata.PackageNotFoundError(name)
        return real(name)

    monkeypatch.setattr(metadata, "requires", unknown)
    monkeypatch.setattr(metadata, "distribution", unknown)
    assert "not installed by pip" in one(packages.core(), "neoscope").value
    assert one(packages.core(), "torch").state == "ok"


@pytest.mark.parametrize(
    ("changes", "driver", "state", "said"),
    [
        ({}, None, "ok", "torch is a build for the CPU"),
        ({}, "/usr/bin/nvidia-smi", "note", "there is an NVIDIA driver, but"),
        ({"built": "12.8", "cuda_error": "driver is too old"}, "/x", "note", "driver is too old"),
        ({"built": "12.8"}, None, "ok", "no NVIDIA driver"),
        ({"built": "12.8", "devices": [["H200", 2**37]]}, "/x", "ok", "128 GiB: use --device cuda"),
    ],
)  # fmt: skip
def test_gpu_is_found_or_its_absence_explained(
    changes: dict[str, Any], driver: str | None, state: str, said: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setattr("shutil.which", lambda name: driver)
    monkeypatch.setattr(Path, "exists", lambda path: False)
    fact = one(trial.devices(torch_says(**changes)), "cuda")
    assert fact.state == state
    assert said in fact.value
    assert bool(fact.cure) == (state == "note")


def test_more_threads_than_cores_are_noted() -> None:
    assert one(trial.threads(torch_says(threads=1)), "torch").state == "ok"
    fact = one(trial.threads(torch_says(threads=4096)), "torch")
    assert fact.state == "note"
    assert "OMP_NUM_THREADS=" in fact.cure


@pytest.mark.parametrize(
    ("said", "cure"),
    [
        ("ModuleNotFoundError: No module named 'jaxtyping'", "pip install jaxtyping"),
        ("OSError: libcudart.so.12: cannot open shared object file", "--force-reinstall torch"),
        ("ImportError: x.so: undefined symbol: iJIT_NotifyEvent", "mixed"),
        ("RuntimeError: operator torchvision::nms does not exist", "pip uninstall torchvision"),
        ("something else", "fresh environment"),
    ],
)
def test_each_way_to_break_has_its_cure(said: str, cure: str) -> None:
    assert cure in trial.cure_of(said)
    found = {"torch": {"error": said}}
    assert one(trial.devices(found), "cpu").state == "broken"
    assert one(bundled.facts(found), "runs").value == "not tried, since torch cannot be imported"


@pytest.mark.parametrize(
    ("code", "said"),
    [(-4, "processor lacks"), (-9, "memory"), (-11, "crashed"), (-40, "signal 40")],
)
def test_crash_of_the_trial_keeps_what_came_before(
    code: int, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    line = f"chatter\n{trial.MARK}{json.dumps({'torch': WELL['torch']})}\n"

    def run(command: list[str], env: dict[str, str], **_: Any) -> Any:
        assert env["HF_HUB_OFFLINE"] == "1"
        return subprocess.CompletedProcess(command, code, line, "")

    monkeypatch.setattr(subprocess, "run", run)
    found = trial.run()
    assert found["torch"] == WELL["torch"]
    assert said in one(bundled.facts(found), "runs").value


def test_trial_that_hangs_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    def run(command: list[str], **_: Any) -> Any:
        raise subprocess.TimeoutExpired(command, 1, output=b"")

    monkeypatch.setattr(subprocess, "run", run)
    assert "no answer" in one(trial.devices(trial.run()), "cpu").value


def test_model_that_says_something_else_is_broken() -> None:
    fact = one(bundled.facts({**WELL, "organism": {"next": " John"}}), "runs")
    assert fact.state == "broken"
    assert "' John' where it should say ' Mary'" in fact.value


def test_damaged_organism_is_broken(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(bundle, "_FOLDER", tmp_path)
    fact = one(bundled.facts(WELL), "files")
    assert fact.state == "broken"
    assert "lacks" in fact.value
    assert fact.cure


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    from huggingface_hub import constants

    folder = tmp_path / "hub"
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(folder))
    return folder


def test_cache_is_described_without_being_made(hub: Path) -> None:
    assert "made with the first download" in one(hub_cache.facts(), "cache").value
    assert one(hub_cache.facts(), "kept there").value == "no model"
    assert list(hub.parent.iterdir()) == []
    for name in ("models--EleutherAI--gpt-neo-125m", "models--me--half"):
        (hub / name / "snapshots" / "abc").mkdir(parents=True)
    (hub / "models--EleutherAI--gpt-neo-125m/snapshots/abc/model.safetensors").touch()
    assert one(hub_cache.facts(), "kept there").value == "EleutherAI/gpt-neo-125m"


def test_cache_that_cannot_be_written_says_what_to_set(
    hub: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    fact = one(hub_cache.facts(), "cache")
    assert fact.state == "note"
    assert "HF_HOME" in fact.cure


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="a folder of Linux")
def test_cache_in_a_folder_that_takes_no_folders_cannot_be_written(
    hub: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_CACHE", "/proc/nowrite/hub")
    fact = one(hub_cache.facts(), "cache")
    assert (fact.state, fact.value) == ("note", "/proc/nowrite/hub cannot be written")


@pytest.mark.parametrize(
    ("offline", "route", "state"),
    [(True, False, "ok"), (False, True, "ok"), (False, False, "note")],
)
def test_machine_without_a_network_is_told_to_say_so(
    offline: bool, route: bool, state: str, hub: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", offline)
    monkeypatch.setattr(hub_cache, "_has_route", lambda: route)
    fact = one(hub_cache.facts(), "HF_HUB_OFFLINE")
    assert fact.state == state
    assert ("HF_HUB_OFFLINE=1" in fact.cure) == (state == "note")


def test_token_is_never_shown(hub: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    facts = list(hub_cache.facts())
    assert one(facts, "HF_TOKEN").value == "set"
    assert not any("secret" in fact.value for fact in facts)


def test_endpoint_without_a_scheme_is_noted(hub: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "ENDPOINT", "hub.example.org")
    assert one(hub_cache.facts(), "HF_ENDPOINT").state == "note"


def test_pictures_need_kaleido_and_a_browser_each_told_once(
    versions: dict[str, str | None], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    versions["kaleido"] = None
    monkeypatch.setenv("BROWSER_PATH", str(tmp_path / "none"))
    assert one(packages.extras(), "pictures").state == "missing"
    assert [(fact.name, fact.state) for fact in pictures.facts()] == [("browser", "missing")]
    monkeypatch.delenv("BROWSER_PATH")
    monkeypatch.setattr("shutil.which", lambda name: None)
    monkeypatch.setattr(pictures, "_kaleidos", lambda: None)
    assert "apt install chromium" in one(pictures.facts(), "browser").cure


def test_little_memory_and_disk_are_noted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "free_memory", lambda: 2**29)
    monkeypatch.setattr("shutil.disk_usage", lambda path: Little)
    facts = {fact.name: fact for fact in machine.facts()}
    assert facts["memory"].state == "note"
    assert facts["memory"].value == "0.5 GiB free"
    assert facts["this folder"].state == "note"


class Little:
    free = 2**20


def test_facts_become_text_json_and_a_table(tmp_path: Path) -> None:
    well = Fact("packages", "torch", "2.13.0")
    broken = Fact("packages", "rich", "not installed", "broken", "the command line", "install it")
    missing = Fact("extras", "umap", "umap-learn not installed", "missing", "UMAP", "install it")
    found = Checkup((well, broken, missing))
    assert not found.ok
    assert repr(found) == "Checkup(1 ok, 0 note, 1 missing, 1 broken)"
    assert "rich, for the command line" in str(found)
    assert max(map(len, str(found).splitlines())) <= 80
    assert list(found.to_dataframe().columns) == [
        "group", "name", "value", "state", "purpose", "cure",
    ]  # fmt: skip
    found.save(tmp_path / "doctor.json")
    assert json.loads((tmp_path / "doctor.json").read_text()) == found.to_dict()
    with pytest.raises(ArgumentError, match="did you mean 'broken'"):
        found.in_state("brokn")
    with pytest.raises(ArgumentError, match="did you mean 'extras'"):
        found.group("extra")


def test_nothing_is_asked_of_a_network(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any) -> None:
        raise AssertionError("the network was asked")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    monkeypatch.setattr(trial, "run", lambda: WELL)
    found = doctor.check()
    assert found.ok
    assert set(found.groups) == {
        "packages", "extras", "devices", "threads", "hub", "organism", "pictures", "machine",
    }  # fmt: skip
    assert all(fact.cure for fact in found.facts if fact.state != "ok")
    assert all(fact.purpose for fact in found.facts if fact.state != "ok")
