"""Devices and dtypes, by torch's own objects or by name, and what tells that memory ran out."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import torch

from neoscope.errors import ArgumentError

_OUT_OF_MEMORY = ("out of memory", "allocate memory", "not enough memory", "alloc_failed")
_DTYPES = (torch.float32, torch.bfloat16, torch.float16, torch.float64)


def read_dtype(dtype: torch.dtype | str) -> torch.dtype:
    """Return a floating dtype given as ``torch.bfloat16`` or ``"bfloat16"``.

    Raises:
        ArgumentError: It is none that a model can be kept in.
    """
    found = getattr(torch, dtype, None) if isinstance(dtype, str) else dtype
    if found not in _DTYPES:
        names = ", ".join(str(known).removeprefix("torch.") for known in _DTYPES)
        raise ArgumentError(f"dtype={dtype!r} is none that weights can be kept in: {names}")
    return found


def read_device(device: torch.device | str) -> torch.device:
    """Return a device that is there.

    Raises:
        ArgumentError: torch knows no such device, or finds none.
    """
    try:
        found = torch.device(device)
    except (RuntimeError, TypeError) as error:
        raise ArgumentError(f"device={device!r} is no device: use cpu, cuda or cuda:0") from error
    if found.type == "cuda" and not torch.cuda.is_available():
        raise ArgumentError(f"device={str(device)!r}: torch finds no CUDA device; use cpu")
    try:
        torch.empty(1, device=found).cpu()
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        raise ArgumentError(f"device={str(device)!r}: torch cannot use it here; use cpu") from error
    return found


@contextlib.contextmanager
def default_dtype(dtype: torch.dtype) -> Iterator[None]:
    """Let torch make tensors of this dtype inside the ``with``."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        yield
    finally:
        torch.set_default_dtype(before)


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error says that memory ran out, on whichever device."""
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    said = str(error).lower()
    return any(words in said for words in _OUT_OF_MEMORY)
