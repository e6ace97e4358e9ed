"""One prompt through a model with some edits: what the microscope reads of it."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from neoscope.analysis.words import spelled
from neoscope.cache import ActivationCache
from neoscope.edits import Edit
from neoscope.errors import TokenizationError, ViewError
from neoscope.inputs import next_token_loss
from neoscope.unseen import UnseenWordWarning
from neoscope.views.microscope.quantising import shares, thumbnails

if TYPE_CHECKING:
    from neoscope.model import HookedGPTNeo
    from neoscope.tokens import Tokens

MOST_TOKENS = 512
"""Longest prompt: the patterns of every head are kept while it is looked at."""


@dataclass(frozen=True, eq=False)
class PromptRun:
    """What a run of one prompt gave."""

    text: str
    tokens: tuple[str, ...]
    logits: Float[Tensor, "pos d_vocab"]
    """On the CPU, float32."""
    loss: float | None
    """Mean nats a token; None for one token, which predicts nothing that is there."""
    cache: ActivationCache
    """Patterns, and the residual stream after the embeddings and after every block."""
    notes: tuple[str, ...]
    """What the tokenizer warned of."""

    def __len__(self) -> int:
        """Return the number of tokens."""
        return len(self.tokens)

    def pattern(self, layer: int, head: int) -> Float[np.ndarray, "query key"]:
        """Return where each token looks in one head, as shares.

        Args:
            layer: From 0.
            head: From 0.
        """
        return np.asarray(self.cache["pattern", layer][0, head].float().cpu().numpy())

    def pattern_bytes(self, layer: int, head: int) -> bytes:
        """Return the same in steps of 1/255, row by row."""
        return shares(self.pattern(layer, head)).tobytes()

    @cached_property
    def thumbnail_size(self) -> int:
        """Rows and columns of each thumbnail."""
        return int(thumbnails(self.pattern(0, 0)[None]).shape[1])

    @cached_property
    def thumbnail_bytes(self) -> bytes:
        """Thumbnails of all heads: layer by layer, head by head, row by row."""
        layers = range(self.cache.config.n_layers)
        rows = (self.cache["pattern", layer][0].float().cpu().numpy() for layer in layers)
        return b"".join(thumbnails(row).tobytes() for row in rows)

    def log_probs(self, position: int) -> Float[Tensor, " d_vocab"]:
        """Return what comes next, in nats.

        Args:
            position: From 0.
        """
        return self.logits[position].log_softmax(-1)

    @cached_property
    def norms(self) -> list[float]:
        """Mean length of the residual stream after each block."""
        layers = range(self.cache.config.n_layers)
        return [float(self.cache["resid_post", i][0].float().norm(dim=-1).mean()) for i in layers]


def run_prompt(model: HookedGPTNeo, text: str, edits: Sequence[Edit] = ()) -> PromptRun:
    """Run a prompt.

    Args:
        model: With a tokenizer.
        text: Not empty.
        edits: In force in this run.

    Raises:
        TokenizationError: The prompt is empty or longer than the context, or is no text.
        ViewError: It has more than :data:`MOST_TOKENS` tokens, or the model has hooks or edits in
            force.
        SiteError: An edit's part does not exist.
        EditError: An edit's value does not fit.
    """
    refuse_edited(model)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", UnseenWordWarning)
        tokens = _read(model, text)
    unseen = [one for one in caught if issubclass(one.category, UnseenWordWarning)]
    for one in caught:
        if one not in unseen:
            warnings.warn_explicit(one.message, one.category, one.filename, one.lineno)
    n = tokens.ids.shape[1]
    if n > MOST_TOKENS:
        raise ViewError(
            f"the prompt has {n} tokens; the microscope shows up to {MOST_TOKENS}. Shorten it, or "
            "use the figures of neoscope.views, which thin out"
        )
    sites = ["pattern", "resid_post", "blocks.0.hook_resid_pre"]
    with torch.no_grad():
        logits, cache = model.run_with_cache(tokens, sites=sites, edits=list(edits))
        loss = next_token_loss(logits, tokens.ids, None, per_token=False) if n > 1 else None
    return PromptRun(
        text=text,
        tokens=tuple(spell(model, tokens.ids[0].tolist(), tokens.strings[0])),
        logits=logits[0].float().cpu(),
        loss=None if loss is None else _number(loss),
        cache=cache,
        notes=tuple(str(one.message) for one in unseen),
    )


def refuse_edited(model: HookedGPTNeo) -> None:
    """Refuse a model that is not what its weights say: "unedited" would be untrue of it.

    Args:
        model: Any.

    Raises:
        ViewError: Hooks or edits are in force.
    """
    if model.is_edited:
        raise ViewError(
            "the model has hooks or edits in force, which the microscope would show as unedited; "
            "take them off (model.reset_hooks(), leave the `with model.edits(...)`) and set them "
            "on the microscope: microscope.edits = [...]"
        )


def spell(model: HookedGPTNeo, ids: Sequence[int], strings: Sequence[str]) -> list[str]:
    r"""Return tokens with bytes that are no whole letters as such: ``"\xe2"``.

    Args:
        model: Its tokenizer has the tokens' own names.
        ids: The tokens.
        strings: Each decoded by itself.
    """
    pieces = getattr(model.tokenizer, "convert_ids_to_tokens", None)
    return [
        spelled(text, str(pieces(i))) if pieces is not None and "\ufffd" in text else text
        for i, text in zip(ids, strings, strict=True)
    ]


def decoded(model: HookedGPTNeo, i: int) -> str:
    """Return one token's text.

    Args:
        model: With a tokenizer.
        i: The token's id.
    """
    assert model.tokenizer is not None  # it read the prompt
    text = str(model.tokenizer.decode([i], clean_up_tokenization_spaces=False))
    return spell(model, [i], [text])[0]


def _read(model: HookedGPTNeo, text: str) -> Tokens:
    """Tokenize one prompt; what is wrong with it is said without options that are not here."""
    if isinstance(text, str) and not text:
        raise TokenizationError("the prompt is empty; write something")
    tokens = model.tokenize(text, truncate=True)
    if tokens.truncated[0]:
        n = tokens.ids.shape[1] + tokens.truncated[0]
        raise TokenizationError(
            f"the prompt has {n} tokens, but the model's context is {model.config.n_ctx}; "
            "shorten it"
        )
    return tokens


def _number(value: Any) -> float | None:
    number = float(value)
    return number if np.isfinite(number) else None
