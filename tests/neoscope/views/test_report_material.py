"""Prompts and labelled sentences which any model can be asked."""

from __future__ import annotations

import random
from typing import Any

import pytest

import neoscope as ns
from neoscope.views.report import english, material
from neoscope.views.report.parts import Unavailable


class Plain:
    """A tokenizer of whole words, as GPT-2's is for common ones."""

    all_special_tokens = ()

    def __init__(self, unknown: tuple[str, ...] = ()) -> None:
        self.known: list[str] = []
        self.unknown = unknown

    def __call__(self, text: str, **options: Any) -> dict[str, Any]:
        ids = []
        for word in text.split():
            parts = [word[:1], word[1:]] if word in self.unknown else [word]
            for part in parts:
                if part not in self.known:
                    self.known.append(part)
                ids.append(self.known.index(part))
        return {"input_ids": ids}

    def decode(self, ids: list[int], **options: Any) -> str:
        return " ".join(self.known[i] for i in ids)

    def get_vocab(self) -> dict[str, int]:
        return {word: i for i, word in enumerate(self.known)}


def with_tokenizer(tokenizer: Any) -> ns.HookedGPTNeo:
    config = ns.NeoConfig(n_layers=1, d_model=8, n_heads=2, n_ctx=32, d_vocab=99)
    model = ns.HookedGPTNeo.from_config(config)
    model.tokenizer = tokenizer
    return model


def test_the_organism_is_asked_in_its_own_language() -> None:
    model = ns.load("organism")
    assert material.speaks_organism(model)
    asked = material.prompts(model, 6, 0)
    assert asked.clean == tuple(ns.organism.pairs("ioi", 6, seed=0).clean)
    made = material.numbers(model, 20, 0)
    assert set(made.labels) == {"singular", "plural"}
    assert all(kind in text.lower() for kind, text in zip(made.types, made.texts, strict=True))
    assert set(material.kinds(model, 40, 0).labels) == {"ioi", "agreement", "sentiment", "facts"}
    assert set(material.reviews(model, 40, 0).labels) == {"positive", "negative"}


def test_another_model_is_asked_with_names_that_are_single_tokens() -> None:
    model = with_tokenizer(Plain(unknown=english.NAMES[:5]))
    assert not material.speaks_organism(model)
    asked = material.prompts(model, 40, 1)
    assert not any(name in " ".join(asked.clean) for name in english.NAMES[:5])
    for clean, corrupted, answer, wrong in zip(
        asked.clean, asked.corrupted, asked.answer, asked.wrong, strict=True
    ):
        assert len(clean.split()) == len(corrupted.split())
        differ = [a for a, b in zip(clean.split(), corrupted.split(), strict=True) if a != b]
        assert differ == [wrong.strip()] and answer != wrong
        assert clean.count(wrong) == 2 and clean.count(answer) == 1
    assert asked == material.prompts(model, 40, 1)
    assert asked != material.prompts(model, 40, 2)


def test_a_tokenizer_with_too_few_names_says_how_many() -> None:
    with pytest.raises(Unavailable, match="knows 3 names"):
        material.prompts(with_tokenizer(Plain(unknown=english.NAMES[3:])), 4, 0)


def test_no_tokenizer_is_told() -> None:
    model = with_tokenizer(None)
    for ask in (material.prompts, material.numbers, material.reviews, material.kinds):
        with pytest.raises(Unavailable, match="without a tokenizer"):
            ask(model, 4, 0)


def test_the_default_text_is_one_that_can_be_read() -> None:
    assert material.default_text(ns.load("organism")) == material.DEFAULT_TEXT
    induction = ns.load("induction")
    assert material.reads(induction, material.default_text(induction))


def test_labels_of_english_sentences_are_right() -> None:
    rng = random.Random(0)
    for _ in range(100):
        text, number, noun = english.subject(rng)
        assert text.split()[1] == noun
        assert (number == "plural") == noun.endswith("s")
        text, verdict = english.review(rng)
        good = text.split()[-1] in english._GOOD
        assert (verdict == "positive") == (good != (" not " in text))
