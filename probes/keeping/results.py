"""Results on disk: frozen dataclasses as plain JSON, written whole and read back equal."""

from __future__ import annotations

import dataclasses
import importlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import neoscope
from neoscope.errors import ProbeError, nearest
from neoscope.files import atomic
from probes.keeping.json_values import decode, encode

_FORMAT, _VERSION = "neoscope.probe-result", 1
_IS = "$result"

RESULTS = {
    "AmnesicReport": "probes.use.amnesic",
    "Bin": "probes.judging.reliability",
    "Block": "probes.judging.mdl.codelength",
    "Calibration": "probes.judging.reliability",
    "CausalReport": "probes.use.report",
    "Codelength": "probes.judging.mdl.codelength",
    "Effect": "probes.use.effects",
    "Interval": "probes.judging.bootstrap",
    "Judgement": "probes.judging.baselines",
    "LearningCurve": "probes.judging.curves",
    "PermutationResult": "probes.judging.permutation",
    "Place": "probes.data.places",
    "PlaceResult": "probes.sweeping.result",
    "SampleComplexity": "probes.judging.curves",
    "Scored": "probes.sweeping.result",
    "Selected": "probes.sweeping.selecting",
    "Selectivity": "probes.judging.controls",
    "Source": "probes.data.places",
    "SparseCurve": "probes.sparse.curve",
}
"""Classes that are read back, and their modules: nothing in a file is code."""


class SavedResult:
    """Mixed into results that are kept as one file of JSON."""

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write the result, all of it.

        Args:
            path: A .json file; replaced as a whole.

        Returns:
            Where it stands.

        Raises:
            ProbeError: It cannot be written.
        """
        facts = {
            "format": _FORMAT,
            "format_version": _VERSION,
            "neoscope": neoscope.__version__,
            "result": to_json(self, type(self).__name__),
        }
        target = Path(path).expanduser()
        write_json(target, facts)
        return target

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Any:
        """Read what :meth:`save` wrote.

        Args:
            path: The file.

        Returns:
            A result equal to the one that was saved.

        Raises:
            ProbeError: It is not there, is damaged, or holds another kind of result.
        """
        facts = read_json(Path(path).expanduser(), _FORMAT, _VERSION)
        found = from_json(facts.get("result"), str(path))
        if not isinstance(found, cls):
            raise ProbeError(f"{path} holds a {type(found).__name__}, not a {cls.__name__}")
        return found


def to_json(value: Any, where: str) -> Any:
    """Return a result as what ``json`` writes; the inverse of :func:`from_json`.

    Args:
        value: Of one of ``RESULTS``, with plain values, arrays and other results in its fields.
        where: What it is, for errors.

    Raises:
        ProbeError: It holds something else; says where.

    Example:
        >>> from probes.judging import SampleComplexity
        >>> to_json(SampleComplexity(8, 0.5, "r2"), "x")["$pairs"][0]
        ['$result', 'SampleComplexity']
    """
    return encode(_plain(value), where)


def from_json(value: Any, where: str) -> Any:
    """Return what :func:`to_json` was given.

    Args:
        value: As ``json`` read it.
        where: What it is, for errors.

    Raises:
        ProbeError: It is nothing that :func:`to_json` makes.
    """
    return _made(decode(value, where), where)


def write_json(path: Path, facts: Mapping[str, Any]) -> None:
    """Write a file whole.

    Raises:
        ProbeError: It cannot be written.
    """
    try:
        with atomic(path) as temporary:
            temporary.write_text(json.dumps(facts, indent=1, allow_nan=False), encoding="utf-8")
    except OSError as error:
        raise ProbeError(f"cannot write {path}: {error.strerror or error}") from error


def read_json(path: Path, kind: str, version: int) -> dict[str, Any]:
    """Read a file of one format.

    Args:
        path: The file.
        kind: What it must say that it is.
        version: The newest that is read.

    Raises:
        ProbeError: It is not there, is damaged, or is of another format or a newer version.
    """
    try:
        facts = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ProbeError(f"cannot read {path}: {error.strerror or error}") from error
    except (ValueError, RecursionError) as error:
        raise ProbeError(f"{path} is damaged: it is no JSON ({error})") from error
    if not isinstance(facts, dict) or facts.get("format") != kind:
        raise ProbeError(f"{path} is no {kind} that neoscope saved")
    if facts.get("format_version") != version:
        raise ProbeError(
            f"{path} is of format {facts.get('format_version')!r}, written by neoscope "
            f"{facts.get('neoscope')}; this version reads format {version}: upgrade neoscope"
        )
    return facts


def _plain(value: Any) -> Any:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        held = {one.name: _plain(getattr(value, one.name)) for one in dataclasses.fields(value)}
        return {_IS: type(value).__name__, **held}
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(_plain(item) for item in value)
    return value


def _made(value: Any, where: str) -> Any:
    if isinstance(value, list | tuple):
        return type(value)(_made(item, where) for item in value)
    if not isinstance(value, dict):
        return value
    held = {key: _made(item, where) for key, item in value.items()}
    if _IS not in held:
        return held
    name = str(held.pop(_IS))
    if name not in RESULTS:
        raise ProbeError(f"{where}: there is no result called {name!r}{nearest(name, RESULTS)}")
    try:
        return getattr(importlib.import_module(RESULTS[name]), name)(**held)
    except TypeError as error:
        raise ProbeError(f"{where} cannot be read: {name}: {error}") from error
