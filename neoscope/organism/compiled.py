"""A hand-compiled two-layer GPT-Neo that does induction, written as an ordinary checkpoint folder.

Nothing here is trained. Head (0, 0) copies the previous word into a space of its own; head (1, 0)
looks for the word whose predecessor is the current word, and copies it to the output. All other
heads, and both MLPs, are zero. A feature is stored as an antipodal pair ``(+f, -f)``: residuals
have mean 0 and, at one depth, equal norms, so every LayerNorm multiplies by a known number. The
truth that follows is ``INDUCTION_TRUTH``.

Reference: ``transformers/models/gpt_neo/modeling_gpt_neo.py`` (transformers 5.23).
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import shutil
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from neoscope.config import NeoConfig
from neoscope.errors import CheckpointError, ConfigError
from neoscope.organism.induction_truth import (
    INDUCTION_TRUTH,
    Corruption,
    Grid,
    Head,
    InductionPairs,
    InductionTruth,
    pairs,
    repeated,
)

if TYPE_CHECKING:
    import torch

__all__ = [
    "INDUCTION_TRUTH",
    "Corruption",
    "Grid",
    "Head",
    "InductionPairs",
    "InductionTruth",
    "induction",
    "pairs",
    "repeated",
    "write_induction",
]

_TRUTH = INDUCTION_TRUTH
_N_CTX = _TRUTH.pos[1] - _TRUTH.pos[0]
_BOS = _TRUTH.words[_TRUTH.bos]


def write_induction(
    folder: str | os.PathLike[str],
    *,
    window: int | None = None,
    sharpness: float = INDUCTION_TRUTH.sharpness,
) -> Path:
    """Write the compiled induction model as a Hugging Face checkpoint, unless it is there already.

    A new folder appears whole or not at all.

    Args:
        folder: Where to; its parents are made.
        window: None makes both layers global, which is the truth about the circuit: no head minds
            how far away a word is. A number makes layer 1 local with that window; 15 is the
            shortest with which induction works, so that with 8 it must fail.
        sharpness: Factor in the queries. The scores of attended keys are 29.3 (layer 0) and 14.7
            (layer 1) times it above the others, so that with 60, and still with 8, a float32
            softmax is exactly one-hot. Gradients through even attention grow in proportion to it.

    Returns:
        The folder.

    Raises:
        CheckpointError: The folder holds another checkpoint, or cannot be written.
        ConfigError: ``window`` is below 1, or ``sharpness`` not above 0.
    """
    return _write(Path(folder), _files(window, sharpness), repair=False)


def induction(*, window: int | None = None, sharpness: float = INDUCTION_TRUTH.sharpness) -> Path:
    """Return the folder of the compiled induction model in the user's cache, written if need be.

    It is below ``$XDG_CACHE_HOME`` or ``~/.cache`` and named by its content: what another version
    wrote there is not used, and what has been damaged is repaired.

    Args:
        window: As for ``write_induction``.
        sharpness: As for ``write_induction``.

    Raises:
        CheckpointError: The cache cannot be written.
        ConfigError: As for ``write_induction``.
    """
    files = _files(window, sharpness)
    digest = hashlib.sha256()
    for name, content in sorted(files.items()):
        digest.update(f"{name} {len(content)}\n".encode() + content)
    root = Path(os.environ.get("XDG_CACHE_HOME", ""))
    if not root.is_absolute():  # Unset; or relative, which the XDG specification has ignored.
        root = Path.home() / ".cache"
    folder = root / "neoscope" / "organism" / f"induction-{digest.hexdigest()[:16]}"
    return _write(folder, files, repair=True)


def _files(window: int | None, sharpness: float) -> dict[str, bytes]:
    """Return the checkpoint, file by file; last comes ``config.json``, which loaders look for."""
    import safetensors.torch

    if not (sharpness > 0 and math.isfinite(sharpness)):
        raise ConfigError(f"sharpness is {sharpness!r}; expected a positive number")
    config = NeoConfig(
        n_layers=len(_TRUTH.direct),
        d_model=2 * _TRUTH.out[1],
        n_heads=len(_TRUTH.direct[0]),
        n_ctx=_N_CTX,
        d_vocab=len(_TRUTH.words),
        window_size=_N_CTX if window is None else window,
        attention_layers=("global", "global" if window is None else "local"),
        d_mlp=len(_TRUTH.words),  # The MLPs are zero, so they need not be wide.
        bos_token_id=_TRUTH.bos,
        eos_token_id=_TRUTH.bos,
    )
    tokenizer_config = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "bos_token": _BOS,
        "eos_token": _BOS,
        "unk_token": _BOS,
        "model_max_length": _N_CTX,
        "clean_up_tokenization_spaces": False,
    }
    weights = _weights(config, sharpness)
    return {
        "model.safetensors": safetensors.torch.save(weights, metadata={"format": "pt"}),
        "tokenizer.json": _tokenizer_json(),
        "tokenizer_config.json": _json(tokenizer_config),
        "config.json": _json(config.to_hf()),
    }


def _json(value: Mapping[str, Any]) -> bytes:
    return (json.dumps(value, indent=2, sort_keys=True) + "\n").encode()


def _tokenizer_json() -> bytes:
    """Return a tokenizer of the words between white space, which adds nothing to a text.

    All 16 ids are words of the circuit. An unknown word becomes ``<|endoftext|>``, which is the
    unknown token of GPT-Neo's own tokenizer too.
    """
    from tokenizers import AddedToken, Tokenizer, models, pre_tokenizers

    vocab = {word: i for i, word in enumerate(_TRUTH.words)}
    tokenizer = Tokenizer(models.WordLevel(vocab, unk_token=_BOS))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer.add_special_tokens([AddedToken(_BOS, special=True, normalized=False)])
    return tokenizer.to_str(pretty=True).encode()


def _weights(config: NeoConfig, sharpness: float) -> dict[str, torch.Tensor]:
    """Return all parameters under Hugging Face's names, linear maps as ``[out, in]``."""
    import torch

    d, d_mlp = config.d_model, config.n_neurons

    def features(space: tuple[int, int]) -> torch.Tensor:
        """Return the antipodal directions of a space, ``[size, d_model]``."""
        rows = torch.eye(d // 2)[slice(*space)]
        return torch.cat([rows, -rows], dim=1)

    def padded(matrix: torch.Tensor) -> torch.Tensor:
        """Give ``matrix`` to head 0 and zeros to the others, ``[d_model, d_model]``."""
        full = torch.zeros(d, d)
        full[: matrix.shape[0], : matrix.shape[1]] = matrix
        return full

    tok, pos = features(_TRUTH.tok), features(_TRUTH.pos)
    prev, out = features(_TRUTH.prev), features(_TRUTH.out)
    # Half the difference of a pair reads its feature. Position p asks for p - 1, and 0 for itself.
    before = torch.zeros_like(pos).index_add_(0, torch.tensor([0, *range(_N_CTX - 1)]), pos)
    heads = (
        (sharpness * before / 2, pos / 2, tok / 2, prev.T),
        (sharpness * tok / 2, prev / 2, _TRUTH.gain * tok / 2, out.T),
    )
    # The unembedding is the embedding; the final LayerNorm lets it read the prediction only.
    weights = {
        "wte.weight": tok + out,
        "wpe.weight": pos,
        "ln_f.weight": out.abs().sum(dim=0),
        "ln_f.bias": torch.zeros(d),
    }
    for layer, matrices in enumerate(heads):
        block = f"h.{layer}"
        for name, matrix in zip(("q", "k", "v", "out"), matrices, strict=True):
            weights[f"{block}.attn.attention.{name}_proj.weight"] = padded(matrix)
        weights[f"{block}.attn.attention.out_proj.bias"] = torch.zeros(d)
        weights[f"{block}.mlp.c_fc.weight"] = torch.zeros(d_mlp, d)
        weights[f"{block}.mlp.c_fc.bias"] = torch.zeros(d_mlp)
        weights[f"{block}.mlp.c_proj.weight"] = torch.zeros(d, d_mlp)
        weights[f"{block}.mlp.c_proj.bias"] = torch.zeros(d)
        for norm in ("ln_1", "ln_2"):
            weights[f"{block}.{norm}.weight"] = torch.ones(d)
            weights[f"{block}.{norm}.bias"] = torch.zeros(d)
    return {f"transformer.{name}": weight for name, weight in weights.items()}


def _write(folder: Path, files: Mapping[str, bytes], *, repair: bool) -> Path:
    """Make ``folder`` hold ``files``; what differs there is replaced only in a ``repair``."""
    try:
        if not folder.exists():
            folder.parent.mkdir(parents=True, exist_ok=True)
            _write_new(folder.absolute(), files)
        old = {name: (folder / name).read_bytes() for name in files if (folder / name).exists()}
        differs = [name for name in old if old[name] != files[name]]
        if differs and not repair:
            raise CheckpointError(
                f"{folder} already holds another {' and '.join(differs)} than the compiled "
                "model's; choose another folder, or remove this one if it is a damaged copy"
            )
        for name, content in files.items():
            if old.get(name) != content:
                # File by file, so that a process that is reading never finds the folder gone.
                temporary = folder / f".{name}.{uuid.uuid4().hex}"
                temporary.write_bytes(content)
                os.replace(temporary, folder / name)
    except OSError as error:
        raise CheckpointError(f"{folder}: the compiled model cannot be written: {error}") from error
    return folder


def _write_new(folder: Path, files: Mapping[str, bytes]) -> None:
    temporary = folder.with_name(f".{folder.name}.{uuid.uuid4().hex}")
    temporary.mkdir()
    try:
        for name, content in files.items():
            (temporary / name).write_bytes(content)
        try:
            os.rename(temporary, folder)
        except OSError:
            if not folder.is_dir():
                raise
            # Another process was faster; the caller looks at what it wrote.
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
