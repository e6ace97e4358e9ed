"""What comes next in the language, found from the words of a prompt alone."""

from __future__ import annotations

import math
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor

from neoscope.organism.language import lexicon as lex
from neoscope.organism.language import tasks
from neoscope.organism.language.grammar import END, State, table
from neoscope.organism.language.vocabulary import encode, vocabulary, words

ANSWERS = {
    "singular": ("is", "was", "has"), "plural": ("are", "were", "have"),
    "a good verdict": ("liked", "loved", "recommend"),
    "a bad verdict": ("hated", "disliked", "avoid"),
    "past": tuple(forms[2] for forms in lex.INTRANSITIVE),
    "present": tuple(forms[0] for forms in lex.INTRANSITIVE),
}  # fmt: skip
"""The words that an answer of each kind may be."""
WAYS = {
    relation: tuple(" ".join(w.partition("/")[0] for w in way.split()) for way in ways)
    for relation, ways in tasks.PARAPHRASES.items()
}
"""The paraphrases of each relation without their tags."""


def who_and_what(prompt: Sequence[str]) -> tuple[str, str] | None:
    """Return the entity and the relation that a prompt is about, or None."""
    text = " ".join(prompt)
    for entity in lex.ENTITIES:
        if f" {entity} " in f" {text} ":
            for relation, ways in WAYS.items():
                if text in {way.replace("{E}", entity) for way in ways}:
                    return entity, relation
    return None


def expected(task: str, prompt: Sequence[str]) -> str:
    """Return the answer to a prompt, or its kind where several words would do."""
    if task == "ioi":
        names = [word for word in prompt if word in lex.NAMES]
        (once,) = (name for name in names if names.count(name) == 1)
        return once
    if task == "agreement":
        return "plural" if any(prompt[1] == pair[1] for pair in lex.NOUNS) else "singular"
    if task == "sentiment":
        clause = list(prompt)
        clause = clause[clause.index("but") :] if "but" in clause else clause
        praised = any(word in lex.POSITIVE for word in clause) != ("not" in clause)
        return "a good verdict" if praised else "a bad verdict"
    if task == "facts":
        about = who_and_what(prompt)
        assert about is not None
        return tasks.fact(*about)
    if task == "pronoun":
        return "she" if any(w in lex.FEMALE + lex.FEMALE_NOUNS for w in prompt) else "he"
    if task == "tense":
        return "past" if prompt[0] == "Last" else "present"
    (earlier,) = (k for k, word in enumerate(prompt[:-1]) if word == prompt[-1])
    return prompt[earlier + 1]


def task_of(prompt: Sequence[str]) -> str:
    """Return the task that a prompt belongs to."""
    if who_and_what(prompt):
        return "facts"
    if prompt[-1] == "to":
        return "ioi"
    if prompt[0] in ("Last", "Every"):
        return "tense"
    if any(word in lex.POSITIVE + lex.NEGATIVE for word in prompt):
        return "sentiment"
    nouns = {form for pair in lex.NOUNS for form in pair}
    return "agreement" if prompt[0] == "The" and prompt[1] in nouns else "pronoun"


def states(row: Sequence[str]) -> list[State] | None:
    """Return the grammar's states after each word of a filler document, or None."""
    found, state = [], table()["start"]
    for word in row:
        if word not in state.words:
            return None
        state = table()[state.arcs[state.words.index(word)].goes_to]
        found.append(state)
    return found if "." in row else None


def repeats(row: Sequence[str]) -> bool:
    """Return whether four words in a row come again, as they do in no sentence."""
    fours = [tuple(row[k : k + 4]) for k in range(len(row) - 3)]
    return len(set(fours)) < len(fours)


class Oracle:
    """A model that knows the language, and has one head that carries far repeats."""

    def __init__(self, head: tuple[int, int] = (2, 3)) -> None:
        """Remember the head."""
        self.head = head
        self.device = torch.device("cpu")
        self.config = SimpleNamespace(d_vocab=len(vocabulary()), n_layers=4, n_heads=4)
        self.spelling = {i: word for word, i in zip(words(), encode(words()), strict=True)}
        self.spelling |= {encode([w])[0]: w for w in (*lex.PUNCTUATION, END)}

    def _ablated(self, hooks: Sequence[tuple[str, Any]]) -> bool:
        z = torch.ones(2, 3, self.config.n_heads, 5)
        layer, head = self.head
        hooks = [(name, hook) for name, hook in hooks if name.endswith("hook_z")]
        return any(
            name == f"blocks.{layer}.attn.hook_z" and not hook(z, None)[:, :, head].any()
            for name, hook in hooks
        )

    def run_with_hooks(
        self, ids: Tensor, attention_mask: Tensor, fwd_hooks: Sequence[tuple[str, Any]] = ()
    ) -> Tensor:
        """Return logits: a logarithm of probabilities in filler, 10 for an answer elsewhere."""
        out = torch.zeros(*ids.shape, self.config.d_vocab)
        for row, real, logits in zip(ids.tolist(), attention_mask, out, strict=True):
            row = [self.spelling[i] for i in row[: int(real.sum())]]
            known = states(row)
            if known is not None:
                logits[:] = -math.inf
                for k, state in enumerate(known):
                    logits[k, encode(state.words)] = torch.tensor(state.probabilities).log()
            elif repeats(row):
                self._show(row, fwd_hooks)
                self._repeat(row, logits, ablated=self._ablated(fwd_hooks))
            else:
                answer = expected(task_of(row), row)
                logits[len(row) - 1, encode(ANSWERS.get(answer, (answer,)))] = 10.0
        return out

    def _show(self, row: list[str], hooks: Sequence[tuple[str, Any]]) -> None:
        """Let hooks see that the one head attends to the word after the first occurrence."""
        for name, hook in hooks:
            if not name.endswith("hook_pattern"):
                continue
            pattern = torch.eye(len(row)).repeat(1, self.config.n_heads, 1, 1)
            if name == f"blocks.{self.head[0]}.attn.hook_pattern":
                for k, word in enumerate(row):
                    if word in row[:k]:
                        pattern[0, self.head[1], k, k] = 0.0
                        pattern[0, self.head[1], k, row.index(word) + 1] = 1.0
            hook(pattern, None)

    def _repeat(self, row: list[str], logits: Tensor, *, ablated: bool) -> None:
        for k, word in enumerate(row):
            if word in row[:k]:
                earlier = row.index(word)
                if not (ablated and k - earlier > 31):
                    logits[k, encode([row[earlier + 1]])] = 10.0
