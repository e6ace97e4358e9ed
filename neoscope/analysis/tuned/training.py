"""Training a tuned lens from texts: what is held out, and the folder in which it goes on."""

from __future__ import annotations

import dataclasses
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from neoscope.analysis.given import whole_number
from neoscope.analysis.result import counted
from neoscope.analysis.tuned.data import Pieces, read_pieces
from neoscope.analysis.tuned.files import drop_state, load_lens, save_lens
from neoscope.analysis.tuned.job import Job
from neoscope.analysis.tuned.place import CARD, STATE, check_training
from neoscope.analysis.tuned.settings import Settings
from neoscope.analysis.tuned.weights import TunedLens
from neoscope.errors import AnalysisError
from neoscope.fingerprint import remembered_fingerprint

if TYPE_CHECKING:
    from neoscope.model import HookedGPTNeo


def train(
    model: HookedGPTNeo,
    texts: Any,
    settings: Settings,
    folder: Path | None,
    save_every: int,
    progress: bool | Callable[[int, int], None],
) -> TunedLens:
    """Train a lens, or go on; see :meth:`TunedLens.train`."""
    settings.check()
    save_every = whole_number(save_every, "save_every")
    if model.is_edited:
        raise AnalysisError(
            "hooks or edits are in force; a lens is trained for the model that its weights are: "
            "leave them first"
        )
    pieces = read_pieces(model, texts, prepend_bos=settings.prepend_bos)
    fit, held = pieces.split(settings.held_out, settings.seed)
    if settings.held_out and not held.ids:
        raise AnalysisError(
            f"{counted(len(pieces.ids), 'text')} to train a lens on (longer ones are cut into "
            f"{model.config.n_ctx} tokens) leave none to judge it by, for which a tenth is held "
            "out: give at least 10, or judge nothing with held_out=0"
        )
    if settings.steps is None:
        epochs = range(settings.epochs)
        counts = [len(fit.batches(settings.batch_tokens, settings.seed, e)) for e in epochs]
        settings = dataclasses.replace(settings, steps=sum(counts))
    job = Job(model, fit, settings, new_card(model, pieces, settings))
    if folder is not None:
        check_training(folder, job.card)
        if (folder / CARD).is_file():
            return load_lens(folder)
        if (folder / STATE).is_file():
            job.resume(folder)
    interrupted = job.run(folder, save_every, progress)
    lens = job.lens()
    if interrupted:
        where = "" if folder is None else f"; the same call goes on from {folder}"
        warnings.warn(
            f"interrupted: {job.step:,} of {settings.steps:,} steps are done{where}", stacklevel=3
        )
        return lens
    if held.ids:
        lens.card["held_out"] = _judged(model, lens, held, settings, progress)
    if folder is not None:
        save_lens(lens, folder)
        drop_state(folder)
    return lens


def new_card(model: HookedGPTNeo, pieces: Pieces, settings: Settings) -> dict[str, Any]:
    """Return what is known about a lens before its first step.

    Args:
        model: What it is for.
        pieces: All texts, those that are held out too.
        settings: How it is trained.
    """
    return {
        "model": str(model.cfg.model_name),
        "fingerprint": remembered_fingerprint(model, model.config),
        "dtype": str(model.dtype).removeprefix("torch."),
        "n_layers": model.config.n_layers,
        "d_model": model.config.d_model,
        "data": {"sha256": pieces.digest(), "texts": len(pieces.ids), "tokens": pieces.n_tokens},
        "settings": dataclasses.asdict(settings),
        "steps": 0,
        "losses": [],
        "held_out": None,
    }


def _judged(
    model: HookedGPTNeo, lens: TunedLens, held: Pieces, settings: Settings, progress: Any
) -> dict[str, Any]:
    ids = [piece.tolist() for piece in held.ids]
    shown = progress if isinstance(progress, bool) else False
    found = lens.evaluate(model, ids, batch_tokens=settings.batch_tokens, progress=shown)
    return {"tokens": found.n_tokens, **found.by_name()}
