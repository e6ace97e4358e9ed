"""The vocabulary: 256 bytes that training never shows, then every word of the language."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Mapping

from neoscope.organism.language import lexicon
from neoscope.organism.language.grammar import END

N_BYTES = 256


@functools.cache
def words() -> tuple[str, ...]:
    """Return every word of the language but punctuation, in a fixed order."""
    # The tasks' templates are written in words that have a part of speech.
    return tuple(
        word for word in lexicon.parts_of_speech() if word not in lexicon.PUNCTUATION
    ) + tuple(word for word in _filler_words() if word not in lexicon.parts_of_speech())


def _filler_words() -> tuple[str, ...]:
    from neoscope.organism.language.grammar import table

    found = (word for state in table().values() for word in state.words)
    return tuple(w for w in lexicon.unique(found) if w not in (*lexicon.PUNCTUATION, END))


@functools.cache
def vocabulary() -> Mapping[str, int]:
    """Return the id of each token as the tokenizer spells it: ``Ġ`` for a space before a word."""
    from tokenizers import pre_tokenizers

    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokens = [END, *alphabet]
    # "." and "," are bytes too: written without a space, they keep their byte's id.
    tokens += [f"Ġ{word}" for word in words()]
    return {token: i for i, token in enumerate(tokens)}


@functools.cache
def _ids() -> Mapping[str, int]:
    table = vocabulary()
    ids = {word: table[f"Ġ{word}"] for word in words()}
    return {**ids, **{mark: table[mark] for mark in lexicon.PUNCTUATION}, END: table[END]}


def encode(sequence: Iterable[str]) -> list[int]:
    """Return the ids of words, as the tokenizer gives them for the joined text."""
    ids = _ids()
    return [ids[word] for word in sequence]


def unseen() -> frozenset[int]:
    """Return the ids that no text of the language holds: bytes, punctuation apart."""
    return frozenset(range(1, 1 + N_BYTES)) - frozenset(encode(lexicon.PUNCTUATION))


def tokenizer_json() -> bytes:
    """Return the tokenizer: GPT-2's pre-tokenization, a token a word, bytes for all else."""
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, processors

    tokenizer = Tokenizer(models.BPE(dict(vocabulary()), [], ignore_merges=True))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.post_processor = processors.ByteLevel(trim_offsets=True)
    tokenizer.add_special_tokens([AddedToken(END, special=True, normalized=False)])
    return tokenizer.to_str(pretty=False).encode() + b"\n"
