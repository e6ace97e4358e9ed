"""ModelSource: the model of a Featurizer, by name or by itself, loaded once a process."""

from __future__ import annotations

import os
import threading
from collections import OrderedDict
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from neoscope.device import read_device, read_dtype
from neoscope.errors import ArgumentError
from neoscope.fingerprint import tokenizer_fingerprint
from neoscope.loading import load
from neoscope.model import HookedGPTNeo

_MOST_MODELS = 2
_lock = threading.RLock()
_loaded: OrderedDict[tuple[Any, ...], tuple[HookedGPTNeo, str]] = OrderedDict()


@dataclass(frozen=True, eq=False)
class ModelSource:
    """Where a model comes from; pickled with a model only if it is one."""

    model: HookedGPTNeo | str | os.PathLike[str]
    revision: str | None = None
    device: str = "cpu"
    dtype: str = "float32"

    @classmethod
    def of(cls, model: Any, revision: Any, device: Any, dtype: Any) -> ModelSource:
        """Check the parameters of a Featurizer.

        Raises:
            ArgumentError: One of them means nothing.
        """
        if isinstance(model, HookedGPTNeo):
            return cls(model)
        if not isinstance(model, str | os.PathLike):
            raise ArgumentError(f"model={model!r} is neither a model nor the name or path of one")
        if revision is not None and not isinstance(revision, str):
            raise ArgumentError(f"revision={revision!r} is no branch, tag or commit")
        kept = str(read_dtype(dtype)).removeprefix("torch.")
        return cls(model, revision, str(read_device(device)), kept)

    def get(self) -> HookedGPTNeo:
        """Return the model.

        Raises:
            CheckpointError: It cannot be found or read.
        """
        return self.model if isinstance(self.model, HookedGPTNeo) else self._remembered()[0]

    def fingerprint(self) -> str:
        """Return a hash of all that decides what the model makes of a text.

        A model that was given itself is hashed anew every time: its weights may have changed.
        """
        if isinstance(self.model, HookedGPTNeo):
            return _hash(self.model)
        return self._remembered()[1]

    def _remembered(self) -> tuple[HookedGPTNeo, str]:
        assert not isinstance(self.model, HookedGPTNeo)
        with _lock:
            key = (os.fspath(self.model), self.revision, self.device, self.dtype, self._stamp())
            if key not in _loaded:
                model = load(
                    self.model, revision=self.revision, device=self.device, dtype=self.dtype
                )
                _loaded[key] = model, _hash(model)
            _loaded.move_to_end(key)
            while len(_loaded) > _MOST_MODELS:
                _loaded.popitem(last=False)
            return _loaded[key]

    def _stamp(self) -> tuple[Any, ...]:
        """What changes when files at a local path are written anew."""
        assert not isinstance(self.model, HookedGPTNeo)
        path = Path(self.model)
        files = sorted(path.iterdir()) if path.is_dir() else [path] if path.exists() else []
        facts = [(file.name, file.stat()) for file in files if file.is_file()]
        return tuple((name, fact.st_size, fact.st_mtime_ns) for name, fact in facts)


def forget_models() -> None:
    """Let go of the models that were loaded by name."""
    with _lock:
        _loaded.clear()


def _hash(model: HookedGPTNeo) -> str:
    tokenizer = model.tokenizer and tokenizer_fingerprint(model.tokenizer)
    return f"{model.fingerprint()} {tokenizer} {model.device}"
