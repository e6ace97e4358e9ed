"""Texts as batches that a model reads, and the parts of a run that probes use in a model."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from neoscope.errors import ProbeError


@dataclass(frozen=True, eq=False)
class Batch:
    """Some texts as token ids."""

    ids: Int[Tensor, "batch pos"]
    mask: Bool[Tensor, "batch pos"]
    """True where a token is real."""
    rows: slice
    """Which of all texts they are."""

    @property
    def last(self) -> Int[Tensor, " batch"]:
        """The column of each text's last token."""
        columns = torch.arange(self.mask.shape[1], device=self.mask.device)
        return (columns * self.mask).argmax(1)


def read_batches(
    model: Any, texts: Any, *, batch_size: int = 32, prepend_bos: bool = False
) -> list[Batch]:
    """Cut texts into batches.

    Args:
        model: A HookedGPTNeo.
        texts: Texts; or token ids [texts, pos], or what ``model.tokenize`` gave.
        batch_size: Texts in a batch.
        prepend_bos: For texts: put the beginning-of-text token first.

    Raises:
        ProbeError: There are no texts, or ``batch_size`` is below 1.
    """
    if batch_size < 1:
        raise ProbeError(f"batch_size={batch_size}; expected at least 1")
    if isinstance(texts, str):
        texts = [texts]
    if hasattr(texts, "ids") and hasattr(texts, "mask"):
        ids, mask = texts.ids, texts.mask
    elif _is_text(texts):
        tokens = model.tokenize(list(texts), prepend_bos=prepend_bos)
        ids, mask = tokens.ids, tokens.mask
    else:
        ids = torch.as_tensor(texts)
        mask = torch.ones(ids.shape, dtype=torch.bool)
    if ids.ndim != 2 or not len(ids):
        raise ProbeError(f"texts are token ids of shape {tuple(ids.shape)}; expected [texts, pos]")
    found = []
    for start in range(0, len(ids), batch_size):
        rows = slice(start, min(start + batch_size, len(ids)))
        seen = mask[rows].any(0)
        one = ids[rows][:, seen].to(model.device), mask[rows][:, seen].to(model.device)
        found.append(Batch(*one, rows))
    return found


def _is_text(texts: Any) -> bool:
    if isinstance(texts, Tensor) or hasattr(texts, "dtype"):
        return False
    if not isinstance(texts, Sequence) or not texts:
        raise ProbeError("texts must be a list of texts, not empty, or token ids [texts, pos]")
    return isinstance(texts[0], str)


def start_layer(model: Any, layer: int | None, site: str) -> int | None:
    """Return the layer from which a run that edits a site need only begin; None for the start."""
    if model.is_edited or (layer is None and not site.startswith("ln_final")):
        return None
    n: int = model.config.n_layers
    return n if layer is None else layer % n


def streams(model: Any, batches: Iterable[Batch], layer: int | None) -> list[Tensor | None]:
    """Return each batch's residual stream before a layer; None where runs begin with tokens."""
    if layer is None:
        return [None for _ in batches]
    with torch.inference_mode():
        return [model(batch.ids, batch.mask, stop_at_layer=layer) for batch in batches]


def last_logits(
    model: Any, batch: Batch, stream: Tensor | None, layer: int | None, edits: Sequence[Any] = ()
) -> Float[Tensor, "batch d_vocab"]:
    """Return the logits after each text's last token, in float32.

    Args:
        model: A HookedGPTNeo.
        batch: The texts.
        stream: Their residual stream before ``layer``; None to begin with tokens.
        layer: Where to begin.
        edits: Of this run.
    """
    with torch.inference_mode():
        hidden = model(
            batch.ids if stream is None else stream,
            batch.mask,
            start_at_layer=None if stream is None else layer,
            edits=list(edits),
            return_type="hidden",
        )
        rows = torch.arange(len(hidden), device=hidden.device)
        logits: Tensor = model.unembed(hidden[rows, batch.last][:, None])[:, 0].float()
        return logits
