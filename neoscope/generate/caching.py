"""Whether a KV cache gives what forwards over the whole text would give, for these edits."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from torch.nn.modules import module as torch_module

from neoscope.attention import Attention
from neoscope.block import Block
from neoscope.edit import Edit
from neoscope.errors import GenerationError, SiteError
from neoscope.indices import Positions, listed, whole
from neoscope.layernorm import LayerNorm
from neoscope.mlp import MLP
from neoscope.sites import select

if TYPE_CHECKING:
    from torch import nn

    from neoscope.model import HookedGPTNeo

_KEEP_ZERO = ("ablate", "scale")
"""Edits that leave a pattern 0 where it is 0, so that no query comes to see the future."""


def uses_cache(model: HookedGPTNeo, edits: Sequence[Edit], asked: bool | None) -> bool:
    """Decide whether keys and values of the past may be kept.

    They may where every edit does the same at a position whenever that position is computed. They
    may not where an edit counts positions from the end, averages over the run or draws from other
    rows, or where nobody can know: hooks and functions of the caller's.

    Args:
        model: With its hooks.
        edits: All that are in force.
        asked: None decides; False never keeps; True is the caller's word that hooks and functions
            treat every position by itself.

    Raises:
        GenerationError: True was asked for, and an edit is known to need the whole text.
    """
    if asked is False:
        return False
    for edit in edits:
        why = _why_not(edit, model)
        if why is not None and not (asked and edit.label == "transform" and why == _UNKNOWN):
            if asked:
                raise GenerationError(f"use_cache=True: {edit!r} {why}; leave use_cache out")
            return False
    return bool(asked) or not is_hooked(model)


_UNKNOWN = "may look at the whole text"


def _why_not(edit: Edit, model: HookedGPTNeo) -> str | None:
    if any(_from_end(where) for where in (edit.positions, edit.keys)):
        return "counts positions from the end, which moves with every new token"
    if not edit.by_position:
        return _UNKNOWN
    refs = select(model.config, edit.site, edit.layer, switches=model._switches_on())
    if edit.label not in _KEEP_ZERO and any(ref.kind.short == "pattern" for ref in refs):
        return "may let a query attend to what comes after it"
    return None


def _from_end(positions: Positions) -> bool:
    """Whether a selection names other tokens when the text has grown."""
    if positions is None:
        return False
    if isinstance(positions, slice):
        parts = (positions.start, positions.stop, positions.step)
        return any((whole(part) or 0) < 0 for part in parts if part is not None)
    flat = positions.flatten() if hasattr(positions, "flatten") else positions
    return any((whole(p) or 0) < 0 for p in listed(flat))


def check_reach(edits: Sequence[Edit], longest: int) -> None:
    """Refuse an edit at a position that the text cannot reach.

    Args:
        edits: All that are in force.
        longest: Tokens of the longest text that may come about.

    Raises:
        SiteError: Names the edit.
    """
    for edit in edits:
        for where in (edit.positions, edit.keys):
            if where is None or isinstance(where, slice):
                continue
            flat = where.flatten() if hasattr(where, "flatten") else where
            last = max((whole(p) or 0 for p in listed(flat)), default=0)
            if last >= longest:
                raise SiteError(
                    f"{edit!r}: position {last} is never reached; prompt and new tokens are "
                    f"{longest} at most"
                )


def is_hooked(model: HookedGPTNeo) -> bool:
    """Whether anything of torch's or TransformerLens's hooks sits anywhere in the model."""
    if torch_module._has_any_global_hook():
        return True
    return any(_module_hooked(module) for module in model.modules())


def _module_hooked(module: nn.Module) -> bool:
    return bool(
        module._forward_hooks
        or module._forward_pre_hooks
        or module._backward_hooks
        or module._backward_pre_hooks
    )


_PARTS = (
    ("attn", Attention), ("mlp", MLP), ("ln1", LayerNorm), ("ln2", LayerNorm),
)  # fmt: skip


def is_plain(model: HookedGPTNeo) -> bool:
    """Whether every part is the one that was built here, so that its weights say all it does."""
    if "forward" in vars(model) or type(model).forward.__module__ != "neoscope.model":
        return False
    for block in model.blocks:
        parts = [(block, Block), *((getattr(block, name), kind) for name, kind in _PARTS)]
        for part, kind in parts:
            if type(part) is not kind or "forward" in vars(part):
                return False
    return type(model.ln_final) is LayerNorm and "forward" not in vars(model.ln_final)
