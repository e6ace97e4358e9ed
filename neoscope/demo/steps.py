"""The demonstration's steps: each does one thing with a study and says what came of it."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from neoscope.demo import classify
from neoscope.errors import NeoscopeError, PatchingError
from neoscope.views.report import material
from neoscope.views.report.parts import Unavailable
from neoscope.views.report.sections_reading import last_positions
from neoscope.views.report.study import WEAK
from neoscope.views.report.truth import (
    Beside,
    card_of,
    induction_beside_card,
    patched_beside_card,
)

if TYPE_CHECKING:
    from neoscope.views.report.study import Study

Found = Mapping[str, Any]
"""``lines``, ``columns``, ``rows`` and ``facts`` of a step."""
_BESIDE = ("head", "what", "measured", "95 % interval", "card", "its interval")


def cache(study: Study, folder: Path, n: int) -> Found:
    """Keep every layer of one text."""
    tokens = study.model.tokenize(study.text, prepend_bos=study.prepend_bos, truncate=True)
    _, kept = study.model.run_with_cache(tokens)
    path = folder / "run.safetensors"
    kept.save(path)
    facts: dict[str, Any] = {
        "text": study.text,
        "tokens": sum(tokens.lengths),
        "tensors": len(kept),
        "bytes": path.stat().st_size,
    }
    return {
        "facts": facts,
        "lines": (
            f"“{study.text}”",
            (
                f"{facts['tensors']} tensors of {facts['tokens']} tokens, "
                f"{facts['bytes'] / 2**20:.1f} MiB: run.safetensors"
            ),
        ),
    }


def heads(study: Study, folder: Path, n: int) -> Found:
    """Find the heads that continue repeats."""
    found = induction_beside_card(study)
    kind = "repeats of random words" if card_of(study) else "repeats of random tokens"
    lines = (f"attention, as a share, on {kind}",)
    return {"lines": lines, "verdict": _verdict(study, found), **_beside(found)}


def patch(study: Study, folder: Path, n: int) -> Found:
    """Find the heads that know who is given something."""
    asked = study.prompts
    result = study.patched_heads
    clean, corrupted = (float(np.mean(np.asarray(run))) for run in (result.clean, result.corrupted))
    lines = [
        f"{len(asked.clean)} pairs, such as “{asked.clean[0]}”,",
        (
            f"whose answer is{asked.answer[0]}; logit difference {clean:.2f}, corrupted "
            f"{corrupted:.2f}; a head's effect is the share of that it restores:"
        ),
    ]
    facts = {"pairs": len(asked.clean), "clean": clean, "corrupted": corrupted}
    try:
        found = patched_beside_card(study)
    except PatchingError:
        lines[-1] = f"whose answer is{asked.answer[0]}"
        lines.append("clean and corrupted prompts hardly differ: this model does not do the task")
        return {"lines": tuple(lines), "facts": facts}
    said = _beside(found)
    verdict = _verdict(study, found)
    if abs(clean - corrupted) < WEAK:
        verdict = f"less than {WEAK} logits apart: it does not do the task, and this is noise"
    return {
        **said,
        "lines": tuple(lines),
        "verdict": verdict,
        "facts": {**facts, **said["facts"]},
    }


def _beside(found: tuple[Beside, ...]) -> dict[str, Any]:
    rows = tuple(
        (one.head, one.what, _number(one.measured), _interval(one.low, one.high),
         _number(one.card), _interval(one.card_low, one.card_high))
        for one in found
    )  # fmt: skip
    told = any(not np.isnan(one.card) for one in found)
    facts = [
        {"head": one.head, "what": one.what, "measured": one.measured,
         "interval": [one.low, one.high], "card": one.card,
         "card_interval": [one.card_low, one.card_high], "agrees": one.agrees}
        for one in found
    ]  # fmt: skip
    shown = len(_BESIDE) if told else 4
    return {"columns": _BESIDE[:shown], "rows": tuple(row[:shown] for row in rows),
            "facts": {"heads": facts}}  # fmt: skip


def _verdict(study: Study, found: tuple[Beside, ...]) -> str:
    if card_of(study) is None:
        return "there is no truth card of this model: what is right is not known"
    wrong = [one.head for one in found if one.agrees is False]
    if wrong:
        return f"NOT as on the truth card: head {', '.join(wrong)}"
    return "all as on the truth card, which was measured by brute force"


def _number(value: float) -> str:
    return "" if np.isnan(value) else f"{value:.3f}"


def _interval(low: float, high: float) -> str:
    return "" if np.isnan(low) else f"{low:.3f} to {high:.3f}"


def probe(study: Study, folder: Path, n: int) -> Found:
    """Train a probe in every layer, and keep the best."""
    sweep = study.probes
    name = sweep.metric
    rows, facts = [], []
    for place in sweep.places:
        ends = place.task.intervals[name]
        interval = (float(ends.low), float(ends.high))
        beside = [
            float("nan") if one is None else float(one.scores[name])
            for one in (place.task, place.control, place.random_init)
        ]
        rows.append(
            (str(place.place.layer), _number(beside[0]), _interval(*interval),
             *map(_number, beside[1:]))
        )  # fmt: skip
        facts.append(
            {"layer": place.place.layer, name: beside[0], "interval": list(interval),
             "control": beside[1], "random_twin": beside[2]}
        )  # fmt: skip
    best = sweep.best_place.place.layer
    sweep.best().save(folder / "probe")
    lines = (
        (
            f"{study.probe_data.label}, read at the last token of "
            f"{study.probe_data.n_rows} beginnings of sentences"
        ),
        f"best layer {best}, chosen on validation folds; kept in probe/",
    )
    columns = ("layer", name, "95 % interval", "control task", "random twin")
    return {"lines": lines, "columns": columns, "rows": tuple(rows),
            "facts": {"best_layer": best, "layers": facts}}  # fmt: skip


def export(study: Study, folder: Path, n: int) -> Found:
    """Write features of many sentences as Parquet."""
    from neoscope.export import FeatureSpec, to_store

    made = material.reviews(study.model, n, study.seed)
    rows = [
        {"text": text, "label": label} for text, label in zip(made.texts, made.labels, strict=True)
    ]
    spec = FeatureSpec("resid_post", layers=[study.middle, -1], pool=["mean", "last"])
    report = to_store(study.model, rows, folder / "features", spec, progress=False)
    facts = {"rows": report.rows, "tokens": report.tokens, "bytes": report.nbytes}
    return {
        "facts": facts,
        "lines": (
            f"“{made.texts[0]}” and {n - 1:,} more, labelled by their {made.title}",
            (
                f"{report.rows:,} rows, {report.tokens:,} tokens, {report.nbytes / 2**20:.1f} MiB: "
                "features/*.parquet"
            ),
        ),
    }


def classifier(study: Study, folder: Path, n: int) -> Found:
    """Train a classifier on the exported table, without neoscope."""
    if not (folder / "features").is_dir():
        raise Unavailable("nothing was exported")
    column = f"resid_post_{study.model.config.n_layers - 1}_last"
    found = classify.classify(folder / "features", column, seed=study.seed)
    shutil.copyfile(classify.__file__, folder / "classify.py")
    rows = tuple(
        (said, f"{found[name]:.3f}")
        for name, said in (
            ("features", f"{column}, logistic regression"),
            ("bag_of_words", "bag of words, logistic regression"),
            ("majority", "always the more frequent label"),
        )
    )
    lines = (f"read by pandas, trained on {found['train']} rows, scored on {found['test']} others",
             "classify.py does it again, without neoscope")  # fmt: skip
    return {"facts": found, "lines": lines, "columns": ("what it sees", "accuracy"), "rows": rows}


def figures(study: Study, folder: Path, n: int) -> Found:
    """Draw what was found, a page a figure."""
    from neoscope import views
    from neoscope.views.report.gallery import save_gallery

    drawn: dict[str, Callable[[], Any]] = {
        "heads": lambda: views.heads(study.heads, score="all"),
        "attention": lambda: views.attention_heads(study.cache),
        "lens": lambda: views.lens(study.logit_lens, positions=last_positions(len(study.shown))),
        "attribution": lambda: views.attribution(study.attribution),
        "patching": lambda: views.patching(study.patched_heads),
        "positions": lambda: views.patching(study.patched_stream),
        "probes": lambda: views.probes(study.probes),
        "features": lambda: views.projection(
            study.features, labels=list(study.sentences.labels), texts=list(study.sentences.texts)
        ),
    }
    made: dict[str, Any] = {}
    left: list[str] = []
    for name, draw in drawn.items():
        try:
            made[name] = draw()
        except (Unavailable, NeoscopeError) as why:
            if not isinstance(why, Unavailable):
                left.append(f"{name} left out: {' '.join(str(why).split())}")
    target = folder / "figures"
    target.mkdir()
    pages = save_gallery(made, target)
    return {"facts": {"figures": [page.name for page in pages]},
            "lines": (f"figures/: {', '.join(page.name for page in pages)}", *left)}  # fmt: skip
