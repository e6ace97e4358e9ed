"""Engines: who runs the chunks of an export. This one is the process itself."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from neoscope.export.encoding import Encoded
from neoscope.export.extractor import Extractor
from neoscope.export.reading import Chunk
from neoscope.export.table import ShardTable, refuse_problems, shard_table
from neoscope.export.threads import ahead

Tick = Callable[[int, int], None]
"""Called with texts and tokens done since the last call."""


@dataclass(frozen=True)
class Work:
    """From a chunk of the input to the table of its shard; the same for every engine."""

    extractor: Extractor
    on_error: str
    text_column: str

    def encode(self, chunk: Chunk) -> Encoded:
        """Tokenize.

        Raises:
            ExportError: A row cannot be used, and ``on_error`` is ``"fail"``.
        """
        encoded = self.extractor.encode(
            chunk.texts, where=chunk.where, problems=chunk.problems, start=chunk.start
        )
        if self.on_error == "fail":
            refuse_problems(chunk, encoded)
        return encoded

    def finish(self, chunk: Chunk, encoded: Encoded, tick: Tick | None = None) -> ShardTable:
        """Run the model and put the table together."""
        values = self.extractor.run(encoded, tick)
        return shard_table(chunk, values, self.extractor, self.on_error, self.text_column)


Engine = Callable[[Work, Iterable[Chunk], Tick], Iterator[ShardTable]]
"""Runs the chunks that are not there yet and yields their tables, in any order."""


class LocalEngine:
    """Runs in this process; reading and tokenizing go on in a thread."""

    def __call__(self, work: Work, chunks: Iterable[Chunk], tick: Tick) -> Iterator[ShardTable]:
        """Yield the table of every chunk, in their order."""
        for chunk, encoded in ahead((chunk, work.encode(chunk)) for chunk in chunks):
            yield work.finish(chunk, encoded, tick)
