"""Length-bucketed batches under a token budget."""

from __future__ import annotations

from collections.abc import Sequence


def length_batches(lengths: Sequence[int], budget: int, *, padded: bool = False) -> list[list[int]]:
    """Group texts of like length into batches of at most ``budget`` tokens, longest first.

    Texts of one length stand side by side, so that little or nothing has to be padded. A text
    longer than the budget is a batch of its own. The longest come first: what does not fit into
    memory is found out at the start.

    Args:
        lengths: Tokens of each text.
        budget: Most tokens of a batch.
        padded: Count padding too: a batch is a rectangle as long as its longest text.

    Returns:
        Indexes into ``lengths``, each exactly once.

    Example:
        >>> length_batches([3, 9, 3, 4], 10)
        [[1], [3, 0, 2]]
    """
    batches: list[list[int]] = []
    room = 0
    for index in sorted(range(len(lengths)), key=lambda i: -lengths[i]):
        # The first of a batch is its longest.
        cost = lengths[batches[-1][0]] if padded and batches else lengths[index]
        if not batches or cost > room:
            batches.append([])
            room, cost = budget, lengths[index]
        batches[-1].append(index)
        room -= cost
    return batches
