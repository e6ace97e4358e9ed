from __future__ import annotations

import warnings
from typing import Any, ClassVar

import numpy as np
import pandas as pd
import pytest
import torch

import neoscope as ns
from neoscope.errors import PatchingError
from neoscope.patching import metrics
from neoscope.patching.metrics import metric_columns
from neoscope.patching.metrics.words import MissingSpaceWarning
from neoscope.patching.prompts.pairs import Prompts, read_prompts

CONFIG = ns.NeoConfig(n_layers=2, d_model=8, n_heads=2, n_ctx=12, d_vocab=30, init_range=0.3)


@pytest.fixture(scope="module")
def model() -> ns.HookedGPTNeo:
    return ns.HookedGPTNeo.from_config(CONFIG)


@pytest.fixture(scope="module")
def organism() -> ns.HookedGPTNeo:
    return ns.load("organism")


@pytest.fixture(scope="module")
def prompts(model: ns.HookedGPTNeo) -> Prompts:
    return read_prompts(model, [[1, 2], [6, 7], [4, 4]], [[1, 9], [6, 9], [4, 5]])


THREES = ([3, 3, 3], (3, 3, 3), torch.tensor([3, 3, 3]), np.full(3, 3), pd.Series([3, 3, 3]))


@pytest.mark.parametrize("answer", [3, np.int64(3), torch.tensor(3), [3], *THREES])
def test_ids_come_one_for_all_or_one_for_each(
    model: ns.HookedGPTNeo, prompts: Prompts, answer: Any
) -> None:
    bound = metrics.logit(answer).bind(model, prompts, metric_columns(prompts))
    assert bound.ids is not None and bound.ids.tolist() == [[3]] * 3


@pytest.mark.parametrize("wrap", [list, tuple, np.array, pd.Series])
def test_words_of_the_organism_are_the_ids_that_it_says(
    organism: ns.HookedGPTNeo, wrap: Any
) -> None:
    pairs = ns.organism.pairs("ioi", 5)
    prompts = read_prompts(organism, pairs.clean, pairs.corrupted)
    metric = metrics.logit_diff(wrap(pairs.answer), wrap(pairs.wrong))
    bound = metric.bind(organism, prompts, metric_columns(prompts))
    _, _, answer, wrong = pairs.ids()
    assert bound.ids is not None and bound.ids.equal(torch.stack([answer, wrong], 1))


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        ([3, 4], "2 entries, but there are 3 pairs"),
        (30, "token id 30; ids run from 0 to 29"),
        (-1, "token id -1"),
        (1.5, "expected a word or a token id"),
        (True, "expected a word or a token id"),
        ([[3], [4], [5]], "one answer for each pair"),
        (" Mary", "has no tokenizer; give token ids"),
        (torch.tensor([1.0, 2.0, 3.0]), "whole numbers"),
    ],
)
def test_answers_that_do_not_fit_are_refused(
    model: ns.HookedGPTNeo, prompts: Prompts, answer: Any, said: str
) -> None:
    with pytest.raises(PatchingError, match=said):
        metrics.logit(answer).bind(model, prompts, metric_columns(prompts))


def test_an_answer_of_several_tokens_shows_them(organism: ns.HookedGPTNeo) -> None:
    prompts = read_prompts(organism, " Mary and", " John and")
    with pytest.raises(PatchingError, match=r"' Mary John' is 2 tokens: ' Mary' \| ' John'"):
        metrics.logit(" Mary John").bind(organism, prompts, metric_columns(prompts))
    with pytest.raises(PatchingError, match="wrong is an empty word"):
        metrics.logit_diff(" Mary", "").bind(organism, prompts, metric_columns(prompts))
    with pytest.raises(PatchingError, match="the same token"):
        metrics.logit_diff(" Mary", " Mary").bind(organism, prompts, metric_columns(prompts))


class Spaced:
    """Reads words as GPT-2's tokenizer does: the space before a word is part of its token."""

    unk_token, unk_token_id, is_fast, eos_token_id = "<unk>", 0, False, 1
    init_kwargs: ClassVar[dict[str, Any]] = {}
    vocab = ("<unk>", "<eos>", " Mary", "Mary", " John", "Jo", "hn", " and", " ")

    def __call__(self, text: Any, **_: Any) -> dict[str, Any]:
        rows = [self._ids(t) for t in ([text] if isinstance(text, str) else text)]
        return {"input_ids": rows[0] if isinstance(text, str) else rows}

    def _ids(self, text: str) -> list[int]:
        ids = []
        while text:
            found = [v for v in self.vocab if text.startswith(v)]
            piece = max(found, key=len, default=text)
            ids.append(self.vocab.index(piece) if found else 0)
            text = text[len(piece) :]
        return ids

    def decode(self, ids: list[int], **_: Any) -> str:
        return "".join(self.vocab[i] for i in ids)


def test_a_word_without_its_space_gets_a_hint() -> None:
    model = ns.HookedGPTNeo.from_config(CONFIG)
    model.tokenizer = Spaced()  # type: ignore[assignment]
    prompts = read_prompts(model, " Mary and", " John and")
    columns = metric_columns(prompts)
    with pytest.raises(PatchingError, match=r"'John' is 2 tokens: 'Jo' .* ' John' is one"):
        metrics.logit("John").bind(model, prompts, columns)
    with pytest.raises(PatchingError, match=r"' Tom' is 2 tokens: ' ' \| '<unk>'"):
        metrics.logit(" Tom").bind(model, prompts, columns)
    with pytest.raises(PatchingError, match=r"is no word of 'random-0'.*'<unk>'"):
        metrics.logit("Tom").bind(model, prompts, columns)
    # One token, but not the one that can follow.
    with pytest.warns(MissingSpaceWarning, match=r"' Mary' is another token \(2\)") as found:
        metrics.logit("Mary").bind(model, prompts, columns)
    assert found[0].filename == __file__
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        metrics.logit_diff(" Mary", " John").bind(model, prompts, columns)
        ending = read_prompts(model, " Mary and ", " John and ")
        metrics.logit("Mary").bind(model, ending, metric_columns(ending))
