"""Hashes that say what made something: a model with every weight, and a tokenizer."""

from __future__ import annotations

import hashlib
import json
import weakref
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from neoscope.config import NeoConfig

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


def fingerprint(config: NeoConfig, weights: Mapping[str, Tensor]) -> str:
    """Return 32 hexadecimal digits of SHA-256 over the config and every weight's bytes.

    Args:
        config: The model's shape.
        weights: Names to tensors, on any device.
    """
    digest = hashlib.sha256(json.dumps(config.to_hf(), sort_keys=True).encode())
    for name, weight in sorted(weights.items()):
        digest.update(f"{name} {weight.dtype} {tuple(weight.shape)}".encode())
        digest.update(weight.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()[:32]


_KNOWN: weakref.WeakKeyDictionary[nn.Module, tuple[bytes, str]] = weakref.WeakKeyDictionary()
_SAMPLES = 64


def remembered_fingerprint(model: nn.Module, config: NeoConfig) -> str:
    """Return the fingerprint of a model; hashed anew only when its weights seem to have changed.

    For the record of a quick measurement. What must never be taken for another model's, such as
    stored features, is told apart by ``model.fingerprint()``, which reads every byte.

    Args:
        model: Every parameter counts.
        config: Its shape.
    """
    weights = dict(model.named_parameters())
    state = _state(weights)
    known = _KNOWN.get(model)
    if known is not None and state is not None and known[0] == state:
        return known[1]
    found = fingerprint(config, weights)
    if state is not None:
        _KNOWN[model] = (state, found)
    return found


def _state(weights: Mapping[str, Tensor]) -> bytes | None:
    """What changes when a weight is written to; None where nobody can tell.

    torch counts writes, but not those through ``.data``: for these, some values of each tensor
    are compared, which misses a write to a few others.
    """
    if any(weight.is_inference() for weight in weights.values()):
        return None
    digest = hashlib.sha256()
    for name, weight in weights.items():
        digest.update(f"{name} {weight.data_ptr()} {weight._version} {weight.dtype}".encode())
        flat = weight.detach().reshape(-1)
        sample = flat[:: max(1, len(flat) // _SAMPLES)].float().cpu()
        digest.update(sample.numpy().tobytes())
    return digest.digest()


def tokenizer_fingerprint(tokenizer: PreTrainedTokenizerBase) -> str:
    """Return 32 hexadecimal digits of SHA-256 over all that decides how text becomes ids.

    Args:
        tokenizer: A transformers tokenizer.
    """
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is None:
        said: dict[str, Any] = {"vocab": tokenizer.get_vocab()}
    else:
        said = json.loads(backend.to_str())
        # What the last call asked for, not what the tokenizer is.
        said = {key: said[key] for key in said.keys() - {"truncation", "padding"}}
    said["bos"] = tokenizer.bos_token_id
    return hashlib.sha256(json.dumps(said, sort_keys=True).encode()).hexdigest()[:32]
