"""The filler grammar: a finite automaton, so that every next word's probability is known exactly.

A state and a word determine the next state, also where a word can be two parts of speech. The
surprisal of each word given all before it is therefore the one under its state, and the entropy
of the language follows from the expected visits to each state, by one linear solve.

Heads follow Universal Dependencies: a preposition hangs on its noun, and a noun in a phrase on
the noun or verb that the phrase belongs to.
"""

from __future__ import annotations

import dataclasses
import functools
import itertools
import math
import random
from bisect import bisect
from collections.abc import Callable, Sequence

from neoscope.organism.language import lexicon
from neoscope.organism.language.sentence import Sentence

STOP = 0.2
"""Probability that a document of filler ends after a sentence."""
END = "<|endoftext|>"


@dataclasses.dataclass(frozen=True)
class Arc:
    """What can come next in a state: some words with one part of speech, and where they lead."""

    probability: float
    """Of all its words together."""
    words: tuple[str, ...]
    """From the frequent to the rare: the weight of the i-th falls as 1 / (i + 3)."""
    pos: str
    slot: str
    """The word's place in the sentence, such as ``subj.noun``; heads are known by slot."""
    goes_to: str


_HEADS = {
    "intro": "verb",
    "comma": "verb",
    "subj.noun": "verb",
    "subj.of.prep": "subj.of.noun",
    "subj.of.noun": "subj.noun",
    "obj.noun": "verb",
    "obj.of.prep": "obj.of.noun",
    "obj.of.noun": "obj.noun",
    "place.prep": "place.noun",
    "place.noun": "verb",
    "adverb": "verb",
    "period": "verb",
}


def _phrase(
    states: dict[str, list[Arc]],
    name: str,
    slot: str,
    leads_to: Callable[[str], str],
) -> list[Arc]:
    """Add the states of a noun phrase, and return the arcs that begin it (lower case)."""
    # The object and its like are things; whoever does something lives.
    kinds = (*lexicon.PEOPLE, *lexicon.ANIMALS) if slot == "subj" else lexicon.NOUNS
    nouns = (*kinds, *lexicon.NOUN_OR_VERB)
    forms = {"sg": tuple(n[0] for n in nouns), "pl": tuple(n[1] for n in nouns)}
    # "walks" is a plural noun and a singular verb; the two never compete in one state.
    for numbers in ("sg", "pl", "sg+pl"):
        ends = [(number, 1 / len(numbers.split("+"))) for number in numbers.split("+")]
        for before in ("det", "adj"):
            rest = 0.7 if before == "det" else 1.0
            arcs = [
                Arc(rest * p, forms[number], "NOUN", f"{slot}.noun", leads_to(number))
                for number, p in ends
            ]
            if before == "det":
                adj = f"{name}.adj.{numbers}"
                arcs.append(Arc(0.3, lexicon.ADJECTIVES, "ADJ", f"{slot}.adj", adj))
            states[f"{name}.{before}.{numbers}"] = arcs
    det = f"{slot}.det"
    return [
        Arc(0.6, ("the",), "DET", det, f"{name}.det.sg+pl"),
        Arc(0.2, ("a",), "DET", det, f"{name}.det.sg"),
        Arc(0.2, ("some", "many"), "DET", det, f"{name}.det.pl"),
    ]


def _share(arcs: Sequence[Arc], share: float) -> list[Arc]:
    return [dataclasses.replace(arc, probability=arc.probability * share) for arc in arcs]


def _capital(arcs: Sequence[Arc]) -> list[Arc]:
    return [dataclasses.replace(a, words=tuple(w.capitalize() for w in a.words)) for a in arcs]


@functools.cache
def automaton() -> dict[str, tuple[Arc, ...]]:
    """Return the states of the filler grammar, beginning with ``"start"``."""
    states: dict[str, list[Arc]] = {}
    period = Arc(1.0, (".",), "PUNCT", "period", "next")
    adverb = Arc(1.0, lexicon.ADVERBS, "ADV", "adverb", "closing")
    states["closing"] = [period]
    states["after place"] = [*_share([adverb], 0.15), *_share([period], 0.85)]
    place = Arc(1.0, lexicon.VERB_PREPOSITIONS, "ADP", "place.prep", "place")
    states["place"] = _phrase(states, "place", "place", lambda _: "after place")
    tail = [*_share([adverb], 0.2), *_share([place], 0.25), *_share([period], 0.55)]
    states["tail"] = tail
    of = Arc(1.0, lexicon.NOUN_PREPOSITIONS, "ADP", "obj.of.prep", "obj.of")
    states["obj.of"] = _phrase(states, "obj.of", "obj.of", lambda _: "tail")
    states["after obj"] = [*_share([of], 0.2), *_share(tail, 0.8)]
    states["obj"] = _phrase(states, "obj", "obj", lambda _: "after obj")
    for number, form in (("sg", 0), ("pl", 1)):
        verbs = [
            Arc(0.5, tuple(v[form] for v in lexicon.TRANSITIVE), "VERB", "verb", "obj"),
            Arc(0.5, tuple(v[form] for v in lexicon.INTRANSITIVE), "VERB", "verb", "tail"),
        ]
        name = f"subj {number} of"
        with_of = Arc(0.2, lexicon.NOUN_PREPOSITIONS, "ADP", "subj.of.prep", name)
        states[name] = _phrase(states, name, "subj.of", lambda _, n=number: f"verb {n}")  # type: ignore[misc]
        states[f"verb {number}"] = verbs
        states[f"subj {number}"] = [with_of, *_share(verbs, 0.8)]
    subject = _phrase(states, "subj", "subj", lambda number: f"subj {number}")
    states["subject"] = subject
    states["comma"] = [Arc(1.0, (",",), "PUNCT", "comma", "subject")]
    states["start"] = [
        Arc(0.15, ("Today", "Sometimes"), "ADV", "intro", "comma"),
        *_share(_capital(subject), 0.85),
    ]
    states["next"] = [Arc(STOP, (END,), "X", "end", "next"), *_share(states["start"], 1 - STOP)]
    return {"start": tuple(states.pop("start")), **{k: tuple(v) for k, v in states.items()}}


