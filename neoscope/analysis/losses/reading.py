"""Surprisal, entropy and rank of every token of any number of texts."""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from neoscope.analysis.given import whole_number
from neoscope.analysis.losses.result import TokenLosses
from neoscope.analysis.metrics import count_words
from neoscope.analysis.reading import GivenModel, GivenProgress, as_model, check_progress
from neoscope.analysis.readout import Readout, Wanted, spans
from neoscope.analysis.texts import given_texts, kept_texts
from neoscope.analysis.words import token_strings, vocabulary
from neoscope.batching import length_batches
from neoscope.errors import AnalysisError, TokenizationError
from neoscope.inputs import is_text
from neoscope.packed import Packed
from neoscope.progress import Progress
from neoscope.tokens import Tokens, from_ids

if TYPE_CHECKING:
    from neoscope.model import HookedGPTNeo

_BLOCK = 1024
_BATCH_TOKENS = 2048


def token_losses(
    model: GivenModel,
    texts: Any,
    attention_mask: Any = None,
    *,
    prepend_bos: bool = False,
    truncate: bool = False,
    batch_tokens: int = _BATCH_TOKENS,
    progress: GivenProgress = True,
) -> TokenLosses:
    """Return how surprising every token of some texts is.

    Texts are run in batches of like length, and their logits are read a few rows at a time, so
    that memory does not grow with their number but for the result. Edits and hooks that are in
    force act.

    Args:
        model: The model.
        texts: One text or several; or token ids [texts, pos], or what ``model.tokenize`` gave.
        attention_mask: For ids: which are real.
        prepend_bos: For texts: put the beginning-of-text token first, so that the first of their
            own tokens has a surprisal too. GPT-Neo was trained without.
        truncate: For texts: cut at the context length instead of refusing; words and bytes are
            then those of what is left.
        batch_tokens: Most tokens run at once.
        progress: True for a bar after two seconds, or a function of texts done and in all.

    Returns:
        All tokens. Interrupted by Ctrl-C, those of the texts that were done, with
        ``complete=False`` and a warning.

    Raises:
        AnalysisError: There are no texts, or something else was given for them or for the model.
        TokenizationError: A text is empty or too long.

    Example:
        >>> import neoscope as ns
        >>> found = token_losses(ns.load("organism"), "The keys near the cabinet are")
        >>> found.tokens[3], int(found.rank[3]), found.top_tokens[3]
        (' the', 1, ' the')
        >>> round(found.perplexity, 1) == round(2.718281828 ** found.loss, 1)
        True
    """
    batch_tokens = whole_number(batch_tokens, "batch_tokens")
    model = as_model(model, "token_losses")
    check_progress(progress, "token_losses")
    total, blocks = _blocks(model, texts, attention_mask, prepend_bos, truncate)
    readout = Readout(model.unembed.rows.detach())
    parts: list[dict[str, Any]] = []
    try:
        with Progress(progress, total, "text") as bar:
            for start, tokens in blocks:
                part = _measured(model, tokens, readout, batch_tokens, bar)
                parts.append(part | {"text": part["text"] + start})
    except KeyboardInterrupt:
        if not parts:
            raise
        done = sum(len(part["n_words"]) for part in parts)
        warnings.warn(f"interrupted: {done:,} of {total:,} texts are done", stacklevel=2)
        return _finished(model, parts, complete=False)
    return _finished(model, parts, complete=True)


def _blocks(
    model: HookedGPTNeo, texts: Any, mask: Any, prepend_bos: bool, truncate: bool
) -> tuple[int, Iterator[tuple[int, Tokens]]]:
    """Return how many texts there are, and them tokenized, a block at a time."""
    texts = given_texts(texts, "token_losses")
    if not isinstance(texts, Tokens | Tensor) and not len(texts):
        raise AnalysisError("token_losses: there are no texts")
    if not is_text(texts):
        if not isinstance(texts, Tokens):
            ids, real = from_ids(texts, mask, d_vocab=model.config.d_vocab)
            real = torch.ones_like(ids, dtype=torch.bool) if real is None else real
            if real.shape != ids.shape:
                raise TokenizationError(
                    f"attention_mask has shape {tuple(real.shape)}; the tokens have "
                    f"{tuple(ids.shape)}"
                )
            texts = Tokens(ids, real)
        n = len(texts.ids)
        starts = range(0, n, _BLOCK)
        return n, ((i, texts.rows(slice(i, min(n, i + _BLOCK)))) for i in starts)
    several = [texts] if isinstance(texts, str) else texts
    return len(several), _tokenized(model, several, prepend_bos, truncate)


