"""Where checkpoints from the hub are kept, and how the hub would be asked; it is not asked."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

from neoscope.doctor.checkup import Fact
from neoscope.doctor.machine import nearest_folder

_WEIGHTS = (".safetensors", ".bin")
_MOST = 4
_PURPOSE = "checkpoints from the hub"


def facts() -> Iterator[Fact]:
    """Yield the cache's folder, what it holds, and the settings that hold."""
    try:
        from huggingface_hub import constants

        folder, endpoint = Path(constants.HF_HUB_CACHE), str(constants.ENDPOINT)
        offline = bool(constants.HF_HUB_OFFLINE)
    except Exception as error:  # reported with the packages; there is no folder to speak of
        yield Fact("hub", "cache", f"unknown: {type(error).__name__}: {error}", "broken", _PURPOSE,
                   "pip install --force-reinstall huggingface_hub")  # fmt: skip
        return
    yield _folder(folder)
    yield Fact("hub", "kept there", _kept(folder))
    yield _network(offline)
    yield _endpoint(endpoint)
    token = os.environ.get("HF_TOKEN") or os.environ.get("HUGGING_FACE_HUB_TOKEN")
    yield Fact("hub", "HF_TOKEN", "set" if token else "not set; only gated checkpoints need one")


def _folder(folder: Path) -> Fact:
    there = nearest_folder(folder)
    cure = "set HF_HOME to a folder that can be written, or give models as folders"
    if folder.exists() and not folder.is_dir():
        return Fact("hub", "cache", f"{folder} is no folder", "note", _PURPOSE, cure)
    if not os.access(there, os.W_OK | os.X_OK) or not _takes_folders(there):
        return Fact("hub", "cache", f"{folder} cannot be written", "note", _PURPOSE, cure)
    made = "" if folder.is_dir() else " (made with the first download)"
    return Fact("hub", "cache", f"{folder}{made}", "ok", _PURPOSE)


def _takes_folders(folder: Path) -> bool:
    """Whether a folder can be made there; its rights alone do not tell, as in /proc."""
    try:
        os.rmdir(tempfile.mkdtemp(prefix=".neoscope-", dir=folder))
    except OSError:
        return False
    return True


def _kept(folder: Path) -> str:
    try:
        found = sorted(
            path.name.removeprefix("models--").replace("--", "/", 1)
            for path in folder.glob("models--*")
            if any(file.suffix in _WEIGHTS for file in path.glob("snapshots/*/*"))
        )
    except OSError as error:
        return f"cannot be read: {error.strerror or error}"
    if not found:
        return "no model"
    more = f" and {len(found) - _MOST} more" if len(found) > _MOST else ""
    return ", ".join(found[:_MOST]) + more


def _network(offline: bool) -> Fact:
    said = os.environ.get("HF_HUB_OFFLINE")
    if offline:
        return Fact(
            "hub", "HF_HUB_OFFLINE", f"{said or 'set'}: nothing is fetched, only the cache is read"
        )
    if _has_route():
        return Fact("hub", "HF_HUB_OFFLINE", "not set: hub ids are asked of the network")
    return Fact(
        "hub", "HF_HUB_OFFLINE", "not set, and this machine has no route to a network", "note",
        _PURPOSE, "set HF_HUB_OFFLINE=1: what is in the cache then loads without waiting",
    )  # fmt: skip


def _endpoint(endpoint: str) -> Fact:
    if endpoint.startswith(("http://", "https://")):
        return Fact("hub", "HF_ENDPOINT", endpoint)
    cure = "write it with https:// in front, or unset it"
    return Fact("hub", "HF_ENDPOINT", f"{endpoint} is no address", "note", _PURPOSE, cure)


def _has_route() -> bool:
    """Whether the kernel knows a way out; True where that cannot be read. Nothing is sent."""
    try:
        old = Path("/proc/net/route").read_text(encoding="utf-8").splitlines()[1:]
        new = Path("/proc/net/ipv6_route").read_text(encoding="utf-8").splitlines()
    except OSError:
        return True
    return any(line.split()[0] != "lo" for line in old if line.strip()) or any(
        line.split()[-1] != "lo" and not line.startswith(("fe80", "ff")) for line in new
    )
