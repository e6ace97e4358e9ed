"""The filler grammar is exact: its trees, its probabilities, and its entropy."""

from __future__ import annotations

import itertools
import math
import random
from collections import defaultdict

import numpy as np
import pytest
import torch

from neoscope.organism.asking import filler_documents
from neoscope.organism.language import entropy_rate, sentences
from neoscope.organism.language import lexicon as lex
from neoscope.organism.language.grammar import END, STOP, filler, table

torch.set_num_threads(1)
LATER = [filler(random.Random(f"later {k}"), "test", first=False) for k in range(4000)]
FILLER = (*sentences("filler", 2000), *sentences("filler", 2000, split="train"), *LATER)


def test_a_word_tells_the_next_state() -> None:
    for name, state in table().items():
        assert len(set(state.words)) == len(state.words), name
        assert all(arc.goes_to in table() for arc in state.arcs)


def test_probabilities_sum_to_one_in_every_state() -> None:
    for state in table().values():
        assert math.fsum(state.probabilities) == pytest.approx(1, abs=1e-12)
        assert min(state.probabilities) > 0
        assert state.entropy == pytest.approx(-sum(p * math.log(p) for p in state.probabilities))


def test_every_state_is_reached() -> None:
    reached, new = {"start"}, {"start"}
    while new:
        new = {arc.goes_to for name in new for arc in table()[name].arcs} - reached
        reached |= new
    assert reached == set(table())


def test_surprisal_is_that_of_the_words() -> None:
    """Walking the words alone through the automaton gives the labels back."""
    for first, items in ((True, FILLER[:300]), (False, LATER[:300])):
        for item in items:
            state = table()["start" if first else "next"]
            for k, word in enumerate(item.words):
                at = state.words.index(word)
                assert item.labels["surprisal"][k] == -math.log(state.probabilities[at])
                assert item.labels["entropy"][k] == state.entropy
                assert item.labels["pos"][k] == state.arcs[at].pos
                state = table()[state.arcs[at].goes_to]


def test_heads_are_a_tree_with_one_root() -> None:
    for item in FILLER:
        heads, depth = item.labels["head"], item.labels["depth"]
        (root,) = (k for k, head in enumerate(heads) if head == -1)
        assert item.labels["pos"][root] == "VERB" and depth[root] == 0
        for k, head in enumerate(heads):
            if k == root:
                continue
            assert 0 <= head < len(heads) and head != k
            assert depth[k] == depth[head] + 1  # So that there is no cycle.
        assert item.words[-1] == "." and heads[-1] == root


def test_heads_are_projective_and_of_the_right_kind() -> None:
    allowed = {
        "DET": {"NOUN"}, "ADJ": {"NOUN"}, "ADP": {"NOUN"}, "NOUN": {"NOUN", "VERB"},
        "ADV": {"VERB"}, "PUNCT": {"VERB"},
    }  # fmt: skip
    for item in FILLER:
        pos, heads = item.labels["pos"], item.labels["head"]
        arcs = [sorted((k, head)) for k, head in enumerate(heads) if head >= 0]
        for (a, b), (c, d) in itertools.combinations(arcs, 2):
            assert not a < c < b < d and not c < a < d < b, item.text
        for k, head in enumerate(heads):
            assert head < 0 or pos[head] in allowed[pos[k]], item.text


def test_subject_and_verb_agree() -> None:
    number = {
        form: i
        for forms in (*lex.PEOPLE, *lex.ANIMALS, *lex.NOUNS, *lex.NOUN_OR_VERB)
        for i, form in enumerate(forms)
    }
    verbs = {
        form: i
        for forms in (*lex.TRANSITIVE, *lex.INTRANSITIVE)
        for i, form in enumerate(forms[:2])
    }
    only = {"a": 0, "A": 0, "some": 1, "Some": 1, "many": 1, "Many": 1}
    for item in FILLER:
        pos, heads = item.labels["pos"], item.labels["head"]
        root = heads.index(-1)
        (subject,) = (k for k in range(root) if heads[k] == root and pos[k] == "NOUN")
        assert number[item.words[subject]] == verbs[item.words[root]], item.text
        for k, word in enumerate(item.words):
            if word in only:
                assert number[item.words[heads[k]]] == only[word], item.text


def test_some_words_are_two_parts_of_speech() -> None:
    tags = defaultdict(set)
    for item in FILLER:
        for word, tag in zip(item.words, item.labels["pos"], strict=True):
            tags[word].add(tag)
    assert tags["fast"] == tags["hard"] == {"ADJ", "ADV"}
    both = {word for word, found in tags.items() if found == {"NOUN", "VERB"}}
    assert both == {form for pair in lex.NOUN_OR_VERB for form in pair}
    assert all(
        len(found) == 1 for word, found in tags.items() if word not in {*both, "fast", "hard"}
    )


def test_entropy_is_the_mean_surprisal() -> None:
    """By Monte Carlo over whole documents, to four standard errors of the ratio."""
    sums, counts = [], []
    for _, known, first in filler_documents(4000, seed=5):
        sums.append(math.fsum(known[first:]))
        counts.append(len(known[first:]))
    rate = sum(sums) / sum(counts)
    residual = np.array(sums) - rate * np.array(counts)
    error = residual.std(ddof=1) / math.sqrt(len(sums)) / np.mean(counts)
    assert error < 0.01
    # Documents are cut at 128 words: few reach that, and they weigh nothing here.
    assert abs(rate - entropy_rate()) < 4 * error


def test_entropy_is_the_mean_of_the_labels() -> None:
    """Sentences after the first, with the chance that there is none after them."""
    end = -(STOP * math.log(STOP))
    values = np.array([math.fsum(item.labels["entropy"]) for item in LATER])
    lengths = np.array([len(item.words) for item in LATER])
    # A document has 1 / STOP visits to the state between sentences for each end, and every other
    # visit leads to a sentence.
    between = table()["next"].entropy
    rate = ((1 - STOP) * values.mean() + STOP * between) / ((1 - STOP) * lengths.mean() + STOP)
    residual = (1 - STOP) * (values - rate * lengths)
    error = residual.std(ddof=1) / math.sqrt(len(values)) / ((1 - STOP) * lengths.mean() + STOP)
    assert 0 < end < error * 1000
    assert abs(rate - entropy_rate()) < 4 * error


def test_entropy_is_the_sum_over_lengths() -> None:
    """Step by step from between two sentences to the next time there, without a linear solve."""
    mass, nats, visits = {"next": 1.0}, 0.0, 0.0
    while mass:
        moved: dict[str, float] = defaultdict(float)
        for name, weight in mass.items():
            state = table()[name]
            nats += weight * state.entropy
            visits += weight
            for p, arc in zip(state.probabilities, state.arcs, strict=True):
                if arc.goes_to != "next":
                    moved[arc.goes_to] += weight * p
        mass = {name: weight for name, weight in moved.items() if weight > 0}
    assert entropy_rate() == pytest.approx(nats / visits, abs=1e-10)
    assert 1.5 < entropy_rate() < 3


def test_the_end_is_a_word_of_the_state_between_sentences() -> None:
    state = table()["next"]
    assert state.probabilities[state.words.index(END)] == STOP
    assert all(END not in other.words for name, other in table().items() if name != "next")
    assert not any(END in item.words for item in FILLER)
