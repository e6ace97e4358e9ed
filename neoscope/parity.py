"""Is it the same model? Logits, hidden states and attentions beside transformers' own GPT-Neo."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from neoscope import organism
from neoscope.checkpoint import Checkpoint
from neoscope.contract_report import Check, tolerance
from neoscope.errors import MissingExtraError
from neoscope.hub import WEIGHT_NAMES
from neoscope.kv_cache import KVCache
from neoscope.model import HookedGPTNeo

if TYPE_CHECKING:
    from transformers import PreTrainedModel

_WHAT = "equals transformers"


def compare(
    model: HookedGPTNeo, name_or_path: str, *, revision: str | None = None, seed: int = 0
) -> list[Check]:
    """Compare a loaded model with transformers' GPTNeoForCausalLM on the same checkpoint.

    Texts are random tokens: three, and one longer than the window; left and right padded; and token
    by token with a KV cache. Runs under ``no_grad``.

    Args:
        model: The loaded model.
        name_or_path: What it was loaded from.
        revision: Its revision.
        seed: Of the tokens.

    Returns:
        One row a comparison; errors are relative to the largest value.

    Raises:
        MissingExtraError: transformers is not installed.
    """
    theirs, problem = _reference(organism.locate(name_or_path, revision=revision), model)
    limit = tolerance(model.dtype, whole_run=True)
    if theirs is None:
        return [Check(_WHAT, "loading", "", True, 0.0, limit, problem)]
    generator = torch.Generator().manual_seed(seed)
    config = model.config
    rows: list[Check] = []
    lengths = sorted({min(3, config.n_ctx), min(config.n_ctx, config.window_size + 44)})
    with torch.no_grad():
        for n in lengths:
            tokens = torch.randint(config.d_vocab, (2, n), generator=generator).to(model.device)
            rows += _one_length(model, theirs, tokens, limit)
        rows += _padded(model, theirs, tokens, limit)
        rows.append(_cached(model, theirs, tokens[:1, : min(n, 40)], limit))
    return rows


def _reference(found: Checkpoint, model: HookedGPTNeo) -> tuple[PreTrainedModel | None, str]:
    """Load transformers' own model; None and the reason where it cannot read the checkpoint."""
    try:
        from transformers import GPTNeoConfig, GPTNeoForCausalLM
        from transformers.utils import logging as progress_bars
    except ImportError as error:
        raise MissingExtraError("verify needs transformers: pip install transformers") from error
    shown = progress_bars.is_progress_bar_enabled()
    progress_bars.disable_progress_bar()
    try:
        # The weights decide whether the embeddings are tied; an old config.json may be wrong.
        config = GPTNeoConfig.from_pretrained(str(found.folder))
        config.tie_word_embeddings = found.config.tie_word_embeddings
        with _as_folder(found, config) as folder:
            loaded: Any = GPTNeoForCausalLM.from_pretrained(
                folder,
                config=config,
                dtype=model.dtype,
                attn_implementation="eager",
                local_files_only=True,
                output_loading_info=True,
            )
    except Exception as error:  # whatever transformers raises, it cannot be the reference
        return None, f"not compared: transformers cannot read it ({type(error).__name__})"
    finally:
        if shown:
            progress_bars.enable_progress_bar()
    theirs, report = loaded
    missing = [key for key in report["missing_keys"] if key != "lm_head.weight"]
    if missing:
        return None, f"not compared: transformers finds no {missing[0]} in it"
    reference: PreTrainedModel = theirs.to(model.device).eval()
    return reference, ""


@contextlib.contextmanager
def _as_folder(found: Checkpoint, config: Any) -> Iterator[str]:
    """Yield a folder in which transformers finds the very file that was loaded.

    By itself it would take ``model.safetensors``, whichever file beside it was asked for.
    """
    if len(found.files) != 1 or found.files[0].name in WEIGHT_NAMES[:1]:
        yield str(found.folder)
        return
    with tempfile.TemporaryDirectory() as folder:
        safe = found.files[0].suffix == ".safetensors"
        name = "model.safetensors" if safe else "pytorch_model.bin"
        (Path(folder) / name).symlink_to(found.files[0].absolute())
        config.save_pretrained(folder)
        yield folder


def _row(what: str, ours: Tensor, theirs: Tensor, limit: float) -> Check:
    scale = float(theirs.abs().max()) or 1.0
    error = float((ours.double() - theirs.double()).abs().max()) / scale
    return Check(_WHAT, what, "", error <= limit, error, limit)


def _one_length(model: HookedGPTNeo, theirs: Any, tokens: Tensor, limit: float) -> list[Check]:
    n = tokens.shape[1]
    out = theirs(tokens, output_hidden_states=True, output_attentions=True)
    logits, cache = model.run_with_cache(tokens, sites=["resid_pre", "pattern"])
    rows = [
        _row(f"logits, {n} tokens", model(tokens), out.logits, limit),
        _row(f"logits while caching, {n} tokens", logits, out.logits, limit),
        _row(f"last hidden state, {n} tokens", model(tokens, return_type="hidden"),
             out.hidden_states[-1], limit),
    ]  # fmt: skip
    for layer, kind in enumerate(model.config.kinds):
        hidden = _row(f"hidden state {layer}, {n} tokens", cache["resid_pre", layer],
                      out.hidden_states[layer], limit)  # fmt: skip
        pattern = _row(f"attentions {layer} ({kind}), {n} tokens", cache["pattern", layer],
                       out.attentions[layer], limit)  # fmt: skip
        rows += [hidden, pattern]
    return rows


def _padded(model: HookedGPTNeo, theirs: Any, tokens: Tensor, limit: float) -> list[Check]:
    rows = []
    for side in ("right", "left"):
        mask = torch.ones_like(tokens)
        cut = tokens.shape[1] // 3
        place = slice(-cut or None, None) if side == "right" else slice(0, cut)
        if cut:
            mask[0, place] = 0
        position = (mask.cumsum(1) - 1).clamp(min=0)
        out = theirs(tokens, attention_mask=mask, position_ids=position).logits
        real = mask.bool()
        ours = model(tokens, mask)
        rows.append(_row(f"logits, padded on the {side}", ours[real], out[real], limit))
    return rows


def _cached(model: HookedGPTNeo, theirs: Any, tokens: Tensor, limit: float) -> Check:
    past = KVCache()
    ours = torch.cat([model(tokens[:, i : i + 1], past=past) for i in range(tokens.shape[1])], 1)
    return _row("logits, token by token", ours, theirs(tokens).logits, limit)
