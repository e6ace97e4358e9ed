"""Reading a corpus, of whatever kind, as chunks of rows that depend on its content alone."""

from neoscope.export.reading.chunks import Chunk, count_rows, read_chunks

__all__ = ["Chunk", "count_rows", "read_chunks"]