def _tokenized(
    model: HookedGPTNeo, texts: Sequence[str], prepend_bos: bool, truncate: bool
) -> Iterator[tuple[int, Tokens]]:
    for start in range(0, len(texts), _BLOCK):
        some = list(texts[start : start + _BLOCK])
        try:
            yield start, model.tokenize(some, prepend_bos=prepend_bos, truncate=truncate)
        except TokenizationError as error:
            raise TokenizationError(_numbered(str(error), start)) from error


def _numbered(message: str, start: int) -> str:
    """Return a message in which the number of a text counts all texts."""
    return re.sub(r"^text (\d+)", lambda found: f"text {int(found[1]) + start}", message)


def _measured(
    model: HookedGPTNeo, tokens: Tokens, readout: Readout, batch_tokens: int, bar: Progress
) -> dict[str, Any]:
    """Return the columns of a block of texts."""
    lengths = tokens.mask.sum(1).cpu().numpy()
    first = np.concatenate([[0], np.cumsum(lengths)])
    n = int(first[-1])
    kept = kept_texts(tokens)
    ids = tokens.ids[tokens.mask].cpu()
    columns: dict[str, Any] = {
        "text": np.repeat(np.arange(len(lengths)), lengths),
        "position": np.arange(n) - np.repeat(first[:-1], lengths),
        "ids": ids.numpy(),
        "tokens": [word for row in token_strings(tokens, model) for word in row],
        "surprisal": np.full(n, np.nan, np.float32),
        "entropy": np.full(n, np.nan, np.float32),
        "rank": np.zeros(n, np.int64),
        "top": np.full(n, -1),
        "top_probability": np.full(n, np.nan, np.float32),
        "n_words": np.array([count_words(t) for t in kept] or [0] * len(lengths)),
        "n_bytes": np.array([len(t.encode()) for t in kept] or [0] * len(lengths)),
    }
    for batch in length_batches(lengths.tolist(), batch_tokens, padded=model.is_edited):
        some = [np.arange(first[t], first[t + 1]) for t in batch]
        _fill(model, ids, some, readout, columns)
        bar.update(len(batch))
    return columns


def _fill(
    model: HookedGPTNeo,
    ids: Tensor,
    texts: Sequence[Any],
    readout: Readout,
    columns: dict[str, Any],
) -> None:
    """Run some texts, and write what is said of each of their tokens but the first."""
    places = np.concatenate(texts)
    last = np.cumsum([len(t) for t in texts]) - 1
    hidden = _hidden(model, ids[places].to(model.device), [len(t) for t in texts])
    speaks = np.delete(np.arange(len(places)), last)
    for span in spans(len(speaks), readout.most):
        rows = torch.from_numpy(speaks[span]).to(model.device)
        target = places[speaks[span]] + 1
        none = torch.zeros(0, dtype=torch.long, device=model.device)
        with torch.no_grad():
            said = readout.read(hidden[rows], Wanted(1, ids[target].to(model.device), none))
        found = {
            "surprisal": said.log_sum - said.next_logit,
            "entropy": said.entropy,
            "rank": said.next_rank,
            "top": said.top_ids[:, 0],
            "top_probability": (said.top_logits[:, 0] - said.log_sum).exp(),
        }
        for name, values in found.items():
            columns[name][target] = values.cpu().numpy()


def _hidden(model: HookedGPTNeo, ids: Tensor, lengths: Sequence[int]) -> Tensor:
    """Return the final states of texts that lie one after another, [token, d_model]."""
    with torch.no_grad():
        if not model.is_edited:
            packed = Packed(lengths, model.device)
            hidden: Tensor = model(ids[None], return_type="hidden", _visibility=packed)[0]
            return hidden
        sizes = torch.tensor(lengths, device=model.device)
        mask = torch.arange(max(lengths), device=model.device) < sizes[:, None]
        padded = torch.zeros_like(mask, dtype=torch.long).masked_scatter_(mask, ids)
        whole_rows: Tensor = model(padded, mask, return_type="hidden")
        return whole_rows[mask]


def _finished(
    model: HookedGPTNeo, parts: Sequence[dict[str, Any]], *, complete: bool
) -> TokenLosses:
    names = [name for name in parts[0] if name not in ("tokens", "top")]
    rows = {name: np.concatenate([part[name] for part in parts]) for name in names}
    top = np.concatenate([part["top"] for part in parts])
    known, place = np.unique(top, return_inverse=True)
    words = vocabulary([i for i in known.tolist() if i >= 0], model.tokenizer)
    words = [""] * (len(known) - len(words)) + words
    return TokenLosses(
        model=str(model.cfg.model_name),
        tokens=tuple(word for part in parts for word in part["tokens"]),
        top_tokens=tuple(words[i] for i in place),
        **rows,
        complete=complete,
    )
