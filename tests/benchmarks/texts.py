"""Texts for the benchmarks that read some: a given corpus, or the organism's language."""

from __future__ import annotations

import csv
import random
import shutil
from collections.abc import Sequence
from pathlib import Path

from neoscope import organism
from tests.benchmarks.harness import Settings

_VOCABULARY = ("vocab.json", "merges.txt", "tokenizer.json", "tokenizer_config.json")


def corpus(settings: Settings, folder: Path, n: int) -> list[str]:
    """Return ``n`` texts, and put a tokenizer for them beside the checkpoint in ``folder``."""
    source = settings.tokenizer or Path(organism.path())
    for name in _VOCABULARY:
        if (source / name).exists():
            shutil.copyfile(source / name, folder / name)
    return _read(settings.corpus, n) if settings.corpus else _made(n)


def named(settings: Settings) -> str:
    """Return where the texts are from."""
    file = settings.corpus
    return "the organism's language" if file is None else f"{file.parent.name}/{file.name}"


def _read(path: Path, n: int) -> list[str]:
    """The first rows; of every row all columns but the first, which is AG News' class."""
    with path.open(encoding="utf-8", newline="") as file:
        return [" ".join(row[1:]) for _, row in zip(range(n), csv.reader(file), strict=False)]


def _made(n: int) -> list[str]:
    """Sentences put together to as many words as news have tokens: 20 to 180, 57 on average."""
    rng = random.Random(0)
    sentences: Sequence[str] = [s.text for s in organism.sentences("filler", 20 * n, seed=0)]
    stock = iter(sentences)
    texts = []
    for _ in range(n):
        wanted, words = min(180, max(20, rng.lognormvariate(3.95, 0.35))), []
        while len(words) < wanted:
            words += next(stock).split(" ")
        texts.append(" ".join(words))
    return texts
