"""The gates: what the trained organism must be able to do, measured on text it never saw."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from neoscope.errors import ArgumentError
from neoscope.organism.language import grammar
from neoscope.organism.language.corpus import check_count, sentences
from neoscope.organism.language.sentence import Sentence
from neoscope.organism.language.vocabulary import encode, vocabulary

if TYPE_CHECKING:
    from torch import Tensor

    from neoscope.model import HookedGPTNeo

Head = tuple[int, int]


@dataclasses.dataclass(frozen=True)
class Gate:
    """One figure that was measured, and what it must reach."""

    task: str
    figure: str
    """What was measured, with its unit."""
    value: float
    gate: float
    """The value that is asked for."""
    at_least: bool
    """True if the value must not be below ``gate``, False if it must not be above."""
    n: int
    """Sentences, or words of filler, that it was measured on."""

    @property
    def holds(self) -> bool:
        """Whether the value is on the right side."""
        return self.value >= self.gate if self.at_least else self.value <= self.gate


@dataclasses.dataclass(frozen=True)
class GateReport:
    """All gates of one model."""

    gates: tuple[Gate, ...]
    induction_head: Head
    """The head without which repeats beyond the window are not continued."""

    @property
    def ok(self) -> bool:
        """Whether all gates hold."""
        return all(gate.holds for gate in self.gates)

    def record(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return {
            "ok": self.ok,
            "induction_head": list(self.induction_head),
            "gates": [{**dataclasses.asdict(gate), "holds": gate.holds} for gate in self.gates],
        }


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
    """
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
    """
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


def find_induction_head(model: HookedGPTNeo, *, n: int = 64, seed: int = 1) -> Head:
    """Return the head whose removal costs most on repeats beyond the window."""
    items = sentences("far-induction", n, seed=seed, length=(8, 20))
    heads = [(layer, head) for layer in range(model.config.n_layers)
             for head in range(model.config.n_heads)]  # fmt: skip
    return min(heads, key=lambda head: continued(model, items, head))


def measure(
    model: HookedGPTNeo,
    *,
    induction_head: Head | None = None,
    n: int = 1000,
    seed: int = 0,
    progress: Callable[[str], None] = lambda _: None,
) -> GateReport:
    """Measure all gates on combinations of words that training never saw.

    Args:
        model: A model whose vocabulary is the organism's.
        induction_head: The head to ablate; by default it is looked for, on other sentences.
        n: Sentences of each task.
        seed: Of the sentences.
        progress: Called with the name of each task.

    Raises:
        ArgumentError: Another vocabulary, or ``n`` below 1.
    """
    check_count(n)
    if model.config.d_vocab != len(vocabulary()):
        raise ArgumentError(
            f"the model has a vocabulary of {model.config.d_vocab}; the organism's language needs "
            f"its own, of {len(vocabulary())}"
        )
    gates: list[Gate] = []

    def add(task: str, figure: str, value: float, gate: float, count: int = n) -> None:
        gates.append(Gate(task, figure, value, gate, at_least=True, n=count))

    def ask(task: str, **options: Any) -> tuple[float, float, float]:
        progress(task)
        top, above, diffs = asked(model, sentences(task, n, seed=seed, **options))
        return sum(top) / n, sum(above) / n, sum(diffs) / n

    right = "right word above wrong word"
    add("agreement", f"no attractor: {right}", ask("agreement", attractors=0)[1], 0.99)
    for k in (1, 2):
        figure = f"{k} attractor{'s' * (k > 1)}: {right}"
        add("agreement", figure, ask("agreement", attractors=k)[1], 0.97)
    _, above, diff = ask("ioi", control=False)
    add("ioi", right, above, 0.97)
    add("ioi", "mean logit difference", diff, 3.0)
    for kind, gate in (("seen", 0.99), ("held out", 0.95)):
        add("facts", f"{kind} paraphrase: likeliest word", ask("facts", paraphrase=kind)[0], gate)
    for negated, gate in ((False, 0.98), (True, 0.95)):
        figure = f"{'with' if negated else 'without'} negation: {right}"
        add("sentiment", figure, ask("sentiment", negated=negated)[1], gate)
    add("pronoun", right, ask("pronoun")[1], 0.98)
    progress("induction")
    count = max(1, n // 4)
    near = sentences("induction", count, seed=seed, length=(8, 20))
    far = sentences("far-induction", count, seed=seed, length=(8, 20))
    add("induction", "within the window: likeliest word", continued(model, near), 0.95, count)
    intact = continued(model, far)
    add("induction", "beyond the window: likeliest word", intact, 0.90, count)
    head = induction_head or find_induction_head(model)
    left = continued(model, far, head) / intact if intact else 1.0
    gates.append(
        Gate("induction", f"beyond the window, share left without head {head[0]}.{head[1]}",
             left, 0.5, at_least=False, n=count)
    )  # fmt: skip
    progress("filler")
    excess, words = filler_excess(model, n, seed)
    gates.append(
        Gate("filler", "loss above the grammar's entropy, nats a word", excess, 0.05,
             at_least=False, n=words)
    )  # fmt: skip
    return GateReport(tuple(gates), head)


__all__ = [
    "Gate",
    "GateReport",
    "asked",
    "continued",
    "filler_documents",
    "filler_excess",
    "find_induction_head",
    "measure",
]
