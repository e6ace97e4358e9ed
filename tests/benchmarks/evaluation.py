"""lm-evaluation-harness's requests, answered by neoscope and by the harness's own HF model."""

from __future__ import annotations

import dataclasses
import json
import logging
import random
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from neoscope import organism
from neoscope.evaluate import Harness
from tests.benchmarks import checkpoint, texts
from tests.benchmarks.harness import Contest, Figure, Settings

_PAIRS, _CONTEXTS = 300, 6
_CONTEXT, _ENDINGS = 300, (15, 30)
_SHORT_BATCHES, _LONG_BATCHES = (8, 16, 32), (1, 4, 8)
_AGREEMENT = 1e-4
"""Nats, of the log-probability of a continuation."""


def rows(settings: Settings) -> Iterator[Contest | Figure]:
    """Yield every row; the harness's own model is run at several batch sizes, all to be beaten."""
    with checkpoint.random_checkpoint(settings) as folder:
        texts.corpus(dataclasses.replace(settings, corpus=None), folder, 1)
        ours = checkpoint.load_ours(folder, settings)
        theirs = checkpoint.load_transformers(folder, settings)
        missing = _file(settings) is None and not settings.quick
        pairs = _pairs(settings, 20 if settings.quick else _PAIRS)
        asked = _instances([("", f" {text}") for pair in pairs for text in pair])
        yield _contest(
            "BLiMP", f"{len(pairs)} pairs, text to log-probability", ours, theirs, asked,
            _SHORT_BATCHES, needs="--pairs" * missing,
        )  # fmt: skip
        endings = _endings(2 if settings.quick else _CONTEXTS, theirs.config.vocab_size)
        yield _contest(
            "HellaSwag-like",
            f"{len(endings) // 4} contexts of {_CONTEXT} tokens x 4 endings",
            ours, theirs, endings, _LONG_BATCHES, tokens=True,
        )  # fmt: skip
        alone = _endings(2 if settings.quick else _CONTEXTS, theirs.config.vocab_size, each=1)
        yield _contest(
            "one ending a context", f"{len(alone)} x {_CONTEXT} tokens, nothing to share", ours,
            theirs, alone, _LONG_BATCHES, tokens=True,
        )  # fmt: skip


def _contest(
    name: str,
    unit: str,
    ours: Any,
    theirs: Any,
    asked: Sequence[Any],
    batch_sizes: Sequence[int],
    *,
    tokens: bool = False,
    needs: str = "",
) -> Contest:
    ask = "_loglikelihood_tokens" if tokens else "loglikelihood"
    work = partial(getattr(Harness(ours, progress=False), ask), asked)
    peers = {
        f"HFLM, batch {n}": partial(
            getattr(_hf_model(theirs, ours.tokenizer, n), ask), asked, disable_tqdm=True
        )
        for n in batch_sizes
    }
    first = next(iter(peers.values()))
    error = partial(_error, work, first)
    return Contest(name, unit, work, peers, error, _AGREEMENT, rounds=3, needs=needs)


def _error(ours: Any, theirs: Any) -> float:
    """Largest difference in nats; infinite where greedy decoding is said to differ."""
    pairs = list(zip(ours(), theirs(), strict=True))
    if any(a[1] != b[1] for a, b in pairs):
        return float("inf")
    return max(abs(a[0] - b[0]) for a, b in pairs)


def _hf_model(model: Any, tokenizer: Any, batch_size: int) -> Any:
    from lm_eval.models.huggingface import HFLM

    logging.getLogger("lm_eval").setLevel(logging.ERROR)
    device = str(model.device)
    return HFLM(pretrained=model, tokenizer=tokenizer, batch_size=batch_size, device=device)


def _instances(pairs: Sequence[tuple[str, str]]) -> list[Any]:
    from lm_eval.api.instance import Instance

    return [Instance("loglikelihood", {}, pair, i) for i, pair in enumerate(pairs)]


def _file(settings: Settings) -> Path | None:
    """BLiMP's own file, by whichever option it was given."""
    given = settings.corpus
    return settings.pairs or (given if given and given.suffix == ".jsonl" else None)


def _pairs(settings: Settings, n: int) -> list[tuple[str, str]]:
    """BLiMP's own file, or sentences of the organism's language with one word exchanged."""
    file = _file(settings)
    if file is not None:
        return _read(file, n)
    rng = random.Random(0)
    found = []
    for sentence in organism.sentences("filler", n, seed=0):
        words = sentence.text.split(" ")
        at = rng.randrange(len(words) // 2, len(words))
        wrong = [*words[:at], rng.choice(("dogs", "runs", "she")), *words[at + 1 :]]
        found.append((sentence.text, " ".join(wrong)))
    return found


def _read(path: Path, n: int) -> list[tuple[str, str]]:
    lines = path.read_text(encoding="utf-8").splitlines()[:n]
    rows = map(json.loads, lines)
    return [(row["sentence_good"], row["sentence_bad"]) for row in rows]


def _endings(n: int, d_vocab: int, each: int = 4) -> list[tuple[None, list[int], list[int]]]:
    """Random contexts with a few endings each, as the harness hands them to its models."""
    rng = random.Random(0)
    found = []
    for _ in range(n):
        context = [rng.randrange(d_vocab) for _ in range(_CONTEXT)]
        for _ in range(each):
            length = rng.randint(*_ENDINGS)
            found.append((None, context, [rng.randrange(d_vocab) for _ in range(length)]))
    return found
