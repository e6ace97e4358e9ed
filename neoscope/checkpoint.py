"""Where weights come from: a hub id, a folder or a file is found, checked and read into parameters.

::

    checkpoint = find("EleutherAI/gpt-neo-125m")     # files and configuration; no weights in memory
    load_weights(checkpoint, dict(model.named_parameters()))
"""

from __future__ import annotations

import dataclasses
import difflib
import json
import logging
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from yaml import YAMLError

from neoscope import hub, weights
from neoscope.config import NeoConfig
from neoscope.errors import CheckpointError, ConfigError

__all__ = ["Checkpoint", "find", "load_weights"]

log = logging.getLogger("neoscope")

_INDEX = ".index.json"
_LOCAL_ENDINGS = (".safetensors", ".bin", _INDEX)
_FOREIGN = {
    ".msgpack": "Flax",
    ".h5": "TensorFlow",
    ".ot": "Rust",
    ".onnx": "ONNX",
    ".gguf": "GGUF",
}


@dataclasses.dataclass(frozen=True)
class Checkpoint:
    """A GPT-Neo checkpoint that was found; its weights are still on disk."""

    name: str
    """What was asked for."""
    folder: Path
    """The folder that holds the files, the tokenizer's among them."""
    config: NeoConfig
    """The configuration; ``tie_word_embeddings`` says what the weights really are."""
    files: tuple[Path, ...]
    """The weight files."""
    revision: str | None = None
    """The commit of the hub snapshot, where known."""

    @property
    def licence(self) -> str | None:
        """The licence that the model card beside the weights names."""
        from huggingface_hub.repocard import metadata_load

        card = self.folder / "README.md"
        try:
            said = (metadata_load(card) or {}) if card.is_file() else {}
        except (OSError, ValueError, YAMLError):
            return None  # a card that cannot be read says nothing
        found = said.get("license")
        return found if isinstance(found, str) else None


def find(name_or_path: str | os.PathLike[str], *, revision: str | None = None) -> Checkpoint:
    """Find a checkpoint and read its configuration.

    Args:
        name_or_path: A hub id; a folder; or one .safetensors, .bin or .index.json file with
            config.json beside it. What exists or looks like a path is never asked of the network.
        revision: A branch, tag or commit on the hub.

    Returns:
        The checkpoint, without its weights in memory.

    Raises:
        CheckpointError: It cannot be found, fetched or read; the message says what was looked for.
        ConfigError: Its config.json does not describe a GPT-Neo.
        WeightsError: A weight file is damaged or unsafe.

    Example:
        >>> find("EleutherAI/gpt-neo-125m").config.n_layers  # doctest: +SKIP
        12
    """
    name = os.fspath(name_or_path)
    if not name:
        raise CheckpointError("the checkpoint's name is empty; expected a hub id, folder or file")
    if isinstance(name_or_path, os.PathLike) or _looks_local(name):
        if revision is not None:
            raise CheckpointError(f"{name!r} is a path, so it has no revision {revision!r}")
        path = Path(name).expanduser()
    else:
        path = hub.fetch(name, revision)
    if not path.exists():
        names = os.listdir(path.parent) if path.parent.is_dir() else []
        close = difflib.get_close_matches(path.name, names, n=1)
        # With its folder as it was written, so that it can be given as it stands.
        meant = os.path.join(os.path.dirname(name.rstrip("/")), *close)
        hint = f"; did you mean {meant!r}?" if close else ""
        raise CheckpointError(f"no file or folder {str(path)!r}{hint}")
    if path.is_file() and not path.name.endswith(_LOCAL_ENDINGS):
        raise CheckpointError(
            f"{path} is not a weight file; expected one that ends in {', '.join(_LOCAL_ENDINGS)}"
        )
    folder = path if path.is_dir() else path.parent
    config = NeoConfig.from_hf(_read_config(folder), where=str(folder / "config.json"))
    files = _weight_files(path)
    config = _settle_tying(config, files, name)
    return Checkpoint(name, folder, config, files, _commit(folder))


