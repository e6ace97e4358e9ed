"""Sentences about a model, each computed from its numbers, and whether all seeds bear them out.

A sentence says what was found for the first model; one that another model does not bear out stays
on the card, as false.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

Model = Mapping[str, Any]
Claim = dict[str, Any]

_AT_END = 0.9
"""Effect at the last position from which the answer counts as being there."""
_EXACT = 1e-3


def claims(models: Sequence[Model]) -> list[Claim]:
    """Return what can be said of the first model, with the values of all.

    Args:
        models: The ``models`` of a card, all with the same tasks.

    Returns:
        Plain JSON values: ``claim`` a sentence, ``values`` one a model, ``holds_for_all``.
    """
    tasks = models[0]["tasks"]
    out = [*_repeats(models), *_scores(models)]
    for task in tasks:
        out += _task(task, [model["tasks"][task] for model in models])
    if "far-induction" in tasks:
        out += _far([model["tasks"]["far-induction"] for model in models])
    return out


def strongest(grid: Sequence[Sequence[float | None]]) -> list[int] | None:
    """Return layer and head of the greatest number, or None where there is none.

    Example:
        >>> strongest([[0.1, None], [0.7, 0.2]])
        [1, 0]
    """
    cells = [
        (value, [layer, head])
        for layer, row in enumerate(grid)
        for head, value in enumerate(row)
        if value is not None
    ]
    return max(cells)[1] if cells else None


def _all(text: str, values: Sequence[Any], true: Callable[[Any], bool]) -> Claim:
    """Make a claim that holds of a model if a predicate is true of its value."""
    holds = all(value is not None and true(value) for value in values)
    return {"claim": text, "values": list(values), "holds_for_all": holds}


def _same(text: str, values: Sequence[Any]) -> Claim:
    """Make a claim, with the first value put in, that holds if all values are equal."""
    first = values[0]
    said = text.format("none" if first is None else first)
    return _all(said, values, lambda value: bool(value == first))


def _able(model: Model) -> list[int]:
    """Return the layers that can hold an induction head beyond the window."""
    grid = model["repeats"]["far"]["induction"]
    return [layer for layer, row in enumerate(grid) if layer and row[0] is not None]


def _offset(model: Model) -> int | None:
    """Return how far after the first occurrence the heads of those layers attend most."""
    profiles = model["repeats"]["far"]["by_offset"]
    cells = [
        (_or(value, -math.inf), offset)
        for layer in _able(model)
        for head in profiles[layer]
        for value, offset in zip(head, model["repeats"]["offsets"], strict=True)
    ]
    return max(cells)[1] if cells else None


def _at(grid: Sequence[Sequence[float | None]], cell: Sequence[int] | None) -> float | None:
    return None if cell is None else grid[cell[0]][cell[1]]


def _layer(cell: list[int] | None) -> int | None:
    return None if cell is None else cell[0]


def _least(cells: Iterable[float | None]) -> float | None:
    return min((cell for cell in cells if cell is not None), default=None)


def _repeats(models: Sequence[Model]) -> list[Claim]:
    found = [model["ablation"] for model in models]
    heads = [each["induction_head"] for each in found]
    # Of a model that continues nothing, nothing is left to share.
    without, others, outside = [], [], []
    for each, (layer, head) in zip(found, heads, strict=True):
        shares = each["beyond_share_left"]
        indices = itertools.product(range(len(shares)), range(len(shares[0])))
        without.append(shares[layer][head])
        others.append(_least(shares[i][j] for i, j in indices if (i, j) != (layer, head)))
        outside.append(_least(share for i, row in enumerate(shares) if i != layer for share in row))
    far = "Repeats 64 words or more apart"
    return [
        _same("The induction head, which beyond the window attends most to the word after a word's "
              "first occurrence, is in layer {}.", [head[0] for head in heads]),
        _all(f"{far} are continued less than half as often without it (share left).",
             without, lambda share: share < 0.5),
        {
            "claim": "It can be one: it is in a global layer after the first (layer).",
            "values": [head[0] for head in heads],
            "holds_for_all": all(
                head[0] in _able(model) for head, model in zip(heads, models, strict=True)
            ),
        },
        _all(f"{far} are continued at least half as often without any one other head (least share "
             "left).", others, lambda share: share >= 0.5),
        _all(f"{far} are continued at least half as often without any one head of another layer "
             "(least share left).", outside, lambda share: share >= 0.5),
    ]  # fmt: skip


def _scores(models: Sequence[Model]) -> list[Claim]:
    near = [model["repeats"]["near"] for model in models]
    far = [model["repeats"]["far"] for model in models]
    heads = {
        "previous": [strongest(each["previous_token"]) for each in near],
        "duplicate": [strongest(each["duplicate_token"]) for each in far],
        "near": [strongest(each["induction"]) for each in near],
        "far": [strongest(each["induction"]) for each in far],
    }
    previous = [
        _at(each["previous_token"], head)
        for each, head in zip(near, heads["previous"], strict=True)
    ]
    return [
        _same("The head that attends most to the word before is in layer {}.",
              [_layer(head) for head in heads["previous"]]),
        _all("That head attends to the word before with a mean weight of at least 0.5 (weight).",
             previous, lambda weight: weight >= 0.5),
        _same("Beyond the window, the head that attends most to the same word before is in layer "
              "{}.", [_layer(head) for head in heads["duplicate"]]),
        _same("Within the window, the head with the highest induction score is in layer {}.",
              [_layer(head) for head in heads["near"]]),
        _same("Beyond the window, the head with the highest induction score is in layer {}.",
              [_layer(head) for head in heads["far"]]),
        _all("Beyond the window, the heads that can be induction heads attend most, of all words "
             "around the first occurrence, to the one right after it (offset).",
             [_offset(model) for model in models], lambda offset: offset == 1),
        _all("Beyond the window, the head with the highest induction score has a score of at least "
             "0.5 (score).", [_at(each["induction"], head) for each, head in
                              zip(far, heads["far"], strict=True)], lambda score: score >= 0.5),
    ]  # fmt: skip


def _task(task: str, found: Sequence[Mapping[str, Any]]) -> list[Claim]:
    denoise = [each["heads"]["denoise"]["effect"] for each in found]
    best = [strongest(grid) for grid in denoise]
    effects = [_at(grid, cell) for grid, cell in zip(denoise, best, strict=True)]
    # Noising does most where least is left.
    noise = [strongest(_negative(each["heads"]["noise"]["effect"])) for each in found]
    agree = [bool(a == b) for a, b in zip(best, noise, strict=True)]
    mlps = [each["mlps"]["denoise"]["effect"] for each in found]
    source = [each["stream"]["changed"]["effect"][0] for each in found]
    end = [each["stream"]["last"]["effect"] for each in found]
    first = [each["mlps"]["noise"]["effect"][0] for each in found]
    gap = [each["logit_diff"]["gap"]["low"] for each in found]
    return [
        _all(f"{task}: the mean logit difference of the clean prompts is above that of the corrupt "
             "ones (lower end of the interval of what lies between).", gap, lambda low: low > 0),
        _same(f"{task}: the head whose clean output restores most is in layer {{}}.",
              [_layer(cell) for cell in best]),
        _all(f"{task}: that head alone restores at least half (effect).", effects,
             lambda effect: effect >= 0.5),
        _all(f"{task}: it is also the head whose corrupt output destroys most.", agree, bool),
        _same(f"{task}: the MLP whose clean output restores most is that of layer {{}}.",
              [_layer(strongest([[x] for x in row])) for row in mlps]),
        _all(f"{task}: with the corrupt output of the MLP of layer 0, less than half is left "
             "(effect).", first, lambda effect: effect < 0.5),
        _all(f"{task}: the clean stream before layer 0 at the words that were changed restores "
             "all (effect).", source, lambda effect: abs(effect - 1) <= _EXACT),
        _all(f"{task}: so does the clean stream after the last layer at the last position "
             "(effect).", [row[-1] for row in end], lambda effect: abs(effect - 1) <= _EXACT),
        _same(f"{task}: after {{}} layers the answer is at the last position: from there on, its "
              f"clean stream restores at least {_AT_END:g}.",
              [_arrival(row) for row in end]),
    ]  # fmt: skip


def _far(found: Sequence[Mapping[str, Any]]) -> list[Claim]:
    left = [each["attention"]["noise"]["effect"] for each in found]
    least = [min(range(len(row)), key=lambda i, row=row: _or(row[i], math.inf)) for row in left]  # type: ignore[misc]
    values = [row[layer] for row, layer in zip(left, least, strict=True)]
    return [
        _same("far-induction: the layer whose attention, all heads corrupt, leaves least is layer "
              "{}.", least),
        _all("far-induction: with that layer's attention corrupt, less than a tenth is left, so "
             "that next to nothing comes by another way (effect).", values,
             lambda effect: effect < 0.1),
    ]  # fmt: skip


def _or(value: float | None, other: float) -> float:
    return other if value is None else value


def _negative(grid: Sequence[Sequence[float | None]]) -> list[list[float | None]]:
    return [[None if value is None else -value for value in row] for row in grid]


def _arrival(effects: Sequence[float | None]) -> int | None:
    """Return the least depth from which on all effects are high."""
    depth = len(effects)
    while depth and _or(effects[depth - 1], -math.inf) >= _AT_END:
        depth -= 1
    return depth if depth < len(effects) else None
