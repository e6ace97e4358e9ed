"""What transformers' pipelines take beside generate's options: devices, how a prompt is cut."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from neoscope.errors import ArgumentError, GenerationError
from neoscope.indices import whole

_REFUSED = {
    "add_special_tokens": "prompts are tokenized as they stand; prepend_bos=True puts one first",
    "clean_up_tokenization_spaces": "text is returned as the model wrote it",
    "continue_final_message": "there are no chats",
    "documents": "there are no chats",
    "framework": "it is torch",
    "model_kwargs": "neoscope.load takes what a model can be told",
    "num_workers": "nothing is loaded by workers",
    "padding": "texts are padded where batch_size asks for it",
    "return_cache": "call model.generate",
    "return_type": "return_full_text=False and return_tensors=True say what is returned",
    "skip_special_tokens": "text is without special tokens; return_tensors=True has them",
    "tokenizer_encode_kwargs": "prompts are tokenized as they stand",
    "tools": "there are no chats",
    "trust_remote_code": "no code of a checkpoint is run",
}
"""Why a pipeline does not take it."""
_HARMLESS: Mapping[str, tuple[Any, ...]] = {
    "skip_special_tokens": (True,), "framework": ("pt",), "padding": (True, False),
}  # fmt: skip
"""What some of them may say all the same, because it is so anyway."""


def refuse(options: dict[str, Any]) -> None:
    """Take out what says what is so anyway, and refuse what has no meaning here.

    Args:
        options: Of a pipeline or of a call of one; changed.

    Raises:
        GenerationError: Names the option, and says why.
    """
    for name, why in _REFUSED.items():
        if name not in options:
            continue
        value = options.pop(name)
        if value is None or value in _HARMLESS.get(name, (False,)):
            continue
        raise GenerationError(f"the pipeline takes no {name}={value!r}: {why}")


def read_form(options: dict[str, Any]) -> tuple[bool, bool]:
    """Take out what says in which form the answer comes.

    Returns:
        Whether the prompt is part of the text, and whether token ids come instead of text.

    Raises:
        GenerationError: Two of them were given.
    """
    names = ("return_full_text", "return_text", "return_tensors")
    said = {name: options.pop(name, None) for name in names}
    given = [name for name in names if said[name] is not None]
    if len(given) > 1:
        raise GenerationError(f"`{given[0]}` is mutually exclusive with `{given[1]}`")
    return said["return_full_text"] is not False, bool(said["return_tensors"])


def read_place(device: Any, device_map: Any) -> Any:
    """Return the device that transformers' ``device`` or ``device_map`` stands for.

    Args:
        device: A device, its name, or a number: -1 is the CPU, 0 the first GPU.
        device_map: ``"auto"`` (a GPU if there is one) or a device.

    Raises:
        ArgumentError: Both were given, or parts are to lie on several devices.
    """
    if device_map is not None:
        if device is not None:
            raise ArgumentError("`device` and `device_map` say the same; give one of them")
        if isinstance(device_map, Mapping) or device_map in ("balanced", "sequential"):
            raise ArgumentError(
                f"device_map={device_map!r}: a model is on one device here; device= says which"
            )
        device = device_map
        if device == "auto":
            device = "cuda" if torch.cuda.is_available() else "cpu"
    if device is None:
        return "cpu"
    number = whole(device)
    if number is None:
        return device
    if number < -1:
        raise ArgumentError(f"device={device!r}: -1 is the CPU, 0 the first GPU")
    return "cpu" if number == -1 else f"cuda:{number}"


def read_cut(options: dict[str, Any]) -> str | None:
    """Take out what says which end of a prompt is cut where it leaves no room for new tokens.

    Returns:
        ``"right"`` for ``truncation=True``, ``"left"`` for ``handle_long_generation="hole"``,
        None for neither.

    Raises:
        GenerationError: Both, or a value that means nothing.
    """
    truncation, hole = options.pop("truncation", None), options.pop("handle_long_generation", None)
    if not isinstance(truncation, bool | None):
        raise GenerationError(f"truncation={truncation!r} is none of True and False")
    if hole not in (None, "hole"):
        raise GenerationError(f"handle_long_generation={hole!r} is neither None nor 'hole'")
    if truncation and hole:
        raise GenerationError("truncation=True cuts a prompt's end, 'hole' its start: give one")
    return "left" if hole else "right" if truncation else None


def cut(ids: list[int], side: str | None, n_ctx: int, options: Mapping[str, Any]) -> list[int]:
    """Return as much of a prompt as leaves room for what is asked for.

    Args:
        ids: The prompt's.
        side: Which end is cut; None cuts nothing.
        n_ctx: The model's context.
        options: They say how many new tokens, or how many in all; where neither, one has room.

    Raises:
        GenerationError: So many new tokens do not fit at all.
    """
    if side is None:
        return ids
    new, total = whole(options.get("max_new_tokens")), whole(options.get("max_length"))
    room = n_ctx - new if new is not None else min(n_ctx, total or n_ctx) - 1
    if room < 1:
        raise GenerationError(
            f"no cut of a prompt makes room: the model's context is {n_ctx}, and "
            f"{f'max_new_tokens={new}' if new is not None else f'max_length={total}'}"
        )
    return ids[:room] if side == "right" else ids[-room:]
