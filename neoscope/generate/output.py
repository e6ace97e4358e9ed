"""From the ids that a loop ended with to what the caller asked for."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from neoscope.errors import GenerationError, nearest
from neoscope.generate.prompts import Prompts
from neoscope.generate.result import Generated
from neoscope.generate.text import Grown
from neoscope.tokens import Tokens

if TYPE_CHECKING:
    from neoscope.generate.options import Plan
    from neoscope.model import HookedGPTNeo

RETURN_TYPES = ("text", "tokens", "result")


def check_return_type(return_type: str | None, model: HookedGPTNeo, kind: str) -> str:
    """Return the asked-for form, or the one in which the prompts came.

    Raises:
        GenerationError: There is no such form, or no tokenizer for text.
    """
    if return_type is None:
        return "tokens" if kind == "tokens" else "text"
    if return_type not in RETURN_TYPES:
        hint = nearest(str(return_type), RETURN_TYPES)
        raise GenerationError(f"return_type={return_type!r} is none of {RETURN_TYPES}{hint}")
    if return_type == "text" and model.tokenizer is None:
        raise GenerationError("return_type='text' needs a tokenizer, and the model has none")
    return return_type


def output(model: HookedGPTNeo, prompts: Prompts, plan: Plan, text: Grown, form: str) -> Any:
    """Return text, token ids or a :class:`Generated`.

    Args:
        model: Its tokenizer is used.
        prompts: What was given.
        plan: How many texts each prompt has.
        text: What came of it.
        form: One of ``RETURN_TYPES``.
    """
    if form == "tokens":
        return text.ids
    if form == "result":
        return _result(model, prompts, plan, text)
    starts, new = _prompt_texts(model, prompts, plan.n_return), _continuations(model, text)
    texts = [f"{a}{b}" for a, b in zip(starts, new, strict=True)]
    one = prompts.kind == "text" or (prompts.kind == "tokens" and len(prompts.ids) == 1)
    return texts[0] if one and plan.n_return == 1 else texts


def new_tokens(text: Grown) -> list[list[int]]:
    """Return the ids that each row got."""
    ids, real = text.ids[:, text.start :].tolist(), text.real[:, text.start :].tolist()
    return [
        [i for i, keep in zip(row, kept, strict=True) if keep]
        for row, kept in zip(ids, real, strict=True)
    ]


def _prompt_texts(model: HookedGPTNeo, prompts: Prompts, n_return: int) -> list[str | None]:
    if prompts.texts is not None:
        texts: list[str | None] = list(prompts.texts)
    elif model.tokenizer is None:
        texts = [None] * len(prompts.ids)
    else:
        mask = torch.ones_like(prompts.ids).bool() if prompts.mask is None else prompts.mask
        texts = [_decode(model, ids[m].tolist()) for ids, m in zip(prompts.ids, mask, strict=True)]
    return [text for text in texts for _ in range(n_return)]


def _continuations(model: HookedGPTNeo, text: Grown) -> list[str | None]:
    if model.tokenizer is None:
        return [None] * len(text.ids)
    return [_decode(model, ids) for ids in new_tokens(text)]


def _decode(model: HookedGPTNeo, ids: list[int]) -> str:
    assert model.tokenizer is not None
    return str(model.tokenizer.decode(ids, skip_special_tokens=True))


def _strings(model: HookedGPTNeo, ids: list[int]) -> tuple[str, ...]:
    if model.tokenizer is None:
        return ()
    decode = model.tokenizer.decode
    return tuple(str(decode([i], clean_up_tokenization_spaces=False)) for i in ids)


def _result(model: HookedGPTNeo, prompts: Prompts, plan: Plan, text: Grown) -> Generated:
    tokens = new_tokens(text)
    lengths = text.real.sum(1).tolist()
    stopped = [
        "context" if why == "length" and length >= model.config.n_ctx else why
        for why, length in zip(text.stopped, lengths, strict=True)
    ]
    log_probs = None
    if text.log_probs is not None:
        rows = zip(text.log_probs.tolist(), tokens, strict=True)
        log_probs = tuple(tuple(row[: len(ids)]) for row, ids in rows)
    return Generated(
        model=model.cfg.model_name,
        prompts=tuple(_prompt_texts(model, prompts, plan.n_return)),
        continuations=tuple(_continuations(model, text)),
        tokens=tuple(map(tuple, tokens)),
        strings=tuple(_strings(model, ids) for ids in tokens) if model.tokenizer else (),
        log_probs=log_probs,
        scores=None if text.scores is None else tuple(text.scores.tolist()),
        stopped=tuple(stopped),
    )


def whole_texts(model: HookedGPTNeo, text: Grown) -> Tokens:
    """Return prompts and new tokens as one tokenized batch, padded on the right."""
    order = torch.sort((~text.real).to(torch.int8), dim=1, stable=True).indices
    longest = int(text.real.sum(1).max())
    mask: Tensor = text.real.gather(1, order)[:, :longest]
    ids = text.ids.gather(1, order)[:, :longest]
    ids = torch.where(mask, ids, 0)  # a pad token may lie outside the embedding
    strings = [_strings(model, row[m].tolist()) for row, m in zip(ids, mask, strict=True)]
    return Tokens(ids=ids, mask=mask, strings=tuple(strings) if model.tokenizer else ())
