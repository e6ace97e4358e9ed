from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

import neoscope as ns
from neoscope.errors import PatchingError, SiteError, TokenizationError
from neoscope.patching.prompts.alignment import first_misalignment
from neoscope.patching.prompts.pairs import Prompts, read_prompts

CONFIG = ns.NeoConfig(n_layers=2, d_model=8, n_heads=2, n_ctx=12, d_vocab=30, init_range=0.3)
CLEAN = [[1, 2, 3, 4, 5], [6, 7, 8]]
CORRUPTED = [[1, 9, 3, 9, 5], [6, 7, 9]]


@pytest.fixture(scope="module")
def model() -> ns.HookedGPTNeo:
    return ns.HookedGPTNeo.from_config(CONFIG)


@pytest.fixture(scope="module")
def organism() -> ns.HookedGPTNeo:
    return ns.load("organism")


@pytest.fixture
def prompts(model: ns.HookedGPTNeo) -> Prompts:
    return read_prompts(model, CLEAN, CORRUPTED)


def test_pairs_of_unequal_length_end_in_the_last_column(prompts: Prompts) -> None:
    assert prompts.mask.tolist() == [[True] * 5, [False, False, True, True, True]]
    assert prompts.clean[1, 2:].tolist() == [6, 7, 8]
    assert prompts.ids("corrupted")[1, 2:].tolist() == [6, 7, 9]
    assert prompts.lengths == (5, 3) and prompts.n_columns == 5 and len(prompts) == 2


def test_differences_are_marked_and_padding_is_none(prompts: Prompts) -> None:
    assert prompts.differs.nonzero().tolist() == [[0, 1], [0, 3], [1, 4]]
    assert prompts.first_difference.tolist() == [1, 4]
    assert prompts.agree == (True, False, True, False, False)


def test_base_and_donor_change_places_with_the_direction(prompts: Prompts) -> None:
    for direction, base, donor in (
        ("denoise", "corrupted", "clean"),
        ("noise", "clean", "corrupted"),
    ):
        found = prompts.donor(direction)
        assert found is not None and found.equal(prompts.ids(donor))
        assert prompts.base(direction).equal(prompts.ids(base))
        assert prompts.base_name(direction) == base
    with pytest.raises(PatchingError, match="did you mean 'denoise'"):
        prompts.base("denois")


def test_without_corrupted_prompts_the_base_is_clean_and_there_is_no_donor(
    model: ns.HookedGPTNeo,
) -> None:
    alone = read_prompts(model, CLEAN)
    for direction in ("denoise", "noise"):
        assert alone.base_name(direction) == "clean" and alone.donor(direction) is None
    assert not alone.differs.any() and alone.first_difference.tolist() == [5, 5]
    with pytest.raises(PatchingError, match="give corrupted="):
        alone.ids("corrupted")


def test_positions_count_each_text_and_not_its_padding(prompts: Prompts) -> None:
    assert prompts.columns(0).tolist() == [[0], [2]]
    assert prompts.columns([-1, 1]).tolist() == [[4, 1], [4, 3]]
    assert prompts.columns(slice(-2, None)).tolist() == [[3, 4], [3, 4]]
    assert prompts.columns(np.array([[4, 0], [2, 1]])).tolist() == [[4, 0], [4, 3]]
    assert prompts.columns(None).tolist() == [list(range(5))] * 2
    with pytest.raises(SiteError, match=r"positions: 3 is out of range in pair 1, which has 3 tok"):
        prompts.columns(3)
    with pytest.raises(SiteError, match="between 3 and 5 tokens"):
        prompts.columns(slice(None))
    with pytest.raises(SiteError, match="metric_positions: 'x' is not a whole number"):
        prompts.columns("x", "metric_positions")


def test_taking_pairs_keeps_the_columns(prompts: Prompts) -> None:
    part = prompts.take([1])
    assert part.clean.tolist() == prompts.clean[1:].tolist() and part.n_columns == 5
    assert part.corrupted_strings == prompts.corrupted_strings[1:]
    assert prompts.take(torch.tensor([0, 1])).mask.equal(prompts.mask)


@pytest.mark.parametrize(
    "wrap",
    [tuple, np.array, pd.Series, lambda x: [np.str_(text) for text in x]],
    ids=["tuple", "array", "series", "numpy strings"],
)
def test_texts_come_in_any_container(organism: ns.HookedGPTNeo, wrap: Any) -> None:
    pairs = ns.organism.pairs("ioi", 3)
    expected = read_prompts(organism, list(pairs.clean), list(pairs.corrupted))
    found = read_prompts(organism, wrap(pairs.clean), wrap(pairs.corrupted))
    assert found.clean.equal(expected.clean) and found.ids("corrupted").equal(
        expected.ids("corrupted")
    )
    clean, corrupted, _, _ = pairs.ids()
    assert expected.clean.equal(clean) and expected.ids("corrupted").equal(corrupted)


