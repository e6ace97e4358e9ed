"""The gates: what the trained organism must be able to do, measured on text it never saw."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from neoscope.errors import ArgumentError
from neoscope.organism.asking import asked, continued, filler_excess, find_induction_head
from neoscope.organism.compiled.truth import Head, check_count
from neoscope.organism.language.corpus import sentences
from neoscope.organism.language.vocabulary import vocabulary

if TYPE_CHECKING:
    from neoscope.model import HookedGPTNeo


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
    """The head that attends most to the word after the first occurrence, beyond the window."""

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
