"""Keeping a fitted probe in a folder: its numbers as safetensors, all else as a JSON card.

The card, ``probe.json``, names the file of numbers, which is called after what it holds, and is
written last. A save that is cut short therefore leaves the earlier probe whole, and what is read is
never a mix of two. Nothing in either file is code: a class is looked up by its name among those
known here, and made anew from plain values.
"""

from __future__ import annotations

import hashlib
import importlib
import json
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sklearn.exceptions import NotFittedError
from sklearn.utils.validation import check_is_fitted

import neoscope
from neoscope.errors import ProbeError, nearest
from neoscope.files import atomic
from probes.estimating.base import Probe
from probes.keeping.elsewhere import loaded_by
from probes.keeping.json_values import Tensors, decode, encode
from probes.keeping.record import card_of, record_of

CARD = "probe.json"
_FORMAT, _VERSION = "neoscope.probe", 1
_WEIGHTS = re.compile(r"probe-[0-9a-f]{16}\.safetensors")
_TEMPORARY = re.compile(r"\.probe.*\.tmp")
_HASHED = ("class", "params", "fitted", "weights", "trained_on")
_TRIES = 5

HOMES = {
    "CentroidProbe": "probes.means.centroid",
    "DepthProbe": "probes.structural.estimators",
    "DistanceProbe": "probes.structural.estimators",
    "LogisticProbe": "probes.linear.logistic",
    "LowRankProbe": "probes.linear.lowrank",
    "MLPProbe": "probes.mlp.perceptron",
    "MLPRegressorProbe": "probes.mlp.perceptron",
    "MassMeanProbe": "probes.means.mass_mean",
    "RidgeProbe": "probes.linear.ridge",
    "SparseProbe": "probes.sparse.neurons",
}
"""Classes that can be kept, and their modules."""


def save(probe: Probe, folder: str | os.PathLike[str]) -> Path:
    """Write a fitted probe.

    Args:
        probe: Of a class of this package; its parameters must be plain values.
        folder: Made if it is not there. A probe that was kept in it before is replaced, as a whole
            or not at all.

    Returns:
        The folder.

    Raises:
        ProbeError: It is not fitted, holds what cannot be kept (named), or something else stands
            in the folder.
    """
    target = Path(folder).expanduser()
    facts, data = _read_out(probe)
    before = _check_free(target)
    try:
        target.mkdir(parents=True, exist_ok=True)
        with atomic(target / facts["weights"]["file"]) as path:
            path.write_bytes(data)
        with atomic(target / CARD) as path:
            path.write_text(_written(facts), encoding="utf-8")
        if before not in (None, facts["weights"]["file"]):
            (target / str(before)).unlink(missing_ok=True)
    except OSError as error:
        raise ProbeError(f"cannot write {target}: {error.strerror or error}") from error
    return target


def load(folder: str | os.PathLike[str]) -> Probe:
    """Read a probe that :func:`save` wrote; it predicts what the saved one did, bit for bit.

    Args:
        folder: Where it was saved.

    Raises:
        ProbeError: There is none, a file is missing, cut short or altered, or it is of a newer
            version of neoscope or of a class that is not known.
    """
    target = Path(folder).expanduser()
    for tries_left in reversed(range(_TRIES)):
        facts = read_card(target)
        try:
            tensors = _read_weights(target, facts["weights"])
        except FileNotFoundError as error:
            # Another process may have replaced the probe since the card was read.
            if tries_left and _is_replaced(target, facts):
                continue
            raise ProbeError(
                f"{target} is damaged: {facts['weights']['file']} is missing, which {CARD} names"
            ) from error
        return _made(target, facts, tensors)
    raise AssertionError("the last try returns or raises")


def digest(probe: Probe) -> str:
    """Return the SHA-256, hexadecimal, that says which probe it is: ``sha256`` of its card.

    Args:
        probe: Fitted.

    Raises:
        ProbeError: As :func:`save` does.
    """
    return str(_read_out(probe)[0]["sha256"])


def read_card(folder: Path) -> dict[str, Any]:
    """Return what stands in the card of a folder, checked but for the file of numbers.

    Raises:
        ProbeError: There is none, or it cannot be used.
    """
    path = folder / CARD
    if folder.is_file():
        hint = loaded_by(folder) or "; give the folder that a probe was saved in"
        raise ProbeError(f"{folder} is a file{hint}")
    try:
        facts = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        what = f"it has no {CARD}" if folder.is_dir() else "there is no such folder"
        raise ProbeError(f"there is no probe in {folder}: {what}{loaded_by(folder)}") from None
    except OSError as error:
        raise ProbeError(f"cannot read {path}: {error.strerror or error}") from error
    except (ValueError, RecursionError) as error:
        raise ProbeError(f"{path} is damaged: it is no JSON ({error})") from error
    if not isinstance(facts, dict) or facts.get("format") != _FORMAT:
        raise ProbeError(f"{path} is no card of a probe that neoscope saved")
    version = facts.get("format_version")
    if not isinstance(version, int) or version > _VERSION:
        raise ProbeError(
            f"{path} is of format {version!r}, written by neoscope {facts.get('neoscope')}; this "
            f"version reads format {_VERSION}: upgrade neoscope"
        )
    if missing := [key for key in (*_HASHED, "sha256") if key not in facts]:
        raise ProbeError(f"{path} is damaged: it says nothing of {', '.join(missing)}")
    if facts["sha256"] != _hash(facts):
        raise ProbeError(f"{path} was altered since it was saved: its sha256 is another")
    return facts


