"""What bounds an export of a billion tokens: bytes a row, and the rate of each part alone.

Sizes and the model's rate are ``neoscope.export.estimate``'s. Reading, writing and the manifest are
what one process does for all workers; tokenizing is done by each.
"""

from __future__ import annotations

import itertools
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch

from neoscope.export import FeatureSpec, estimate
from neoscope.export.engines import Work
from neoscope.export.extractor import Extractor
from neoscope.export.reading import Chunk, read_chunks
from neoscope.store import StoreWriter
from neoscope.store.manifest import FileRecord, Manifest, Shard
from tests.benchmarks import checkpoint, texts
from tests.benchmarks.harness import Figure, Settings
from tests.benchmarks.shapes import DTYPES, FORMATS, POOLS, SHAPES

_SHARDS = (1_000, 10_000)


def rows(settings: Settings) -> Iterator[Figure]:
    """Yield every row."""
    n = 16 if settings.quick else 256
    for name, (width, _, heads) in SHAPES.items():
        shape = {"hidden_size": width, "num_layers": 1, "num_heads": heads}
        shape["attention_types"] = [[["global"], 1]]
        with checkpoint.random_checkpoint(settings, **({} if settings.quick else shape)) as folder:
            corpus = texts.corpus(settings, folder, n)
            model = checkpoint.load_ours(folder, settings)
            for pool, dtype in itertools.product(POOLS, DTYPES):
                size = partial(_bytes, model, corpus, FeatureSpec(layers=0, pool=pool, dtype=dtype))
                yield Figure(f"bytes a row, {name}, {pool}, {dtype}", "bytes", size)
    for dtype in ("float32", "bfloat16"):
        yield Figure(f"model, {dtype}", "tokens/s", partial(_rate, settings, dtype, n))
    many = 1_000 if settings.quick else 50_000
    yield Figure("reading", "tokens/s", partial(_reading, settings, many))
    yield Figure("tokenizing", "tokens/s", partial(_tokenizing, settings, many // 10))
    for file_format, dtype in itertools.product(FORMATS, DTYPES):
        work = partial(_writing, 512 if settings.quick else 20_000, dtype, file_format)
        yield Figure(f"writing, {file_format}, {dtype}", "rows/s", work)
    for shards in _SHARDS:
        yield Figure(f"manifest, {shards:,} shards", "ms", partial(_listing, shards))


def _bytes(model: Any, corpus: Sequence[str], spec: FeatureSpec) -> float:
    """Bytes a row on disk of one layer's features, without any column that is carried along."""
    found = estimate(model, corpus, spec, keep=[], sample_rows=len(corpus))
    assert found.nbytes is not None and found.rows is not None
    return found.nbytes / found.rows


def _rate(settings: Settings, dtype: str, n: int) -> float:
    """Tokens a second of an export of the last layer by the model in the shape of 125M."""
    with checkpoint.random_checkpoint(settings) as folder:
        corpus = texts.corpus(settings, folder, n)
        model = checkpoint.load_ours(folder, settings, getattr(torch, dtype))
        return estimate(model, corpus, FeatureSpec(layers=-1), sample_rows=n).tokens_per_second


def _corpus(settings: Settings, n: int) -> tuple[Any, list[str]]:
    """The organism with the tokenizer that is asked for, and some texts, again and again."""
    with checkpoint.random_checkpoint(settings, hidden_size=64, num_layers=2, num_heads=4) as at:
        some = texts.corpus(settings, at, min(n, 1_000))
        model = checkpoint.load_ours(at, settings)
    return model, [some[i % len(some)] for i in range(n)]


def _reading(settings: Settings, n: int) -> float:
    """Tokens a second of a Parquet file, its texts checked and hashed."""
    model, corpus = _corpus(settings, n)
    tokens = sum(len(ids) for ids in model.tokenizer(corpus[:1_000])["input_ids"])
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "corpus.parquet"
        pq.write_table(pa.table({"text": corpus}), file)

        def work() -> None:
            for _ in read_chunks(file, rows=2_048):
                pass

        taken = _median(work)
    return n * tokens / min(n, 1_000) / taken


def _tokenizing(settings: Settings, n: int) -> float:
    model, corpus = _corpus(settings, n)
    work = Work(Extractor(model, FeatureSpec(layers=-1)), "fail", "text")
    chunks: Sequence[Chunk] = list(read_chunks(corpus, rows=2_048))
    found = [len(work.encode(chunk).ids) for chunk in chunks]
    return sum(found) / _median(lambda: [work.encode(chunk) for chunk in chunks])


def _writing(n: int, dtype: str, file_format: str) -> float:
    """Rows of 768 numbers a second: the file, its hash, and the wait until it is on the disk."""
    values = np.random.default_rng(0).normal(size=n * 768).astype(dtype)
    column = pa.FixedSizeListArray.from_arrays(pa.array(values), 768)
    table = pa.table({"id": pa.array(np.arange(n)), "f": column})
    about: dict[str, Any] = {"kind": "features", "identity": {}, "about": {}}
    about["file_format"] = file_format

    def work() -> None:
        with tempfile.TemporaryDirectory() as folder, StoreWriter(folder, **about) as writer:
            for index in range(3):
                writer.write(index, index * n, (index + 1) * n, table, ["f"], {})

    return 3 * n / _median(work)


def _listing(n: int) -> float:
    """Milliseconds to list one more shard where there are so many."""
    facts = {"tokens": 100_000, "truncated": [], "cut_tokens": 0, "skipped": [], "nulled": []}
    facts["input_sha256"] = "0" * 64
    file = FileRecord(2**27, "0" * 64)
    shards = tuple(Shard(i, i, i, 0, {f"part-{i:05d}.parquet": file}, facts) for i in range(n))
    manifest = Manifest("features", "0", "parquet", {}, {}, None, shards)
    with tempfile.TemporaryDirectory() as folder:
        return 1e3 * _median(lambda: manifest.save(Path(folder)))


def _median(work: Callable[[], object]) -> float:
    times = []
    for _ in range(3):
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
    return statistics.median(times)