def load_weights(checkpoint: Checkpoint, params: Mapping[str, torch.Tensor]) -> None:
    """Stream every weight of ``checkpoint`` into ``params``, in place.

    At most a 32nd of a file, or 8 MB, is resident at a time, so the peak is that of ``params``. The
    one exception is a .bin file in the format of PyTorch before 1.6, which is first read whole.

    Args:
        checkpoint: What ``find`` returned.
        params: Every parameter of the model by neoscope's name, allocated on any device in any
            floating dtype; without ``unembed.weight`` where the embeddings are tied.

    Raises:
        WeightsError: A tensor is missing, unexpected, misshapen or not finite, or a file is
            damaged. Wrong names and shapes are reported before any parameter is touched.
    """
    weights.fill(checkpoint.files, checkpoint.config, params)


def _looks_local(name: str) -> bool:
    prefixes = ("./", "../", "~", os.sep)
    return (
        name in (".", "..")
        or name.startswith(prefixes)
        or name.endswith(_LOCAL_ENDINGS)
        or os.path.exists(name)
    )


def _commit(folder: Path) -> str | None:
    """Return the commit that a folder of the hub's cache is named after."""
    hashed = re.fullmatch("[0-9a-f]{40}", folder.name)
    return folder.name if hashed and folder.parent.name == "snapshots" else None


def _read_config(folder: Path) -> dict[str, Any]:
    path = folder / "config.json"
    if not path.is_file():
        raise CheckpointError(f"{folder} has no config.json; {_found(folder)}")
    raw = _read_json(path)
    if not isinstance(raw, dict):
        raise ConfigError(f"{path} holds a JSON {type(raw).__name__}; expected an object")
    return raw


def _read_json(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ConfigError(f"{path} is not valid JSON: {error}") from error
    except OSError as error:
        raise CheckpointError(f"{path} cannot be read: {error.strerror}") from error


def _found(folder: Path) -> str:
    """Describe what a folder holds, for errors."""
    names = sorted(os.listdir(folder))
    if not names:
        return "the folder is empty"
    foreign = [f"{name} ({_FOREIGN[s]})" for name in names if (s := Path(name).suffix) in _FOREIGN]
    hint = f"; {', '.join(foreign)} cannot be read, only PyTorch weights" if foreign else ""
    listed = ", ".join(names[:12]) + (", ..." if len(names) > 12 else "")
    return f"found {listed}{hint}"


def _weight_files(path: Path) -> tuple[Path, ...]:
    """Return the weight files that a folder, an index or a single file stands for."""
    if path.is_dir():
        name = hub.weight_name(os.listdir(path))
        if name is None:
            wanted = ", ".join(hub.WEIGHT_NAMES)
            raise CheckpointError(f"{path} has no weights; looked for {wanted}; {_found(path)}")
        path = path / name
    if path.name.endswith(_INDEX):
        return _shards(path)
    return (path,)


def _shards(index: Path) -> tuple[Path, ...]:
    raw = _read_json(index)
    shard_of_key = raw.get("weight_map") if isinstance(raw, dict) else None
    if not isinstance(shard_of_key, dict) or not shard_of_key:
        raise CheckpointError(f"{index} has no 'weight_map'; expected one that names the shards")
    names = sorted({str(name) for name in shard_of_key.values()})
    for name in names:
        # A shard outside of the folder could only be a mistake or an attack.
        if Path(name).name != name or not name.endswith(_LOCAL_ENDINGS[:2]):
            raise CheckpointError(f"{index} names the shard {name!r}; expected a file beside it")
    missing = [name for name in names if not (index.parent / name).is_file()]
    if missing:
        raise CheckpointError(
            f"{index} names {len(names)} shards, of which {len(missing)} are not in "
            f"{index.parent}: {', '.join(missing)}"
        )
    return tuple(index.parent / name for name in names)


def _settle_tying(config: NeoConfig, files: tuple[Path, ...], name: str) -> NeoConfig:
    """Let the weights decide whether the embeddings are tied: old config.json files are wrong."""
    tied = weights.is_tied(files)
    if tied is False and config.tie_word_embeddings:
        log.warning(
            "%s: config.json ties the embeddings, but lm_head differs from wte: untied", name
        )
    if tied is None and not config.tie_word_embeddings:
        log.warning("%s: config.json unties the embeddings, but there is no lm_head: tied", name)
    return dataclasses.replace(config, tie_word_embeddings=tied is not False)
