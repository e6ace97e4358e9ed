"""Options of generation as they are given: names, kinds and ranges, before transformers sees them.

What transformers would take without a word and then not honour, or fail on far from the caller, is
refused here by the option's name.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import torch
from transformers.generation.configuration_utils import (
    BaseWatermarkingConfig,
    GenerationConfig,
    WatermarkingConfig,
)

from neoscope.errors import GenerationError
from neoscope.generate.names import FOREIGN, OPTIONS, OWN
from neoscope.indices import listed, whole

_AT_LEAST = {
    "max_length": 1, "max_new_tokens": 1, "min_length": 0, "min_new_tokens": 0, "num_beams": 1,
    "num_return_sequences": 1, "top_k": 0, "no_repeat_ngram_size": 0,
}  # fmt: skip
_SHARES = ("top_p", "typical_p", "min_p", "top_h")
_NUMBERS = (
    *_SHARES, "temperature", "repetition_penalty", "encoder_repetition_penalty", "length_penalty",
    "epsilon_cutoff", "eta_cutoff", "max_time",
)  # fmt: skip
_POSITIVE = ("repetition_penalty", "encoder_repetition_penalty", "max_time")
_FLAGS = ("do_sample", "remove_invalid_values", "renormalize_logits")
_TOKENS = ("eos_token_id", "suppress_tokens", "begin_suppress_tokens")
_TOKEN = ("bos_token_id", "pad_token_id", "forced_bos_token_id", "forced_eos_token_id")
_CLOSE = 0.7
_SEEDS = range(-(1 << 63), 1 << 64)


def check(given: Mapping[str, Any]) -> dict[str, Any]:
    """Refuse options that are unknown, out of range or contradictory, whatever the prompts.

    Args:
        given: What the caller named.

    Returns:
        The same as transformers wants it: whole numbers as floats where it asks for floats, a
        watermark's settings as its own object, no empty list of stop strings.

    Raises:
        GenerationError: As transformers words it where transformers knows it.
    """
    _names(given)
    options = dict(given)
    for name, least in _AT_LEAST.items():
        value = given.get(name)
        number = whole(value)
        if value is not None and (number is None or number < least):
            raise GenerationError(
                f"`{name}` must be a whole number of at least {least}, but is {value!r}"
            )
    for name in _NUMBERS:
        if given.get(name) is not None:
            options[name] = _number(name, given[name])
    for name in _FLAGS:
        if not isinstance(given.get(name), bool | None):
            raise GenerationError(f"`{name}` must be True or False, but is {given[name]!r}")
    _tokens(given)
    _stop_strings(options)
    _watermark(options)
    for total, new in (("max_length", "max_new_tokens"), ("min_length", "min_new_tokens")):
        if given.get(total) is not None and given.get(new) is not None:
            raise GenerationError(
                f"Both `{new}` (={given[new]}) and `{total}`(={given[total]}) seem to have been "
                f"set; `{new}` counts new tokens, `{total}` the prompt too: give one of them"
            )
    asked = GenerationConfig()
    for name, value in options.items():
        setattr(asked, name, value)
    try:
        asked.validate(strict=True)
    except (ValueError, TypeError) as error:
        raise GenerationError(_first_issue(str(error))) from error
    return options


def _names(given: Mapping[str, Any]) -> None:
    known = {name for name in vars(GenerationConfig()) if not name.startswith("_")}
    for name in given:
        if name in OPTIONS or (name in known and given[name] in (None, False)):
            continue
        if name in FOREIGN:
            raise GenerationError(f"generate takes no {name!r}: {FOREIGN[name]}")
        close = difflib.get_close_matches(name, [*OPTIONS, *OWN.keys() - known], 1, _CLOSE)
        hint = f"; did you mean {close[0]!r}?" if close else ""
        if name not in known:
            raise GenerationError(
                f"generate has no option {name!r}{hint or '; help(model.generate) lists them'}"
            )
        raise GenerationError(
            f"{name!r} is an option of transformers' generate that is not supported here"
            f"{OWN.get(name) or hint or '; help(model.generate) lists what is'}"
        )


def _number(name: str, value: Any) -> float:
    try:
        number = None if isinstance(value, bool | str | bytes) else float(value)
    except (TypeError, ValueError, RuntimeError):
        number = None
    if number is None or number != number:
        raise GenerationError(f"`{name}` must be a number, but is {value!r}")
    if name in _SHARES and not 0 <= number <= 1:
        raise GenerationError(f"`{name}` must be between 0 and 1, but is {value!r}")
    if name in _POSITIVE and number <= 0:
        raise GenerationError(f"`{name}` has to be a strictly positive float, but is {value!r}")
    return number


def _tokens(given: Mapping[str, Any]) -> None:
    for name in (*_TOKENS, *_TOKEN):
        value = given.get(name)
        if value is None:
            continue
        ids = [value] if name in _TOKEN else listed(value)
        if any(whole(i) is None for i in ids):
            several = "" if name in _TOKEN else " or a list of them"
            raise GenerationError(f"`{name}` should be a token id{several}, but is {value!r}")


def _stop_strings(options: dict[str, Any]) -> None:
    value = options.get("stop_strings")
    if value is None:
        return
    texts = [value] if isinstance(value, str) else value
    if not isinstance(texts, Sequence) or not all(isinstance(text, str) for text in texts):
        raise GenerationError(f"`stop_strings` should be a text or a list of texts, not {value!r}")
    if "" in texts:
        raise GenerationError("`stop_strings` holds an empty text, which every text holds")
    options["stop_strings"] = list(texts) or None


def _watermark(options: dict[str, Any]) -> None:
    value = options.get("watermarking_config")
    if isinstance(value, BaseWatermarkingConfig | None):
        return
    if not isinstance(value, Mapping):
        raise GenerationError(
            "`watermarking_config` should be transformers' WatermarkingConfig or a dict, but is "
            f"{value!r}"
        )
    try:
        options["watermarking_config"] = WatermarkingConfig(**value)
    except TypeError as error:
        raise GenerationError(f"`watermarking_config`: {error}") from error


def _first_issue(message: str) -> str:
    """Return what transformers says, without its frame of a list and of advice."""
    lines = [line.removeprefix("- ") for line in message.splitlines() if line.startswith("- ")]
    return " ".join(lines) if lines else " ".join(message.split())


def check_vocabulary(given: Mapping[str, Any], d_vocab: int) -> None:
    """Refuse options about tokens that the model does not have.

    Args:
        given: The options.
        d_vocab: Tokens of the vocabulary.

    Raises:
        GenerationError: Names the option and the id.
    """
    for name in ("bad_words_ids", "sequence_bias", *_TOKENS[1:], *_TOKEN[2:]):
        value = given.get(name)
        if value is None:
            continue
        if name == "sequence_bias" and not isinstance(value, Mapping):
            value = [pair[0] for pair in value if isinstance(pair, list | tuple) and pair]
        for token in _flat(value):
            if not 0 <= token < d_vocab:
                raise GenerationError(
                    f"`{name}` should consist of token ids from 0 to {d_vocab - 1}, but holds "
                    f"{token}"
                )


def _flat(value: Any) -> Iterable[int]:
    """Yield the whole numbers of nested lists; transformers says what else is wrong with them."""
    number = whole(value)
    if number is not None:
        yield number
    elif isinstance(value, Mapping | Sequence | torch.Tensor) and not isinstance(value, str):
        for item in value:
            yield from _flat(item)


def check_seed(seed: Any) -> None:
    """Refuse a seed that no generator takes.

    Raises:
        GenerationError: It is no whole number, or too large.
    """
    if seed is None:
        return
    number = whole(seed)
    if number is None:
        raise GenerationError(f"seed={seed!r} is not a whole number")
    if number not in _SEEDS:
        raise GenerationError(f"seed={seed!r} does not fit 64 bits")


def check_streamer(streamer: Any) -> None:
    """Refuse what cannot be streamed to.

    Raises:
        GenerationError: It lacks ``put`` or ``end``.
    """
    if streamer is not None and not all(hasattr(streamer, name) for name in ("put", "end")):
        raise GenerationError(
            f"streamer={streamer!r} has no `put` and `end`, as transformers' streamers do"
        )


def called(items: Any, kind: type, name: str) -> Any:
    """Return one or several processors or criteria as transformers' list.

    Args:
        items: One, a list, or None.
        kind: transformers' list.
        name: The argument's name.

    Raises:
        GenerationError: One cannot be called.
    """
    if items is None:
        return kind()
    several = items if isinstance(items, list | tuple) else [items]
    for item in several:
        if not callable(item):
            raise GenerationError(f"{name} should be called at every step, but holds {item!r}")
    return kind(several)


def allowed(function: Any) -> Callable[[int, Any], Any] | None:
    """Return a ``prefix_allowed_tokens_fn`` that never leaves a row without a token.

    Raises:
        GenerationError: It cannot be called; and, when it is, it allows none.
    """
    if function is None:
        return None
    if not callable(function):
        raise GenerationError(f"prefix_allowed_tokens_fn={function!r} cannot be called")

    def checked(row: int, ids: Any) -> Any:
        tokens = function(row, ids)
        if not hasattr(tokens, "__len__") or not len(tokens):
            raise GenerationError(
                f"prefix_allowed_tokens_fn allows no token for row {row}, but {tokens!r}; to end a "
                "text, allow its end-of-text token"
            )
        return tokens

    return checked