def test_ids_tokens_and_texts_are_the_same_prompts(organism: ns.HookedGPTNeo) -> None:
    pairs = ns.organism.pairs("facts", 4, aligned=False)
    expected = read_prompts(organism, pairs.clean, pairs.corrupted)
    tokens = organism.tokenize(list(pairs.clean))  # padded on the right
    rows = [ids[mask] for ids, mask in zip(tokens.ids, tokens.mask, strict=True)]
    for clean in (tokens, rows, [row.tolist() for row in rows], [row.numpy() for row in rows]):
        found = read_prompts(organism, clean, pairs.corrupted)
        assert found.clean.equal(expected.clean) and found.mask.equal(expected.mask)
        assert found.clean_strings == expected.clean_strings


def test_one_prompt_needs_no_list(model: ns.HookedGPTNeo) -> None:
    for one in ([1, 2], torch.tensor([1, 2]), np.array([1, 2]), torch.tensor([[1, 2]])):
        assert read_prompts(model, one, [1, 3]).clean.tolist() == [[1, 2]]


def test_labels_name_position_and_tokens(
    model: ns.HookedGPTNeo, organism: ns.HookedGPTNeo, prompts: Prompts
) -> None:
    assert prompts.labels() == ("-5 1", "-4 2|9", "-3 3/6", "-2 4|9", "-1 8|9")
    assert read_prompts(model, [1, 2], [1, 3]).labels() == ("0 1", "1 2|3")
    pairs = ns.organism.pairs("ioi", 8)
    labels = read_prompts(organism, pairs.clean, pairs.corrupted).labels()
    assert labels[0] == " 0 When" and labels[-1].endswith(" to")
    assert len(set(labels)) == len(labels)
    assert [i for i, label in enumerate(labels) if "|" in label] == list(pairs.changed[0])


def test_a_pair_that_does_not_align_shows_both_rows_and_the_first_misalignment(
    organism: ns.HookedGPTNeo,
) -> None:
    with pytest.raises(PatchingError) as error:
        read_prompts(organism, "When Mary and John went", "When Mary and the John went")
    said = str(error.value)
    assert "pair 0 does not align: the clean prompt has 5 tokens, the corrupted one 6" in said
    clean, corrupted, caret = said.splitlines()[1:4]
    assert "' Mary'" in clean and "' the'" in corrupted
    assert corrupted.index("3 ' the'") == caret.index("^")
    assert "At token 3, nothing stands against ' the' (1 token)" in said
    assert "as many tokens" in said


def test_the_first_misalignment_is_where_lengths_go_apart() -> None:
    # A replacement of equal length before it is none.
    assert first_misalignment([1, 2, 3, 4], [1, 9, 3, 5, 6, 4]) == (3, 3, 3, 5)
    assert first_misalignment([1, 2], [1, 2, 3]) == (2, 2, 2, 3)


@pytest.mark.parametrize(
    ("clean", "corrupted", "said"),
    [
        ([[1, 2], [3, 4]], [[1, 3]], "2 clean and 1 corrupted prompts"),
        ([[1, 2], [3, 4]], [[1, 3], [3, 4]], r"the same in pair 1 \('34'\)"),
        ([[1, 2], [3]], [[1, 3], [3, 4]], "pair 1 does not align"),
        ([], [], "clean has no prompts"),
        ([1, 2], None, None),
        ([[1.5]], [[2]], r"found 1.5 \(float\)"),
        (torch.ones(1, 2), [1, 2], "whole numbers"),
        ([["a"], [1]], [[1], [2]], "prompt 0 should be a list of token ids; found 'a'"),
        (["a", 1], [1, 2], "texts or token ids, not both"),
        ({"input_ids": [1]}, None, "clean is dict"),
        (ns.organism.pairs("ioi", 2), None, "pairs.clean"),
    ],
)
def test_bad_prompts_are_refused_with_what_to_do(
    model: ns.HookedGPTNeo, clean: Any, corrupted: Any, said: str | None
) -> None:
    if said is None:
        assert len(read_prompts(model, clean, corrupted)) == 1
        return
    with pytest.raises(PatchingError, match=said):
        read_prompts(model, clean, corrupted)


@pytest.mark.parametrize(
    ("clean", "said"),
    [
        ([[1], []], "clean: prompt 1 has no tokens"),
        ([[1, 30]], "token id 30 at position 1; ids run from 0 to 29"),
        ([[1] * 13], "13 tokens, but the model's context is 12"),
        ("text", "no tokenizer"),
    ],
)
def test_tokens_that_the_model_cannot_take_are_refused(
    model: ns.HookedGPTNeo, clean: Any, said: str
) -> None:
    with pytest.raises(TokenizationError, match=said):
        read_prompts(model, clean)


def test_an_empty_or_long_text_says_on_which_side(organism: ns.HookedGPTNeo) -> None:
    with pytest.raises(TokenizationError, match="corrupted: text 1 is empty"):
        read_prompts(organism, [" Mary", " John"], [" John", ""])
    with pytest.raises(TokenizationError, match=r"clean: text 0 .* has 129 tokens"):
        read_prompts(organism, " the" * 129)


def test_the_beginning_of_text_is_put_before_texts_only(organism: ns.HookedGPTNeo) -> None:
    found = read_prompts(organism, " Mary and", " John and", prepend_bos=True)
    assert found.clean[0, 0] == 0 and found.n_columns == 3
    with pytest.raises(PatchingError, match="prepend_bos=True is for texts, but clean holds"):
        read_prompts(organism, [[1, 2]], [[1, 3]], prepend_bos=True)