def _read_out(probe: Probe) -> tuple[dict[str, Any], bytes]:
    """Return the card of a probe and the bytes of its numbers."""
    import sklearn
    from safetensors.numpy import save as to_bytes

    name = type(probe).__name__
    if name not in HOMES or type(probe) is not _class_of(name):
        raise ProbeError(
            f"a {name} cannot be kept{nearest(name, HOMES)}; those that can: {', '.join(HOMES)}"
        )
    try:
        check_is_fitted(probe)
    except NotFittedError:
        raise ProbeError(f"this {name} is not fitted, so there is nothing to keep") from None
    params = {key: encode(x, f"{name}({key}=)") for key, x in probe.get_params(False).items()}
    tensors: Tensors = {}
    fitted = {
        key: encode(value, key, tensors)
        for key, value in sorted(vars(probe).items())
        if key.endswith("_") and not key.startswith("_") and key != "card_"
    }
    data = to_bytes(tensors)
    sha256 = hashlib.sha256(data).hexdigest()
    facts = {
        "format": _FORMAT,
        "format_version": _VERSION,
        "neoscope": neoscope.__version__,
        "scikit_learn": sklearn.__version__,
        "class": name,
        "trained_on": record_of(getattr(probe, "card_", None)),
        "params": params,
        "fitted": fitted,
        "weights": {"file": f"probe-{sha256[:16]}.safetensors", "sha256": sha256},
    }
    return {**facts, "sha256": _hash(facts)}, data


def _hash(facts: Mapping[str, Any]) -> str:
    said = json.dumps({key: facts[key] for key in _HASHED}, sort_keys=True, allow_nan=False)
    return hashlib.sha256(said.encode()).hexdigest()


def _written(facts: Mapping[str, Any]) -> str:
    return json.dumps(facts, indent=1, allow_nan=False) + "\n"


def _class_of(name: str) -> type[Probe]:
    found: type[Probe] = getattr(importlib.import_module(HOMES[name]), name)
    return found


def _check_free(folder: Path) -> str | None:
    """Return the file of numbers of the probe that stands in the folder, if one does."""
    if folder.exists() and not folder.is_dir():
        raise ProbeError(f"cannot write {folder}: it is no folder")
    if (folder / CARD).exists():
        try:
            return str(read_card(folder)["weights"]["file"])
        except ProbeError as error:
            raise ProbeError(f"cannot write {folder}: {error}; remove it first") from error
    # A save that was cut short leaves files without a card.
    others = [
        path.name
        for path in (folder.iterdir() if folder.exists() else ())
        if not (_WEIGHTS.fullmatch(path.name) or _TEMPORARY.fullmatch(path.name))
    ]
    if others:
        raise ProbeError(
            f"cannot write {folder}: it holds something that is no probe ({min(others)}); choose "
            "a new or an empty folder"
        )
    return None


def _is_replaced(folder: Path, facts: Mapping[str, Any]) -> bool:
    return bool(read_card(folder)["sha256"] != facts["sha256"])


def _read_weights(folder: Path, said: Mapping[str, Any]) -> Mapping[str, Any]:
    from safetensors import SafetensorError
    from safetensors.numpy import load as from_bytes

    name = str(said["file"])
    if not _WEIGHTS.fullmatch(name):
        raise ProbeError(f"{folder / CARD} names {name!r} as its numbers, which is no such file")
    try:
        data = (folder / name).read_bytes()
    except FileNotFoundError:
        raise
    except OSError as error:
        raise ProbeError(f"cannot read {folder / name}: {error.strerror or error}") from error
    if hashlib.sha256(data).hexdigest() != said["sha256"]:
        raise ProbeError(
            f"{folder / name} is damaged or was altered: {len(data):,} bytes whose sha256 is not "
            f"that in {CARD}"
        )
    try:
        return from_bytes(data)
    except SafetensorError as error:
        raise ProbeError(f"{folder / name} is damaged: {error}") from error


def _made(folder: Path, facts: Mapping[str, Any], tensors: Mapping[str, Any]) -> Probe:
    name = str(facts["class"])
    if name not in HOMES:
        raise ProbeError(
            f"{folder / CARD} is of a {name}, a class that is not known{nearest(name, HOMES)}; "
            f"known: {', '.join(HOMES)}"
        )
    params = {key: decode(value, f"params.{key}") for key, value in facts["params"].items()}
    try:
        probe = _class_of(name)(**params)
    except TypeError as error:
        raise ProbeError(
            f"{folder / CARD}: {name} does not take its parameters: {error}"
        ) from error
    for key, value in facts["fitted"].items():
        setattr(probe, key, decode(value, f"fitted.{key}", tensors))
    probe.card_ = card_of(facts["trained_on"])
    return probe
