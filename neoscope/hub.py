"""Fetch a checkpoint's files from the Hugging Face hub, or without a network from its cache."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable
from pathlib import Path

from neoscope.errors import CheckpointError, nearest

log = logging.getLogger("neoscope")

WEIGHT_NAMES = (
    "model.safetensors",
    "model.safetensors.index.json",
    "pytorch_model.bin",
    "pytorch_model.bin.index.json",
)
"""The weight files that are looked for, the preferred one first."""

_SMALL_FILES = (
    "README.md",
    "config.json",
    "generation_config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.json",
    "merges.txt",
)
_SHARDS = {
    "model.safetensors.index.json": "model-*.safetensors",
    "pytorch_model.bin.index.json": "pytorch_model-*.bin",
}
_KNOWN_IDS = (
    "EleutherAI/gpt-neo-125m",
    "EleutherAI/gpt-neo-1.3B",
    "EleutherAI/gpt-neo-2.7B",
    "roneneldan/TinyStories-1M",
    "roneneldan/TinyStories-8M",
    "roneneldan/TinyStories-33M",
)
_TIMEOUT_S = 10.0


def weight_name(names: Iterable[str]) -> str | None:
    """Return the file to load among ``names``: safetensors before .bin, whole before sharded."""
    present = set(names)
    return next((name for name in WEIGHT_NAMES if name in present), None)


def fetch(repo: str, revision: str | None = None) -> Path:
    """Return the cached snapshot folder of ``repo``, downloaded if need be.

    The hub's own client does the work, so HF_HOME, HF_ENDPOINT, HF_TOKEN and HF_HUB_OFFLINE hold.

    Args:
        repo: A hub id such as ``EleutherAI/gpt-neo-125m``.
        revision: A branch, tag or commit; None is ``main``.

    Raises:
        CheckpointError: No such repository or revision, no access, no weights in it that can be
            read, or no network and nothing in the cache.
    """
    # At function level: the client takes a third of a second to import; local folders need none.
    from huggingface_hub.errors import HFValidationError, RevisionNotFoundError

    try:
        return _download(repo, revision)
    except CheckpointError:
        raise
    except HFValidationError as error:
        raise CheckpointError(
            f"{repo!r} is neither a file or folder here nor a hub id such as "
            f"'EleutherAI/gpt-neo-125m'{nearest(repo, _KNOWN_IDS)}"
        ) from error
    except RevisionNotFoundError as error:
        raise CheckpointError(f"the hub's {repo!r} has no revision {revision!r}") from error
    # What the client raises when there is no network depends on its version: the exceptions of
    # requests, httpx or httpx2.
    except Exception as error:
        folder = _cached(repo, revision)
        if folder is not None:
            log.info("the hub did not serve %s (%s); using %s", repo, type(error).__name__, folder)
            return folder
        raise CheckpointError(_reason(repo, revision, error)) from error


def _download(repo: str, revision: str | None) -> Path:
    from huggingface_hub import HfApi, snapshot_download

    info = HfApi().model_info(repo, revision=revision, timeout=_TIMEOUT_S)
    names = [file.rfilename for file in info.siblings or ()]
    weights = weight_name(names)
    if weights is None or "config.json" not in names:
        raise CheckpointError(
            f"the hub's {repo!r} has no GPT-Neo to load; looked for config.json and one of "
            f"{', '.join(WEIGHT_NAMES)}; found {', '.join(sorted(names)) or 'no files'}"
        )
    patterns = [*_SMALL_FILES, weights]
    if weights in _SHARDS:
        patterns.append(_SHARDS[weights])
    return Path(snapshot_download(repo, revision=revision, allow_patterns=patterns))


def _cached(repo: str, revision: str | None) -> Path | None:
    """Return the cached snapshot that has weights, under any upper and lower case of its name.

    The hub ignores case and has renamed gpt-neo-125M to gpt-neo-125m; cache folders keep the
    spelling that was once asked for.
    """
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import LocalEntryNotFoundError

    folder_name = "models--" + repo.replace("/", "--")
    cache = _cache_folder()
    found = [path.name for path in cache.iterdir()] if cache.is_dir() else []
    same = [name for name in found if name.casefold() == folder_name.casefold()]
    for name in sorted(same, key=lambda name: name != folder_name):
        spelling = name.removeprefix("models--").replace("--", "/", 1)
        try:
            path = snapshot_download(
                spelling, revision=revision, local_files_only=True, allow_patterns="config.json"
            )
        except LocalEntryNotFoundError:
            continue
        if weight_name(os.listdir(path)):
            return Path(path)
    return None


def _cache_folder() -> Path:
    from huggingface_hub.constants import HF_HUB_CACHE

    return Path(HF_HUB_CACHE)


def _reason(repo: str, revision: str | None, error: Exception) -> str:
    """Say in one line why ``repo`` could not be had."""
    from huggingface_hub import get_token
    from huggingface_hub.errors import (
        GatedRepoError,
        HfHubHTTPError,
        OfflineModeIsEnabled,
        RepositoryNotFoundError,
    )

    what = f"{repo!r}" + (f" at revision {revision!r}" if revision else "")
    if isinstance(error, GatedRepoError):
        return (
            f"{what} is gated: ask for access on its page on the hub, then set HF_TOKEN, "
            "or give a folder that holds the files"
        )
    status = error.response.status_code if isinstance(error, HfHubHTTPError) else None
    if isinstance(error, RepositoryNotFoundError) or status in (401, 403):
        return (
            f"{what}: no file or folder of that name here, and the hub knows no such id or gives "
            f"you no access ({'your token' if get_token() else 'no HF_TOKEN'} was sent)"
            f"{nearest(repo, [known for known in _KNOWN_IDS if known != repo])}"
        )
    if isinstance(error, OfflineModeIsEnabled):
        why = "HF_HUB_OFFLINE is set"
    elif status is not None:
        why = f"the hub answered with HTTP status {status}"
    elif isinstance(error, OSError) and error.strerror and error.filename:
        return f"{what} could not be stored at {error.filename}: {error.strerror}"
    else:
        why = f"the hub cannot be reached ({type(error).__name__})"
    return (
        f"{what}: {why}, and its files are not in the cache at {_cache_folder()}; "
        "give a folder that holds config.json and the weights"
    )
