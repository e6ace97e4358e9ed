"""RayEngine: runs the chunks of an export in actors of Ray, on one machine or a cluster."""

from __future__ import annotations

import contextlib
import importlib.util
import itertools
import warnings
from collections.abc import Generator, Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from neoscope.errors import ArgumentError, ExportError, NeoscopeError, missing_extra
from neoscope.export.engines import Tick, Work
from neoscope.export.reading import Chunk
from neoscope.export.table import ShardTable
from neoscope.indices import whole
from neoscope.unseen import UnseenWordWarning

if TYPE_CHECKING:
    from neoscope.export.ray_engine.feed import Sending
    from neoscope.export.ray_engine.worker import Recipe


@dataclass(frozen=True)
class RayEngine:
    """Runs chunks through Ray Data, in actors that load the model once each.

    The shards are those of the local engine: either goes on where the other stopped. Where Ray is
    not initialised, a session is started for the export and shut down after it; one that is there
    is used and left alone. On a cluster, neoscope must be installed and the checkpoint be found on
    every machine.

    A session that is started here asks for no token, and Ray listens on all network interfaces:
    where others can reach the machine, set ``RAY_AUTH_MODE=token`` in the environment.

    Example:
        >>> from neoscope.export import to_store
        >>> to_store(model, "corpus.parquet", "features/",
        ...          engine=RayEngine(workers=8, threads=2))  # doctest: +SKIP
    """

    workers: int | None = None
    """Actors; None for as many as there are GPUs, or CPUs for their threads."""
    address: str | None = None
    """Of a cluster to join, such as ``"auto"``; None for this machine alone."""
    device: str | None = None
    """Where actors run the model: ``"cpu"``, or ``"cuda"`` with a GPU each; None for where it is
    now."""
    threads: int = 1
    """Threads of each actor."""
    send_model: bool | None = None
    """True sends the weights to the actors, False has them read the checkpoint; None sends those
    that came from no checkpoint."""

    def __post_init__(self) -> None:
        """Check what can be checked without starting anything.

        Raises:
            ArgumentError: A number is no whole number above 0, or the device is unknown.
            MissingExtraError: Ray is not installed.
        """
        for name in ("workers", "threads"):
            value = getattr(self, name)
            number = whole(value)
            if (value is not None or name == "threads") and (number is None or number < 1):
                raise ArgumentError(f"{name}={value!r} is no whole number above 0")
        if self.device is not None and self.device.partition(":")[0] not in ("cpu", "cuda"):
            raise ArgumentError(f"device={self.device!r}: the engine runs on cpu or cuda")
        if importlib.util.find_spec("ray") is None:
            raise missing_extra("ray", "ray")

    def __call__(self, work: Work, chunks: Iterable[Chunk], tick: Tick) -> Iterator[ShardTable]:
        """Yield the table of every chunk as it is done, in any order.

        Args:
            work: What is done with each.
            chunks: The chunks that are not there yet; read a few ahead of those that are done.
            tick: Told of each chunk that is done.

        Raises:
            ExportError: A row cannot be used, or Ray failed; what comes before that row is yielded.
        """
        coming = iter(chunks)
        first = next(coming, None)
        if first is None:
            return  # and Ray, which takes seconds to start, is not needed
        from neoscope.export.ray_engine.feed import Sending
        from neoscope.export.ray_engine.session import quiet, session
        from neoscope.export.ray_engine.worker import recipe

        gpu = (self.device or str(work.extractor.model.device)).startswith("cuda")
        started = session(workers=self.workers, threads=self.threads, gpu=gpu, address=self.address)
        with quiet(), started as workers:
            made = recipe(work, device=self.device, threads=self.threads, send=self.send_model)
            with Sending(itertools.chain([first], coming), workers) as sending:
                yield from _shards(sending, made, tick)


def _shards(sending: Sending, recipe: Recipe, tick: Tick) -> Generator[ShardTable, None, None]:
    """Yield what is done; errors are raised at the end, the first in the order of the input."""
    from neoscope.export.ray_engine.parcel import read_outcome

    errors: dict[int, NeoscopeError] = {}
    warned = False
    with contextlib.closing(_batches(sending, recipe)) as batches:
        for batch in batches:
            outcome = read_outcome(batch)
            if outcome.unseen is not None and not warned:
                warned = True
                warnings.warn(outcome.unseen, UnseenWordWarning, stacklevel=2)
            if outcome.shard is not None:
                tick(outcome.texts, outcome.tokens)
                yield outcome.shard
            if outcome.error is not None:
                if outcome.details:
                    outcome.error.add_note(outcome.details)
                errors[outcome.number] = outcome.error
                sending.end()
            sending.done(outcome.number)
    if errors:
        raise errors[min(errors)]
    sending.check()


def _batches(sending: Sending, recipe: Recipe) -> Generator[Any, None, None]:
    """Run Ray Data from what is sent through the actors, which it starts anew when they die.

    Raises:
        ExportError: Something is wrong with Ray, not with the work.
    """
    import ray.data
    from ray.data.context import DataContext

    from neoscope.export.ray_engine.feed import AGAIN
    from neoscope.export.ray_engine.session import first_line
    from neoscope.export.ray_engine.worker import Actor

    actors = ray.data.ActorPoolStrategy(size=sending.occupied(), max_tasks_in_flight_per_actor=2)
    with warnings.catch_warnings():
        # Copying reads every setting, those that Ray gave up among them.
        warnings.simplefilter("ignore", DeprecationWarning)
        context = DataContext.get_current().copy()
    context.enable_progress_bars = context.print_on_execution_start = False
    # A chunk is handed on at once, instead of waiting until a block of 128 MB is full.
    context.target_max_block_size = 1
    # How long a chunk takes, or a source lets wait, says nothing.
    context.execution_no_progress_timeout_s = -1
    with DataContext.current(context):
        chunks = ray.data.read_datasource(sending.source, override_num_blocks=1, num_cpus=0)
        dataset = chunks.map_batches(
            Actor,
            fn_constructor_kwargs={"recipe": recipe, "held": sending.held},
            batch_size=1,
            batch_format="pyarrow",
            compute=actors,
            num_cpus=recipe.threads,
            num_gpus=1 if recipe.device == "cuda" else 0,
        )
    batches = iter(
        dataset.iter_batches(batch_size=None, batch_format="pyarrow", prefetch_batches=0)
    )
    try:
        yield from batches
    except Exception as error:
        raise ExportError(f"Ray failed ({first_line(error)}); {AGAIN}") from error