@dataclasses.dataclass(frozen=True)
class State:
    """One state of the automaton, ready to draw from."""

    words: tuple[str, ...]
    probabilities: tuple[float, ...]
    arcs: tuple[Arc, ...]
    """The arc of each word."""
    cumulative: tuple[float, ...]
    entropy: float
    """Of the next word, in nats."""


@functools.cache
def table() -> dict[str, State]:
    """Return every state with its distribution over next words."""
    out = {}
    for name, arcs in automaton().items():
        rows: list[tuple[str, float, Arc]] = []
        for arc in arcs:
            weights = [1 / (i + 3) for i in range(len(arc.words))]
            total = sum(weights)
            rows += [
                (word, arc.probability * weight / total, arc)
                for word, weight in zip(arc.words, weights, strict=True)
            ]
        words, probabilities, chosen = zip(*rows, strict=True)
        if len(set(words)) < len(words):
            repeated = sorted(w for w in set(words) if words.count(w) > 1)
            raise AssertionError(f"state {name!r} is ambiguous: {repeated}")
        out[name] = State(
            words=words,
            probabilities=probabilities,
            arcs=chosen,
            cumulative=tuple(itertools.accumulate(probabilities)),
            entropy=-sum(p * math.log(p) for p in probabilities),
        )
    return out


def filler(rng: random.Random, split: str, *, first: bool = True) -> Sentence:
    """Return one sentence of filler.

    Args:
        rng: Source of the choices.
        split: ``"train"`` or ``"test"``; the two differ in nothing but their seeds.
        first: False for a sentence that follows another, so that the surprisal of its first word
            counts that the document went on.

    Returns:
        Labels ``pos``, ``head`` (index of a word, -1 for the root), ``depth`` (0 for the root),
        ``surprisal`` and ``entropy`` (nats, exact, given all words before).
    """
    states = table()
    state = states["start" if first else "next"]
    words, arcs, surprisal, entropy = [], [], [], []
    while True:
        i = min(bisect(state.cumulative, rng.random() * state.cumulative[-1]), len(state.words) - 1)
        arc = state.arcs[i]
        if arc.slot == "end":
            continue
        words.append(state.words[i])
        arcs.append(arc)
        surprisal.append(-math.log(state.probabilities[i]))
        entropy.append(state.entropy)
        if arc.goes_to == "next":
            break
        state = states[arc.goes_to]
    slots = {arc.slot: k for k, arc in enumerate(arcs)}
    heads = [_head(arc.slot, slots) for arc in arcs]
    return Sentence(
        task="filler",
        split=split,
        words=tuple(words),
        labels={
            "pos": tuple(arc.pos for arc in arcs),
            "head": tuple(heads),
            "depth": tuple(_depth(k, heads) for k in range(len(heads))),
            "surprisal": tuple(surprisal),
            "entropy": tuple(entropy),
        },
        attributes={},
    )


def _head(slot: str, slots: dict[str, int]) -> int:
    if slot == "verb":
        return -1
    if slot in _HEADS:
        return slots[_HEADS[slot]]
    return slots[slot.rpartition(".")[0] + ".noun"]


def _depth(word: int, heads: Sequence[int]) -> int:
    depth = 0
    while heads[word] >= 0:
        word, depth = heads[word], depth + 1
    return depth


@functools.cache
def entropy_rate() -> float:
    """Return the exact entropy of filler, in nats a word, from a document's second sentence on.

    The end of the document counts as a word. Within the first sentence a reader of mixed
    documents does not know yet that it is filler, so that no exact figure is possible there.
    """
    import numpy as np

    states = table()
    index = {name: i for i, name in enumerate(states)}
    moves = np.zeros((len(states), len(states)))
    for name, state in states.items():
        for p, arc in zip(state.probabilities, state.arcs, strict=True):
            moves[index[name], index[arc.goes_to]] += p
    # The stationary distribution: visits = visits @ moves, and they sum to 1.
    equations = np.vstack([moves.T - np.eye(len(states)), np.ones(len(states))])
    visits = np.linalg.lstsq(equations, np.eye(len(states) + 1)[-1], rcond=None)[0]
    return float(visits @ np.array([state.entropy for state in states.values()]))
