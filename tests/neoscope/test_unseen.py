"""Words that training never showed: one warning that names them, and none for the language."""

from __future__ import annotations

import json
import shutil
import warnings
from pathlib import Path
from typing import Any

import pytest

import neoscope as ns
from neoscope.errors import TokenizationError
from neoscope.export.extractor import Extractor
from neoscope.export.spec import FeatureSpec
from neoscope.organism import initial
from neoscope.organism.language import TASKS, pairs, sentences
from neoscope.unseen import UnseenWordWarning, statement


@pytest.fixture(scope="module")
def model() -> ns.HookedGPTNeo:
    return ns.load("organism-random")


def warned(call: Any, *args: Any, **options: Any) -> str:
    """Return the one warning that a call gives."""
    with pytest.warns(UnseenWordWarning) as caught:
        call(*args, **options)
    assert len(caught) == 1
    return str(caught[0].message)


@pytest.mark.parametrize("task", TASKS)
def test_language_itself_never_warns(task: str, model: ns.HookedGPTNeo) -> None:
    for split in ("train", "test"):
        model.tokenize([item.text for item in sentences(task, 100, split=split)])


def test_pairs_and_special_tokens_never_warn(model: ns.HookedGPTNeo) -> None:
    found = pairs("sentiment", 8)
    model.tokenize([*found.clean, *found.corrupted, *found.answer], prepend_bos=True)
    model.tokenize("The king.<|endoftext|> The queen.")
    model.to_tokens("", prepend_bos=True)


@pytest.mark.parametrize("name", ["__call__", "run_with_cache", "tokenize", "to_tokens"])
def test_every_way_in_warns_once(name: str, model: ns.HookedGPTNeo) -> None:
    assert warned(getattr(model, name), "The zebra smiled.") == (
        "text 0: 'zebra' is outside the vocabulary of this model; it is read piece by piece "
        "(6 tokens), which training never showed"
    )


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        (["The zebra, the lynx."], "text 0: 'zebra', 'lynx' are outside"),
        (["zebra zebra", "zebra"], "text 0: 'zebra' is outside"),
        (["The king.", "the Zebra"], "text 1: 'Zebra' is outside"),
        (["a zebra", "a lynx"], "text 0: 'zebra'; text 1: 'lynx' are outside"),
        (["The king!"], "text 0: '!' is outside"),
        (["The  king"], "text 0: ' ' is outside"),
        (["The king\nMary"], "text 0: 'Mary' is outside"),
        (["the café 日本"], "text 0: 'café', '日本' are outside"),
        (["b c d e f g h"], "text 0: 'b', 'c', 'd', 'e', 'f', and 2 more are outside"),
        (["b c d", "e f g h"], "text 0: 'b', 'c', 'd'; text 1: 'e', 'f', and 2 more are outside"),
    ],
)
def test_words_are_named_with_their_text(
    texts: list[str], message: str, model: ns.HookedGPTNeo
) -> None:
    assert warned(model.tokenize, texts).startswith(message)


def test_what_is_cut_off_is_not_told(model: ns.HookedGPTNeo) -> None:
    model.tokenize(" ".join(["king"] * 128 + ["zebra"]), truncate=True)


def test_warning_points_at_the_line_that_gave_the_text(model: ns.HookedGPTNeo) -> None:
    for call in (model, model.tokenize, model.run_with_cache, model.to_str_tokens):
        with pytest.warns(UnseenWordWarning) as caught:
            call("The zebra")
        assert caught[0].filename == __file__


def test_warning_can_be_silenced(model: ns.HookedGPTNeo) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UnseenWordWarning)
        model("The zebra")


def test_words_that_are_read_as_the_unknown_token_are_named() -> None:
    model = ns.load("induction")
    said = warned(model.tokenize, ["apple <|endoftext|> zebra", "zebra lynx"], prepend_bos=True)
    assert said == (
        "text 0: 'zebra'; text 1: 'lynx' are outside the vocabulary of this model; they are read "
        "as '<|endoftext|>'"
    )
    model.tokenize("<|endoftext|> apple river", prepend_bos=True)


def test_an_export_names_words_that_are_read_as_the_unknown_token() -> None:
    extractor = Extractor(ns.load("induction"), FeatureSpec(prepend_bos=True))
    extractor.encode(["apple river"])
    assert "text 7: 'zebra' is" in warned(extractor.encode, [None, "apple zebra"], start=6)
    extractor.encode(["another lynx"])


def test_statement_of_nothing_is_empty() -> None:
    assert statement([]) == {"neoscope": {"unseen_token_ids": []}}


# ---- what files say ----------------------------------------------------------------------------


def folder_that_says(said: object, folder: Path) -> Path:
    """Return the random twin with another statement."""
    shutil.copytree(initial.random_twin(), folder)
    file = folder / "tokenizer_config.json"
    told = json.loads(file.read_text())
    file.write_text(json.dumps({**told, "neoscope": said}))
    return folder


@pytest.mark.parametrize("said", [None, {}, {"unseen_token_ids": []}, {"other": 1}])
def test_statements_of_other_things_are_left_alone(said: object, tmp_path: Path) -> None:
    ns.load(folder_that_says(said, tmp_path / "model")).tokenize("zebra")


@pytest.mark.parametrize(
    "said",
    [
        7,
        "all",
        {"unseen_token_ids": 7},
        {"unseen_token_ids": [7]},
        {"unseen_token_ids": [[1, 2, 3]]},
        {"unseen_token_ids": [[2, 1]]},
        {"unseen_token_ids": [[-1, 1]]},
        {"unseen_token_ids": [["1", "2"]]},
        {"unseen_token_ids": [[True, True]]},
        {"unseen_token_ids": [[1.0, 2.0]]},
    ],
)
def test_statement_that_makes_no_sense_is_told_at_once(said: object, tmp_path: Path) -> None:
    with pytest.raises(TokenizationError, match=r"tokenizer_config\.json: neoscope is "):
        ns.load(folder_that_says(said, tmp_path / "model"))


def test_enormous_span_costs_nothing(tmp_path: Path) -> None:
    model = ns.load(folder_that_says({"unseen_token_ids": [[300, 10**15]]}, tmp_path / "model"))
    with pytest.warns(UnseenWordWarning):
        model.tokenize("The king smiled.")


def test_statement_survives_saving_by_transformers(model: ns.HookedGPTNeo, tmp_path: Path) -> None:
    from transformers import AutoTokenizer

    assert model.tokenizer is not None
    model.tokenizer.save_pretrained(tmp_path)
    again = ns.HookedGPTNeo.from_config(
        model.config, tokenizer=AutoTokenizer.from_pretrained(tmp_path)
    )
    assert warned(again.tokenize, "zebra").startswith("text 0: 'zebra' is outside")
