"""A sweep on disk: every finished place in a folder of its own, so that a sweep can go on."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import neoscope
from neoscope.errors import ProbeError
from neoscope.files import atomic
from probes.data.dataset import ProbeData
from probes.data.places import Place
from probes.judging.record import recorded
from probes.keeping.results import from_json, to_json
from probes.keeping.saving import HOMES, load, save
from probes.sweeping.result import PlaceResult, folder_of

Array = NDArray[Any]
_PLAN = "sweep.json"
_UNFINISHED = ".*.tmp"
_FORMAT = 2


class Kept:
    """The folder of a sweep; made of one plan, and of no other."""

    def __init__(self, folder: str | os.PathLike[str], plan: Mapping[str, Any]) -> None:
        """Open or begin it.

        Args:
            folder: Made if it is not there.
            plan: All that decides what comes out.

        Raises:
            ProbeError: Another sweep, or something else, stands there.
        """
        self.folder = Path(folder).expanduser()
        wanted = recorded({"format": _FORMAT, "neoscope": neoscope.__version__, **plan})
        path = self.folder / _PLAN
        if path.exists():
            self._compare(path, wanted)
            for unfinished in self.folder.rglob(_UNFINISHED):
                unfinished.unlink(missing_ok=True)  # of a run that was killed
            return
        if self.folder.exists() and (self.folder.is_file() or self._others()):
            raise ProbeError(
                f"{self.folder} holds something else; give a sweep a folder of its own"
            )
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            with atomic(path) as file:
                file.write_text(json.dumps(wanted, indent=1), encoding="utf-8")
        except OSError as error:
            raise ProbeError(f"cannot write {self.folder}: {error.strerror or error}") from error

    def _others(self) -> bool:
        """Whether the folder holds more than what a killed run left of its plan."""
        return any(not one.match(_UNFINISHED) for one in self.folder.iterdir())

    def _compare(self, path: Path, wanted: Any) -> None:
        try:
            found = json.loads(path.read_text(encoding="utf-8"))
        except ValueError as error:
            raise ProbeError(f"{path} is damaged: it is no JSON ({error})") from error
        different = [
            f"{key}: the folder has {found.get(key)!r:.160}, now {wanted.get(key)!r:.160}"
            for key in {**found, **wanted}
            if found.get(key) != wanted.get(key)
        ]
        if different:
            raise ProbeError(
                f"{self.folder} holds another sweep; choose another folder, or empty this one. "
                f"Different: {'; '.join(different)}"
            )

    def read(self, place: Place, features: str) -> tuple[PlaceResult, Any] | None:
        """Return a place that was finished before, with its probe; None if it was not.

        Args:
            place: Which.
            features: What its features were told by, see `digest_of`.

        Raises:
            ProbeError: It was made of other features, or is damaged.
        """
        folder = self._of(place)
        path = folder / "result.json"
        if not path.exists():
            return None
        try:
            record = json.loads(path.read_text(encoding="utf-8"))
            if record["features"] != features:
                raise _OtherError(
                    f"{self.folder} holds another sweep: {place} was made of other features; "
                    "choose another folder, or empty this one"
                )
            return from_json(record["result"], str(path)), load(folder / "probe")
        except _OtherError:
            raise
        except (ValueError, KeyError, TypeError) as error:
            raise ProbeError(
                f"{path} is damaged ({error}); remove {folder} to do it again"
            ) from error

    def write(self, result: PlaceResult, probe: Any, features: str) -> None:
        """Keep a place: its probe first, so that a result never stands without one.

        Raises:
            ProbeError: It cannot be written.
        """
        record = {"features": features, "result": to_json(result, str(result.place))}
        folder = self._of(result.place)
        try:
            folder.mkdir(parents=True, exist_ok=True)
            save(probe, folder / "probe")
            with atomic(folder / "result.json") as file:
                file.write_text(json.dumps(record, indent=1), encoding="utf-8")
        except OSError as error:
            raise ProbeError(f"cannot write {folder}: {error.strerror or error}") from error

    def _of(self, place: Place) -> Path:
        return self.folder / folder_of(place)


class _OtherError(ProbeError):
    """A place of another sweep, which is not damaged."""


def digest_of(X: Array) -> str:
    """Return 32 hexadecimal digits of a place's features, every one of which counts."""
    return hashlib.sha256(np.ascontiguousarray(X).data).hexdigest()[:32]


def check_keepable(probe: Any) -> None:
    """Check that a probe can be written to a folder.

    Raises:
        ProbeError: It is none of this package's.
    """
    name = type(probe).__name__
    if name not in HOMES:
        raise ProbeError(
            f"{name} cannot be kept in a folder, only {', '.join(HOMES)} can: leave folder= out"
        )


def plan_of(data: ProbeData, probe: Any, options: Mapping[str, Any]) -> dict[str, Any]:
    """Return all that decides what comes out of a sweep, as plain values."""
    labels = hashlib.sha256(np.asarray(data.y).astype(str).tobytes())
    labels.update(np.asarray(data.groups).tobytes())
    labels.update(b"" if data.types is None else data.types.tobytes())
    return {
        "labels": labels.hexdigest()[:32],
        "source": data.source.record(),
        "random_twin": None if data.random_twin is None else data.random_twin.source.record(),
        "probe": repr(probe),
        **options,
    }
