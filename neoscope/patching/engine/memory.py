"""How much runs at once: what ``batch_tokens`` asks for, or what a bounded memory holds."""

from __future__ import annotations

from typing import Any

import torch

from neoscope.errors import PatchingError
from neoscope.indices import whole

_BYTES_CPU, _BYTES_GPU = 1 << 30, 4 << 30


def read_budget(batch_tokens: Any, width: int, device: torch.device) -> int:
    """Return how many tokens of patched rows are held at once.

    Args:
        batch_tokens: What was asked for; None for the default.
        width: Tokens of the longest prompt, as far as the metric reads.
        device: Where the model is: a GPU holds more.

    Raises:
        PatchingError: It is no whole number, or does not hold one prompt.
    """
    default = 4096 if device.type == "cpu" else 32768
    if batch_tokens is None:
        return max(default, width)
    budget = _tokens(batch_tokens, f"the default, {default}")
    if budget < width:
        raise PatchingError(
            f"batch_tokens={batch_tokens} does not hold one prompt of {width} tokens; give {width} "
            f"or more (the default is {default})"
        )
    return budget


def rows_at_once(
    batch_tokens: Any,
    width: int,
    row_bytes: int,
    device: torch.device,
    *,
    together: int = 1,
    metric: str = "",
) -> int:
    """Return how many prompts run at once.

    Args:
        batch_tokens: Tokens (padding counted) that were asked for; None for about 1 GB of
            activations on a CPU, 4 GB on a GPU.
        width: Tokens of the longest prompt.
        row_bytes: What one prompt's activations take.
        device: Where the model is.
        together: Prompts that a metric must see at once.
        metric: Its name.

    Raises:
        PatchingError: It is no whole number, or does not hold the prompts that run together.
    """
    if batch_tokens is None:
        return max(together, (_BYTES_CPU if device.type == "cpu" else _BYTES_GPU) // row_bytes)
    budget = _tokens(batch_tokens, "about 1 GB of activations (4 GB on a GPU)")
    if budget < together * width:
        who = "one row"
        if together > 1:
            who = f"the {together} pairs, which {metric!r} must see at once,"
        raise PatchingError(
            f"batch_tokens={batch_tokens} is too small: {who} of {width} tokens "
            f"need{'s' * (together == 1)} {together * width}; give at least that, or None"
        )
    return budget // width


def _tokens(batch_tokens: Any, default: str) -> int:
    number = whole(batch_tokens)
    if number is None:
        raise PatchingError(
            f"batch_tokens={batch_tokens!r}; expected a whole number of tokens, or None for "
            f"{default}"
        )
    return number
