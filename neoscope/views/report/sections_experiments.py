"""Sections that run experiments: patching, probes, the features' projection."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

from neoscope import views
from neoscope.views.report.parts import Block, Picture, Prose, grid, table
from neoscope.views.report.sections_reading import beside_table, interval
from neoscope.views.report.study import WEAK, Study
from neoscope.views.report.truth import card_of, patched_beside_card

if TYPE_CHECKING:
    import pandas as pd

    from neoscope.patching.results.result import PatchingResult
    from probes.sweeping.result import SweepResult


def patching(study: Study) -> Iterator[Block]:
    """Show which heads and positions decide."""
    asked = study.prompts
    yield Prose(f"The task: {asked.title}; {len(asked.clean)} pairs, such as")
    yield Prose(f"clean: “{asked.clean[0]}” (then{asked.answer[0]}, not{asked.wrong[0]})")
    yield Prose(f"corrupted: “{asked.corrupted[0]}”")
    heads = study.patched_heads
    gap = float(np.mean(np.asarray(heads.clean)) - np.mean(np.asarray(heads.corrupted)))
    if abs(gap) < WEAK:
        yield Prose(
            f"Clean and corrupted runs differ by {gap:.3f} logits on average: this model does not "
            "do the task, and what follows shows noise.", "warn",
        )  # fmt: skip
    yield Picture(
        views.patching(heads),
        "What each head's clean output restores in the corrupted run, in logits.",
    )
    n_layers, n_heads = heads.mean.shape
    yield grid("Effect of each head, logits", heads.mean, list(range(n_layers)),
               [f"head {i}" for i in range(n_heads)], "layer")  # fmt: skip
    yield table("The heads of largest effect, in logits", _effects(heads))
    if card_of(study) is not None:
        yield beside_table("Share restored, beside the truth card", patched_beside_card(study))
    yield Picture(
        views.patching(study.patched_stream),
        "What the clean residual stream restores, by layer and position, in logits.",
    )
    yield table("Layers and positions of largest effect, in logits", _effects(study.patched_stream))


def _effects(result: PatchingResult) -> pd.DataFrame:
    frame = result.top(8)
    places = [axis.name for axis in result.axes]
    out = frame[[*places, "effect", "low", "high", "p", "logit_answer", "logit_wrong"]].copy()
    out["p"] = [f"{max(p, 1e-4):.4f}" if p == p else p for p in out["p"]]
    return out


def probing(study: Study) -> Iterator[Block]:
    """Show what is decodable where, beside its controls."""
    data = study.probe_data
    found = study.probes
    yield Prose(
        f"What is asked for: the {data.label}, from the residual stream at the last token of "
        f"{data.n_rows} beginnings of sentences such as “{data.words[0]}” ({data.y[0]})."
        if data.words is not None
        else f"What is asked for: the {data.label}."
    )
    yield Picture(
        views.probes(found),
        "Accuracy by layer with intervals, beside the control task, the random twin and baselines.",
    )
    yield table("Scores on texts that no choice saw", _scores(found))
    for name, note in found.notes.items():
        if isinstance(note, str):
            yield Prose(f"{name}: {note}.")


def _scores(found: SweepResult) -> pd.DataFrame:
    import pandas as pd

    name, frame = found.metric, found.to_dataframe()
    out = pd.DataFrame({"place": frame["site"], "layer": frame["layer"], name: frame[name]})
    ends = zip(frame[f"{name}_low"], frame[f"{name}_high"], strict=True)
    out["95 % interval"] = [interval(low, high) for low, high in ends]
    for column, said in (
        (f"control_{name}", "control task"),
        ("selectivity", "selectivity"),
        (f"random_init_{name}", "random twin"),
    ):
        if column in frame:
            out[said] = frame[column]
    return out


def projection(study: Study) -> Iterator[Block]:
    """Show features as points, and how layers resemble each other."""
    from neoscope import analysis

    made = study.sentences
    yield Prose(
        f"{len(made.texts)} sentences, coloured by {made.title}; features are the mean over tokens "
        f"of the residual stream after layer {study.middle}."
    )
    yield Picture(
        views.projection(study.features, labels=list(made.labels), texts=list(made.texts)),
        "Two principal components of the features; each point is a sentence.",
    )
    yield table("Sentences of each kind, and where their middle is", _centres(study))
    found = analysis.similarity(study.all_features)
    yield Picture(views.similarity(found), "CKA between every two layers' features.")
    matrix = found.matrix()
    yield grid("CKA between layers", matrix.to_numpy(), list(matrix.index), list(matrix.columns),
               "layer")  # fmt: skip


def _centres(study: Study) -> object:
    import pandas as pd

    from neoscope.views.figures.projection.axes import pca

    made = study.sentences
    features = np.asarray(study.features)
    every = np.arange(len(features))
    # The picture's own axes, signs included.
    points = pca(features, every, every, standardise=False).points
    frame = pd.DataFrame({"kind": made.labels, "x": points[:, 0], "y": points[:, 1]})
    return frame.groupby("kind").agg(sentences=("x", "size"), mean_x=("x", "mean"),
                                     mean_y=("y", "mean")).reset_index()  # fmt: skip
