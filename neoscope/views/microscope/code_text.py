"""The state of a microscope as Python code that does the same."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from typing import TYPE_CHECKING

from neoscope.views.microscope.changes import HOWS, Change, Given, Patch, Steering, Switch
from neoscope.views.microscope.directions import Direction

if TYPE_CHECKING:
    from neoscope.model import HookedGPTNeo


def write_code(
    model: HookedGPTNeo,
    text: str,
    changes: Sequence[Change],
    selected: tuple[int, int],
    position: int,
) -> str:
    """Return code that runs the prompt with the same edits.

    It leaves ``logits`` [1, pos, d_vocab] and ``cache``. A model that was loaded is loaded again by
    its name; one that was made in memory has to be there, as ``model``.

    Args:
        model: The microscope's.
        text: Its prompt.
        changes: In force.
        selected: The layer and head that are shown.
        position: The token that is selected.

    Raises:
        ViewError: An edit holds a value that cannot be written down.
    """
    steering = [one for one in changes if isinstance(one, Steering)]
    patches = [one for one in changes if isinstance(one, Patch)]
    others = list(dict.fromkeys(one.other for one in patches))
    names = {other: f"source_{i + 1}" for i, other in enumerate(others)}
    calls = [
        one.code(names[one.other]) if isinstance(one, Patch) else one.code() for one in changes
    ]
    layer, head = selected
    blocks = [
        _imports(changes),
        [*_model(model), f"text = {text!r}"],
        _vectors([one.direction for one in steering]),
        _sources(names, patches),
        ["edits = [", *(f"    {call}," for call in calls), "]"] if calls else [],
        [
            f"logits, cache = model.run_with_cache(text{', edits=edits' if calls else ''})",
            f"following = logits[0, {position}].softmax(-1)",
            f'pattern = cache["pattern", {layer}][0, {head}]  # [query, key]',
        ],
    ]
    return "\n\n".join("\n".join(lines) for lines in blocks if lines) + "\n"


def _imports(changes: Sequence[Change]) -> list[str]:
    used = set()
    for one in changes:
        if isinstance(one, Switch):
            used.add(HOWS[one.how])
        else:
            kind = {Steering: "steer", Patch: "replace", Given: "ablate"}[type(one)]
            used.add(kind)
    torch = ["import torch", ""] if "steer" in used else []
    edits = [f"from neoscope.edits import {', '.join(sorted(used))}"] if used else []
    return [*torch, "import neoscope as ns", *edits]


def _model(model: HookedGPTNeo) -> list[str]:
    if model.checkpoint is None:
        return ["# model: the one that the microscope was given; it was made in memory"]
    name, dtype = model.cfg.model_name, str(model.dtype).removeprefix("torch.")
    revision = model.checkpoint.revision
    more = "" if revision is None else f", revision={revision!r}"
    more += "" if dtype == "float32" else f", dtype={dtype!r}"
    more += "" if model.device.type == "cpu" else f", device={str(model.device)!r}"
    return [f"model = ns.load({str(name)!r}{more})"]


def _vectors(directions: Sequence[Direction]) -> list[str]:
    """Write the numbers out: nine digits give every float32 back."""
    if not directions:
        return []
    lines = ["directions = {"]
    for one in directions:
        numbers = ", ".join(f"{float(x):.9g}" for x in one.vector)
        lines.append(f"    {one.name!r}: torch.tensor([")
        lines += textwrap.wrap(
            numbers, 92, initial_indent=" " * 8, subsequent_indent=" " * 8, break_on_hyphens=False
        )
        lines.append("    ]),")
    return [*lines, "}"]


def _sources(names: dict[str, str], patches: Sequence[Patch]) -> list[str]:
    lines = []
    for other, name in names.items():
        sites = sorted({one.site for one in patches if one.other == other})
        lines.append(f"_, {name} = model.run_with_cache({other!r}, sites={sites!r})")
    return lines
