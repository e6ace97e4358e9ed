"""From the tokens so far to the last hidden state: over the whole text, or with a KV cache."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Protocol, runtime_checkable

from jaxtyping import Bool, Float, Int
from torch import Tensor

from neoscope.edit import Edit
from neoscope.generate.prompts import Prompts
from neoscope.kv_cache import KVCache
from neoscope.visibility import Visibility

if TYPE_CHECKING:
    from neoscope.model import HookedGPTNeo

Hidden = Float[Tensor, "row d_model"]
Rows = Int[Tensor, " row"]


@runtime_checkable
class Steps(Protocol):
    """What a loop asks for."""

    def first(self, prompts: Prompts, rows: Rows) -> Hidden:
        """Return the hidden state of each row's last token; ``rows`` names each row's prompt."""

    def next(self, ids: Int[Tensor, "row pos"], real: Bool[Tensor, "row pos"]) -> Hidden:
        """Return the same one token later; ``ids`` holds all tokens so far."""

    def pick(self, rows: Rows) -> None:
        """Go on with these rows, in this order."""


class Whole:
    """Every step runs the whole text anew: right for every edit and hook there is."""

    def __init__(self, model: HookedGPTNeo, edits: Sequence[Edit]) -> None:
        """Remember what to run, and with which edits."""
        self._model, self._edits = model, tuple(edits)

    def first(self, prompts: Prompts, rows: Rows) -> Hidden:
        """Run the prompts."""
        mask = None if prompts.mask is None else prompts.mask[rows]
        return self._run(prompts.ids[rows], mask)

    def next(self, ids: Int[Tensor, "row pos"], real: Bool[Tensor, "row pos"]) -> Hidden:
        """Run everything so far; what stands behind the end of a row is padding."""
        return self._run(ids, real)

    def pick(self, rows: Rows) -> None:
        """Nothing is kept."""

    def _run(self, ids: Tensor, mask: Tensor | None) -> Tensor:
        hidden: Tensor = self._model(
            ids,
            mask,
            return_type="hidden",
            edits=self._edits,
            _visibility=growing(ids, mask),
        )
        return hidden[:, -1]


def growing(ids: Int[Tensor, "row pos"], mask: Bool[Tensor, "row pos"] | None) -> Visibility:
    """Return who sees whom in a text that grows: an edit may name a position still to come."""
    return Visibility(len(ids), ids.shape[1], ids.device, mask=mask, grows=True)


class Cached:
    """The model's own forward on new tokens only, edits and all."""

    def __init__(self, model: HookedGPTNeo, edits: Sequence[Edit], capacity: int) -> None:
        """Begin with an empty cache.

        Args:
            model: What runs.
            edits: Each treats every position by itself.
            capacity: Columns of the longest text.
        """
        self._model, self._edits = model, tuple(edits)
        self._past = KVCache(capacity)

    def first(self, prompts: Prompts, rows: Rows) -> Hidden:
        """Run each prompt once, then repeat it as often as its rows."""
        hidden = self._run(prompts.ids, prompts.mask)
        if len(rows) == len(prompts.ids):
            return hidden
        self._past.pick(rows)
        return hidden[rows]

    def next(self, ids: Int[Tensor, "row pos"], real: Bool[Tensor, "row pos"]) -> Hidden:
        """Run the last column."""
        return self._run(ids[:, -1:], None)

    def pick(self, rows: Rows) -> None:
        """Reorder what is kept."""
        self._past.pick(rows)

    def _run(self, ids: Tensor, mask: Tensor | None) -> Tensor:
        hidden: Tensor = self._model(
            ids, mask, return_type="hidden", past=self._past, edits=self._edits
        )
        return hidden[:, -1]


class Ticking:
    """Steps that are counted as they are taken."""

    def __init__(self, steps: Steps, tick: Callable[[int], object]) -> None:
        """Remember what runs, and whom to tell."""
        self._steps, self._tick = steps, tick

    def first(self, prompts: Prompts, rows: Rows) -> Hidden:
        """Run the prompts."""
        return self._steps.first(prompts, rows)

    def next(self, ids: Int[Tensor, "row pos"], real: Bool[Tensor, "row pos"]) -> Hidden:
        """Count a token, and run it."""
        self._tick(1)
        return self._steps.next(ids, real)

    def pick(self, rows: Rows) -> None:
        """Reorder what is kept."""
        self._steps.pick(rows)
