"""What an actor of Ray does: the work of the local engine, with a model that it loads itself."""

from __future__ import annotations

import functools
import os
import traceback
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import ray
import torch
from numpy.typing import NDArray

from neoscope.errors import ExportError, NeoscopeError
from neoscope.export.engines import Work
from neoscope.export.extractor import Extractor
from neoscope.export.ray_engine.parcel import Outcome, outcome_row, read_chunk
from neoscope.export.ray_engine.session import first_line
from neoscope.export.reading import Chunk
from neoscope.export.spec import FeatureSpec
from neoscope.fingerprint import tokenizer_fingerprint
from neoscope.model import HookedGPTNeo
from neoscope.organism import BUNDLED
from neoscope.unseen import UnseenWordWarning

_MOST_TRIES = 4
"""Ray begins anew with every chunk whose actor died, without end."""


@dataclass(frozen=True)
class Recipe:
    """All that an actor needs to do the same work as the process that sends it chunks."""

    spec: FeatureSpec
    batch_tokens: int | None
    on_error: str
    text_column: str
    name: str
    """Of the checkpoint."""
    revision: str | None
    dtype: str
    device: str
    threads: int
    switches: frozenset[str]
    fingerprint: str
    tokenizer: str
    """The fingerprint of the tokenizer."""
    sent: Any
    """A reference to the model's parts; None where the checkpoint is read instead."""

    def work(self) -> Work:
        """Load the model, and make ready.

        Raises:
            CheckpointError: It cannot be read.
            ExportError: It is another model than the one that the export was asked for with.
        """
        if self.sent is not None:
            model = assembled(ray.get(self.sent)).to(self.device)
        else:
            model = HookedGPTNeo.from_pretrained(
                self.name, revision=self.revision, dtype=self.dtype, device=self.device
            )
            self._check(model)
        for switch in self.switches:
            getattr(model, f"set_{switch}")(True)
        extractor = Extractor(model, self.spec, batch_tokens=self.batch_tokens)
        return Work(extractor, self.on_error, self.text_column)

    def _check(self, model: HookedGPTNeo) -> None:
        assert model.tokenizer is not None
        for what, found, expected in (
            ("weights", model.fingerprint(), self.fingerprint),
            ("tokenizer", tokenizer_fingerprint(model.tokenizer), self.tokenizer),
        ):
            if found != expected:
                raise ExportError(
                    f"the {what} that a Ray worker reads from {self.name!r} are not those of the "
                    f"model given: fingerprint {found[:12]}, expected {expected[:12]}; if they "
                    "were changed after loading, RayEngine(send_model=True) sends them along"
                )


def recipe(work: Work, *, device: str | None, threads: int, send: bool | None) -> Recipe:
    """Return what an actor needs for ``work``; puts the model into Ray's store if it must be sent.

    Args:
        work: What the local engine would do.
        device: Where actors run the model; None for where it is.
        threads: Of each actor.
        send: Whether the weights travel; None where they came from no checkpoint.

    Raises:
        ExportError: The checkpoint is to be read, and there is none.
    """
    model, spec = work.extractor.model, work.extractor.spec
    assert model.tokenizer is not None
    if send is False and model.checkpoint is None:
        raise ExportError("the model came from no checkpoint: it must be sent to the Ray workers")
    send = model.checkpoint is None if send is None else send
    name, revision = _where(model)
    budget = work.extractor.batch_tokens
    # What suits the device is for the actor to say: it may have another one.
    chosen = budget != Extractor(model, spec).batch_tokens
    return Recipe(
        spec=spec,
        batch_tokens=budget if chosen else None,
        on_error=work.on_error,
        text_column=work.text_column,
        name=name,
        revision=revision,
        dtype=str(model.dtype).removeprefix("torch."),
        # Ray shows each actor its own GPU alone, as the first.
        device=torch.device(device or model.device).type,
        threads=threads,
        switches=model._switches_on(),
        fingerprint=model.fingerprint(),
        tokenizer=tokenizer_fingerprint(model.tokenizer),
        sent=ray.put(parts(model)) if send else None,
    )


def _where(model: HookedGPTNeo) -> tuple[str, str | None]:
    """Name and revision under which another process finds the same checkpoint."""
    name, found = model.cfg.model_name, model.checkpoint
    if found is None or name in BUNDLED:
        return name, None
    path = Path(found.name).expanduser()
    return (str(path.absolute()), None) if path.exists() else (found.name, found.revision)


def parts(model: HookedGPTNeo) -> dict[str, Any]:
    """Take a model apart into what actors on one machine can share in memory."""
    weights = {
        name: weight.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy()
        for name, weight in model.named_parameters()
    }
    return {
        "config": model.config,
        "tokenizer": model.tokenizer,
        "dtype": model.dtype,
        "weights": weights,
    }


def assembled(parts: Mapping[str, Any]) -> HookedGPTNeo:
    """Put a model together from its :func:`parts`."""
    model = HookedGPTNeo(parts["config"], parts["tokenizer"], dtype=parts["dtype"])
    weights: Mapping[str, NDArray[np.uint8]] = parts["weights"]
    with torch.no_grad():
        for name, weight in model.named_parameters():
            # Copied, because what Ray hands out is read-only, which torch does not know.
            raw = torch.from_numpy(weights[name].copy())
            weight.copy_(raw.view(weight.dtype).view(weight.shape))
    return model


class Actor:
    """Turns blocks of one packed chunk into blocks of one packed outcome; loads the model once."""

    def __init__(self, recipe: Recipe, held: Any) -> None:
        """Set the threads; the model is loaded with the first chunk, so that errors can be told.

        Args:
            recipe: What is done.
            held: The actor that holds the chunks.
        """
        os.environ["RAYON_NUM_THREADS"] = str(recipe.threads)  # the tokenizer's
        torch.set_num_threads(recipe.threads)
        self._recipe, self._held = recipe, held

    @functools.cached_property
    def _work(self) -> Work:
        return self._recipe.work()

    def __call__(self, batch: pa.Table) -> pa.Table:
        """Do the work of one block."""
        number, chunk = read_chunk(batch)
        return outcome_row(self._outcome(number, chunk))

    def _outcome(self, number: int, chunk: Chunk) -> Outcome:
        rows = f"rows {chunk.start} to {chunk.start + chunk.n_rows - 1}"
        if ray.get(self._held.begun.remote(number)) > _MOST_TRIES:
            said = (
                f"{rows}: {_MOST_TRIES} Ray workers died of them, as when memory runs out; fewer "
                "workers, or a smaller batch_tokens, need less"
            )
            return Outcome(number, error=ExportError(said))
        done = [0, 0]

        def tick(texts: int, tokens: int) -> None:
            done[0] += texts
            done[1] += tokens

        try:
            with warnings.catch_warnings(record=True) as caught:
                warnings.simplefilter("always")
                encoded = self._work.encode(chunk)
            shard = self._work.finish(chunk, encoded, tick)
        except NeoscopeError as error:
            return Outcome(number, error=type(error)(str(error)))
        except Exception as error:
            said = f"{rows}: a Ray worker failed with {first_line(error)}"
            return Outcome(number, error=ExportError(said), details=traceback.format_exc())
        unseen = [str(w.message) for w in caught if issubclass(w.category, UnseenWordWarning)]
        return Outcome(number, shard, done[0], done[1], unseen[0] if unseen else None)
