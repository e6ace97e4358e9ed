"""Text becomes token ids, and the record of how leaves nothing out."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import ByT5Tokenizer

from neoscope.errors import TokenizationError
from neoscope.organism import compiled
from neoscope.tokenization import load_tokenizer, tokenize
from neoscope.tokens import Tokens, from_ids
from tests.neoscope.folders import BOS, write_bpe

# é as two characters, a family joined by invisible characters, Hebrew, and a direction override.
ODD_TEXTS = [
    "😀",
    "e\u0301 cafe\u0301",
    "👨\u200d👩\u200d👧",
    "a\x00b",
    "שלום \u202eabc",
    "日本語",
    "  two  spaces\r\n\t",
    "\ufeffmark",
]


@pytest.fixture(scope="module")
def words() -> Any:
    return load_tokenizer(str(compiled.induction()))


@pytest.fixture(scope="module")
def bpe(tmp_path_factory: pytest.TempPathFactory) -> Any:
    return load_tokenizer(str(write_bpe(tmp_path_factory.mktemp("bpe"))))


def test_record_tells_everything(words: Any) -> None:
    tokens = tokenize(words, ["river  stone", "lamp"], n_ctx=40)
    ids = words.get_vocab()
    assert tokens.ids.tolist() == [[ids["river"], ids["stone"]], [ids["lamp"], ids[BOS]]]
    assert tokens.mask.tolist() == [[True, True], [True, False]]
    assert tokens.strings == (("river", "stone"), ("lamp",))
    assert tokens.offsets == (((0, 5), (7, 12)), ((0, 4),))
    assert tokens.texts == ("river  stone", "lamp")
    assert tokens.added == ()
    assert tokens.truncated == (0, 0)
    assert tokens.lengths == [2, 1]


def test_one_text_is_a_batch_of_one(words: Any) -> None:
    assert tokenize(words, "river stone", n_ctx=40).ids.shape == (1, 2)


def test_two_files_in_the_gpt2_layout_are_a_fast_tokenizer(bpe: Any) -> None:
    assert bpe.is_fast
    tokens = tokenize(bpe, "hello there", n_ctx=40)
    assert tokens.strings == (("hello", " there"),)
    assert tokens.offsets == (((0, 5), (5, 11)),)


def test_no_special_token_is_added_unasked(words: Any, bpe: Any) -> None:
    for tokenizer, text in ((words, "river"), (bpe, "the"), (ByT5Tokenizer(), "a")):
        tokens = tokenize(tokenizer, text, n_ctx=40)
        assert tokens.lengths == [1]
        assert tokens.added == ()


def test_a_tokenizer_that_likes_to_add_and_cut_is_not_let(tmp_path: Path) -> None:
    from tokenizers import Tokenizer, processors

    plain = Tokenizer.from_file(str(compiled.induction() / "tokenizer.json"))
    plain.post_processor = processors.TemplateProcessing(
        single=f"{BOS} $A {BOS}", special_tokens=[(BOS, plain.token_to_id(BOS))]
    )
    plain.enable_truncation(3)
    plain.enable_padding(length=9)
    plain.save(str(tmp_path / "tokenizer.json"))
    settings = {"tokenizer_class": "PreTrainedTokenizerFast", "bos_token": BOS, "eos_token": BOS}
    (tmp_path / "tokenizer_config.json").write_text(
        json.dumps(settings | {"model_max_length": 3}), encoding="utf-8"
    )
    tokens = tokenize(load_tokenizer(str(tmp_path)), "river stone lamp forest river", n_ctx=40)
    assert tokens.strings == (("river", "stone", "lamp", "forest", "river"),)
    assert tokens.truncated == (0,)


def test_bos_is_put_first_and_recorded_when_asked_for(bpe: Any) -> None:
    tokens = tokenize(bpe, ["hello", "hello there"], n_ctx=40, prepend_bos=True)
    assert tokens.added == (BOS,)
    assert [row[0] for row in tokens.strings] == [BOS, BOS]
    assert [row[0] for row in tokens.offsets] == [(0, 0), (0, 0)]
    assert tokens.ids[:, 0].tolist() == [bpe.bos_token_id] * 2
    assert tokens.strings[1] == (BOS, "hello", " there")


def test_special_token_that_a_user_writes_is_one_token(bpe: Any) -> None:
    tokens = tokenize(bpe, f"a{BOS}b", n_ctx=40)
    assert tokens.strings == (("a", BOS, "b"),)
    assert tokens.offsets[0][1] == (1, 1 + len(BOS))
    assert tokens.added == ()


def assert_offsets_cover(text: str, tokens: Tokens) -> None:
    """Each offset lies in the text; together they leave nothing out."""
    last = 0
    for (start, stop), string in zip(tokens.offsets[0], tokens.strings[0], strict=True):
        assert 0 <= start < stop <= len(text)
        assert start <= last
        last = stop
        if "\ufffd" not in string:
            assert text[start:stop] == string
    assert last == len(text)


@pytest.mark.parametrize("text", ODD_TEXTS)
def test_offsets_of_odd_text_point_into_it(text: str, bpe: Any) -> None:
    tokens = tokenize(bpe, text, n_ctx=200)
    assert_offsets_cover(text, tokens)
    assert bpe.decode(tokens.ids[0], clean_up_tokenization_spaces=False) == text


@settings(deadline=None)
@given(text=st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=20))
def test_offsets_of_any_text_point_into_it(text: str, bpe: Any) -> None:
    assert_offsets_cover(text, tokenize(bpe, text, n_ctx=200))


def test_part_of_a_character_shows_the_replacement_character(bpe: Any) -> None:
    tokens = tokenize(bpe, "a😀", n_ctx=40)
    assert tokens.strings == (("a", "\ufffd", "\ufffd", "\ufffd", "\ufffd"),)
    assert set(tokens.offsets[0][1:]) == {(1, 2)}


def test_slow_tokenizer_has_no_offsets_but_all_else() -> None:
    tokenizer = ByT5Tokenizer()
    assert not tokenizer.is_fast
    tokens = tokenize(tokenizer, ["ab", "c"], n_ctx=40)
    assert tokens.strings == (("a", "b"), ("c",))
    assert tokens.offsets == ()
    assert tokens.rows([1]).strings == (("c",),)
    assert Tokens.from_record(json.loads(json.dumps(tokens.record()))).offsets == ()


@pytest.mark.parametrize("side", ["left", "right"])
def test_padding_stands_on_the_side_asked_for(side: Any, words: Any) -> None:
    tokens = tokenize(words, ["river", "river stone lamp"], n_ctx=40, padding_side=side)
    real = [True, False, False] if side == "right" else [False, False, True]
    assert tokens.mask.tolist() == [real, [True] * 3]
    assert tokens.padding_side == side
    assert tokens.ids[0, 0 if side == "right" else -1] == words.get_vocab()["river"]


def test_text_of_exactly_the_context_fits(words: Any) -> None:
    assert tokenize(words, "river " * 5, n_ctx=5).truncated == (0,)
    assert tokenize(words, "river " * 4, n_ctx=5, prepend_bos=True).truncated == (0,)


def test_truncation_keeps_the_beginning_and_counts_what_was_cut(words: Any) -> None:
    texts = ["river stone lamp forest", "lamp"]
    tokens = tokenize(words, texts, n_ctx=3, truncate=True)
    assert tokens.strings == (("river", "stone", "lamp"), ("lamp",))
    assert tokens.truncated == (1, 0)
    assert len(tokens.offsets[0]) == 3
    with_bos = tokenize(words, texts, n_ctx=3, truncate=True, prepend_bos=True)
    assert with_bos.strings == ((BOS, "river", "stone"), (BOS, "lamp"))
    assert with_bos.truncated == (2, 0)


@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize("texts", [["river"], ["river", "lamp stone river"]])
def test_record_survives_json(side: Any, texts: list[str], words: Any) -> None:
    tokens = tokenize(words, texts, n_ctx=40, prepend_bos=True, padding_side=side)
    again = Tokens.from_record(json.loads(json.dumps(tokens.record())))
    assert again.record() == tokens.record()
    assert torch.equal(again.ids, tokens.ids)
    assert torch.equal(again.mask, tokens.mask)
    assert again.strings == tokens.strings
    assert again.offsets == tokens.offsets
    assert again.padding_side == side


def test_rows_take_their_part_of_everything(words: Any) -> None:
    tokens = tokenize(words, ["river", "stone lamp", "lamp"], n_ctx=40)
    part = tokens.rows(slice(1, 3))
    assert part.texts == ("stone lamp", "lamp")
    assert part.strings == (("stone", "lamp"), ("lamp",))
    assert part.lengths == [2, 1]
    assert tokens.rows([2, 0]).texts == ("lamp", "river")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ([], "the list is empty"),
        ("", "text 0 is empty: ''"),
        (["river", "  "], "text 1 is empty: '  '"),
        ("river " * 6, r"text 0 \('river.*'\) has 6 tokens.*context is 5; truncate=True"),
        (["lamp", "a\udcff"], r"text 1 is not valid Unicode: character 1 .*\\udcff"),
    ],
)
def test_bad_text_is_refused(text: Any, message: str, words: Any) -> None:
    with pytest.raises(TokenizationError, match=message):
        tokenize(words, text, n_ctx=5)


def test_empty_text_is_fine_after_bos(words: Any) -> None:
    assert tokenize(words, "", n_ctx=5, prepend_bos=True).strings == ((BOS,),)


def test_bos_of_a_tokenizer_without_one_is_refused() -> None:
    with pytest.raises(TokenizationError, match="no beginning-of-text token"):
        tokenize(ByT5Tokenizer(), "a", n_ctx=5, prepend_bos=True)


# ---- the folder ------------------------------------------------------------------------------


def test_folder_without_tokenizer_gives_none(tmp_path: Path) -> None:
    assert load_tokenizer(str(tmp_path)) is None


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({"tokenizer.json": "{"}, r"cannot read the tokenizer in .*found tokenizer\.json"),
        ({"vocab.json": '{"a": 0}'}, r"cannot read the tokenizer in .*found vocab\.json\)"),
        ({"vocab.json": "[", "merges.txt": ""}, "cannot read the tokenizer"),
        ({"tokenizer_config.json": "{}"}, r"has no words: found tokenizer_config\.json; looked"),
    ],
)
def test_damaged_tokenizer_is_refused(files: dict[str, str], message: str, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"model_type": "gpt_neo"}', encoding="utf-8")
    for name, content in files.items():
        (tmp_path / name).write_text(content, encoding="utf-8")
    with pytest.raises(TokenizationError, match=message):
        load_tokenizer(str(tmp_path))


def test_code_beside_a_tokenizer_is_not_run(tmp_path: Path) -> None:
    write_bpe(tmp_path)
    flag = tmp_path / "ran"
    (tmp_path / "evil.py").write_text(f"open({str(flag)!r}, 'w')", encoding="utf-8")
    settings = {"tokenizer_class": "Evil", "auto_map": {"AutoTokenizer": ["evil.Evil", None]}}
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(settings), encoding="utf-8")
    (tmp_path / "config.json").write_text('{"model_type": "gpt_neo"}', encoding="utf-8")
    with pytest.raises(TokenizationError):
        load_tokenizer(str(tmp_path))
    assert not flag.exists()


# ---- ids -------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int16, torch.uint16, torch.int32])
def test_ids_of_every_integer_type_are_read(dtype: torch.dtype) -> None:
    ids, mask = from_ids(torch.tensor([[1, 9]], dtype=dtype), None, d_vocab=10)
    assert ids.tolist() == [[1, 9]]
    assert ids.dtype == torch.long
    assert mask is None


def test_a_single_row_gets_a_batch_axis() -> None:
    ids, mask = from_ids([1, 2], torch.tensor([1, 0]), d_vocab=10)
    assert ids.tolist() == [[1, 2]]
    assert mask is not None
    assert mask.tolist() == [[True, False]]
