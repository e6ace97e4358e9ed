"""Head scores put together: what was tallied, what weights say, and what a window rules out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch

from neoscope.analysis.head.copying import Circuits
from neoscope.analysis.head.kinds import Chosen
from neoscope.analysis.head.positions import position_shares
from neoscope.analysis.head.result import HeadScores
from neoscope.analysis.head.watch import Tally
from neoscope.model import HookedGPTNeo

Extra = dict[str, Any]


def beyond_patterns(
    model: HookedGPTNeo,
    kinds: Chosen,
    layers: Sequence[int],
    words: torch.Tensor,
    seed: int,
    tick: Callable[[], None] = lambda: None,
) -> Extra:
    """Return scores that need no texts: ``(score, stderr, n)`` by name, ``[layer, head]`` each.

    Args:
        model: Any model.
        kinds: All that are asked for.
        layers: Which.
        words: Token ids to draw from.
        seed: Of the draw.
        tick: Called once a layer whose weights are read.
    """
    names = {kind.name for kind in kinds}
    found: Extra = {}
    if names & {"position_share", "content_share"}:
        share, stderr, n = position_shares(model, list(layers), words, seed)
        found |= {"position_share": (share, stderr, n), "content_share": (1 - share, stderr, n)}
    if names & {"copying", "copying_top5"}:
        circuits = Circuits(model, words)
        unknown = np.full((len(layers), model.config.n_heads), np.nan)
        measures: dict[str, Callable[[int], Any]] = {
            "copying": circuits.scores,
            "copying_top5": lambda layer: circuits.top(layer, seed),
        }
        rows: dict[str, list[Any]] = {name: [] for name in measures if name in names}
        for layer in layers:
            for name, row in rows.items():
                row.append(measures[name](layer))
            tick()
        found |= {name: (np.stack(row), unknown, 0) for name, row in rows.items()}
    return found


def assembled(name: str, tally: Tally, kinds: Chosen, extra: Extra, **fields: Any) -> HeadScores:
    """Return the result of a measurement.

    Args:
        name: Of the model.
        tally: Scores of patterns.
        kinds: All that were asked for.
        extra: Those that need no texts; what was not reached is NaN.
        fields: The rest of the result's fields.
    """
    config, layers = tally.config, tally.layers
    shape = (len(layers), config.n_heads)
    windows = tuple(config.window(layer) for layer in layers)
    score, stderr, n, lead, lead_stderr, can = [], [], [], [], [], []
    for kind in kinds:
        reach = [
            window is None or kind.nearest_key(config.window_size) < window
            if kind.name != "relative_entropy"
            else window != 1
            for window in windows
        ]
        can.append(np.repeat(np.array(reach)[:, None], shape[1], axis=1))
        if kind.of_pattern:
            moments = tally.moments[kind.name]
            found = moments.ratio().numpy().reshape(shape)
            error = moments.stderr().numpy().reshape(shape)
            counted = moments.count.long().numpy().reshape(shape)
        else:
            blank = np.full(shape, np.nan)
            found, error, texts = extra.get(kind.name, (blank, blank, 0))
            counted = np.full(shape, texts, dtype=np.int64)
        score.append(np.where(can[-1], found, np.nan))
        stderr.append(np.where(can[-1], error, np.nan))
        n.append(np.where(can[-1], counted, 0))
        flat = score[-1].ravel()
        best = [int(i) for i in np.argsort(-np.where(np.isnan(flat), -np.inf, flat), kind="stable")]
        known = int((~np.isnan(flat)).sum())
        lead.append(flat[best[0]] - flat[best[1]] if known > 1 else np.nan)
        sure = known > 1 and kind.of_pattern
        lead_stderr.append(
            tally.moments[kind.name].stderr_between(best[0], best[1]) if sure else np.nan
        )
    return HeadScores(
        model=name,
        names=tuple(kind.name for kind in kinds),
        layers=tuple(layers),
        windows=windows,
        score=np.stack(score).astype(np.float64),
        stderr=np.stack(stderr).astype(np.float64),
        possible=np.stack(can),
        n=np.stack(n).astype(np.int64),
        lead=np.array(lead, dtype=np.float64),
        lead_stderr=np.array(lead_stderr, dtype=np.float64),
        n_texts=tally.n_texts,
        n_tokens=tally.n_tokens,
        **fields,
    )
