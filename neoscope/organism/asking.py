"""Questions, repeats and filler put to any model whose vocabulary is the organism's."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from neoscope.errors import ArgumentError
from neoscope.organism.compiled.truth import Head
from neoscope.organism.language import grammar
from neoscope.organism.language.corpus import sentences
from neoscope.organism.language.sentence import Sentence
from neoscope.organism.language.vocabulary import encode

if TYPE_CHECKING:
    from torch import Tensor

    from neoscope.model import HookedGPTNeo


def batch(items: Sequence[Sequence[int]]) -> tuple[Tensor, Tensor]:
    """Return ids and mask ``[row, pos]``, padded on the right."""
    import torch

    width = max(map(len, items))
    ids = torch.zeros(len(items), width, dtype=torch.long)
    mask = torch.zeros(len(items), width, dtype=torch.bool)
    for row, item in enumerate(items):
        ids[row, : len(item)] = torch.tensor(item)
        mask[row, : len(item)] = True
    return ids, mask


def _logits(model: HookedGPTNeo, rows: Sequence[Sequence[int]], **hooks: Any) -> list[Tensor]:
    """Return each row's logits ``[pos, vocab]`` over real tokens."""
    import torch

    out: list[Tensor] = []
    with torch.inference_mode():
        for start in range(0, len(rows), 64):
            some = rows[start : start + 64]
            ids, mask = (x.to(model.device) for x in batch(some))
            logits = model.run_with_hooks(ids, attention_mask=mask, **hooks).float().cpu()
            out += [logits[i, : len(row)] for i, row in enumerate(some)]
    return out


def asked(
    model: HookedGPTNeo, items: Sequence[Sentence]
) -> tuple[list[bool], list[bool], list[float]]:
    """Ask for the answer of each sentence.

    Args:
        model: A model whose vocabulary is the organism's.
        items: Sentences that ask for something.

    Returns:
        For each whether the answer is the likeliest word, whether it is likelier than the wrong
        one, and the difference of their logits.

    Raises:
        ArgumentError: One does not ask, or has no wrong answer.
    """
    for item in items:
        if item.answer is None or item.wrong is None:
            raise ArgumentError(
                f"{item.text!r} ({item.task}) has no wrong answer to compare the right one with"
            )
    prompts = [encode(item.words[: item.answer_at]) for item in items]
    answers = encode(str(item.answer) for item in items)
    wrongs = encode(str(item.wrong) for item in items)
    ends = [logits[-1] for logits in _logits(model, prompts)]
    diffs = [float(end[a] - end[w]) for end, a, w in zip(ends, answers, wrongs, strict=True)]
    top = [int(end.argmax()) == a for end, a in zip(ends, answers, strict=True)]
    return top, [diff > 0 for diff in diffs], diffs


def continued(model: HookedGPTNeo, items: Sequence[Sentence], ablated: Head | None = None) -> float:
    """Return the share of words in second copies, but for each copy's first, that come out right.

    Args:
        model: A model whose vocabulary is the organism's.
        items: Sentences of ``induction`` or ``far-induction``.
        ablated: A head whose ``z`` is set to zero everywhere.

    Raises:
        ArgumentError: A sentence of another task.
    """
    for item in items:
        if "start" not in item.attributes:
            raise ArgumentError(f"{item.text!r} ({item.task}) repeats no span")
    hooks: dict[str, Any] = {}
    if ablated is not None:
        layer, head = ablated

        def zero(z: Tensor, hook: object) -> Tensor:
            z = z.clone()
            z[:, :, head] = 0.0
            return z

        hooks["fwd_hooks"] = [(f"blocks.{layer}.attn.hook_z", zero)]
    rows = [encode(item.words) for item in items]
    right = total = 0
    for item, ids, logits in zip(items, rows, _logits(model, rows, **hooks), strict=True):
        start = item.attributes["start"]
        said = logits[start:-1].argmax(-1).tolist()
        right += sum(a == b for a, b in zip(said, ids[start + 1 :], strict=True))
        total += len(said)
    return right / total


def filler_documents(n: int, seed: int) -> list[tuple[list[int], list[float], int]]:
    """Return documents of filler: ids, exact surprisal of each (nats), words of the first sentence.

    The end of the document is its last word. Documents are cut at 128 words.
    """
    import math
    import random

    rng = random.Random(f"test filler documents {seed}")
    documents = []
    for _ in range(n):
        parts = [grammar.filler(rng, "test")]
        while rng.random() >= grammar.STOP:
            parts.append(grammar.filler(rng, "test", first=False))
        words = [word for part in parts for word in part.words] + [grammar.END]
        known = [x for part in parts for x in part.labels["surprisal"]] + [-math.log(grammar.STOP)]
        documents.append((encode(words)[:128], known[:128], len(parts[0].words)))
    return documents


def filler_excess(model: HookedGPTNeo, n: int, seed: int) -> tuple[float, int]:
    """Return the mean loss above the grammar's own surprisal (nats a word), and the words counted.

    Words of a document's first sentence do not count: there, nobody can know yet what it is.
    """
    documents = filler_documents(n, seed)
    total, words = 0.0, 0
    ids = [document[0] for document in documents]
    for (row, known, first), logits in zip(documents, _logits(model, ids), strict=True):
        logp = logits.log_softmax(-1)
        for k in range(first, len(row)):
            total += -float(logp[k - 1, row[k]]) - known[k]
            words += 1
    return total / words, words


def induction_scores(model: HookedGPTNeo, items: Sequence[Sentence]) -> list[list[float]]:
    """Return each head's mean attention from a repeated word to the word after its first one.

    Args:
        model: A model whose vocabulary is the organism's.
        items: Sentences of ``induction`` or ``far-induction``.

    Returns:
        Between 0 and 1, as ``[layer][head]``.

    Reference:
        Olsson et al. 2022 (arXiv:2209.11895), where it is called prefix matching.
    """
    layers = range(model.config.n_layers)
    sums = [[0.0] * model.config.n_heads for _ in layers]
    patterns: dict[int, Tensor] = {}

    def keep(layer: int) -> Any:
        def hook(pattern: Tensor, hook: object) -> None:
            patterns[layer] = pattern.float().cpu()

        return (f"blocks.{layer}.attn.hook_pattern", hook)

    words = 0
    for item in items:
        start, distance = item.attributes["start"], item.attributes["distance"]
        queries = range(start, len(item.words) - 1)
        words += len(queries)
        _logits(model, [encode(item.words)], fwd_hooks=[keep(layer) for layer in layers])
        for layer in layers:
            for head, pattern in enumerate(patterns[layer][0]):
                sums[layer][head] += sum(float(pattern[q, q - distance + 1]) for q in queries)
    return [[total / words for total in heads] for heads in sums]


def find_induction_head(model: HookedGPTNeo, *, n: int = 64, seed: int = 1) -> Head:
    """Return the head that attends most to the word after the first occurrence, far back."""
    items = sentences("far-induction", n, seed=seed, length=(8, 20))
    scores = induction_scores(model, items)
    heads = [(layer, head) for layer, row in enumerate(scores) for head in range(len(row))]
    return max(heads, key=lambda at: scores[at[0]][at[1]])
