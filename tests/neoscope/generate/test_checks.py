"""Values that transformers takes without a word, or fails on later, are refused by name at once."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from transformers import WatermarkingConfig

import neoscope as ns
from neoscope.errors import GenerationError
from neoscope.generate.checks import check
from neoscope.generate.run import Job
from tests.neoscope.generate.peers import prompts, random_pair

BAD: list[tuple[dict[str, Any], str]] = [
    ({"do_sample": "yes"}, "`do_sample` must be True or False, but is 'yes'"),
    ({"renormalize_logits": 1.5}, "`renormalize_logits` must be True or False"),
    ({"eos_token_id": 1.5}, "`eos_token_id` should be a token id or a list of them, but is 1.5"),
    ({"eos_token_id": "a"}, "`eos_token_id` should be a token id or a list of them, but is 'a'"),
    ({"pad_token_id": "a"}, "`pad_token_id` should be a token id, but is 'a'"),
    ({"max_time": -1}, "`max_time` has to be a strictly positive float, but is -1"),
    ({"max_time": "1"}, "`max_time` must be a number, but is '1'"),
    ({"top_p": "x"}, "`top_p` must be a number, but is 'x'"),
    ({"temperature": float("nan")}, "`temperature` must be a number, but is nan"),
    ({"repetition_penalty": 0.0}, "`repetition_penalty` has to be a strictly positive float"),
    ({"stop_strings": 5}, "`stop_strings` should be a text or a list of texts, not 5"),
    ({"stop_strings": [""]}, "`stop_strings` holds an empty text"),
    ({"watermarking_config": 5}, "should be transformers' WatermarkingConfig or a dict"),
    ({"watermarking_config": {"green": 0.5}}, "`watermarking_config`: .*'green'"),
    ({"assistant_model": 1}, "takes no 'assistant_model': every token is chosen by the model"),
    ({"torch_dtype": 1}, r"neoscope.load\(..., dtype=\) says it"),
    ({"clean_up_tokenization_spaces": True}, "text is returned as the model wrote it"),
    ({"zzzzzzz": True}, r"no option 'zzzzzzz'; help\(model.generate\) lists them"),
]  # fmt: skip


@pytest.fixture(scope="module")
def model() -> ns.HookedGPTNeo:
    return random_pair(1)[1]


@pytest.mark.parametrize(("options", "message"), BAD, ids=lambda x: str(x)[:40])
def test_a_value_that_means_nothing_is_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(GenerationError, match=message):
        check(options)


@pytest.mark.parametrize("name", ["num_beam_groups", "penalty_alpha", "guidance_scale"])
def test_an_unsupported_option_is_refused_in_a_line(name: str) -> None:
    with pytest.raises(GenerationError, match="not supported here") as caught:
        check({name: 2})
    assert len(str(caught.value)) < 160


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"bad_words_ids": [[999999]]}, "`bad_words_ids` .* from 0 to 59, but holds 999999"),
        ({"sequence_bias": {(3, 60): 1.0}}, "`sequence_bias` .* but holds 60"),
        ({"sequence_bias": [[[60], 1.0]]}, "`sequence_bias` .* but holds 60"),
        ({"suppress_tokens": [-1]}, "`suppress_tokens` .* but holds -1"),
        ({"forced_eos_token_id": 60}, "`forced_eos_token_id` .* but holds 60"),
        ({"streamer": 5}, "streamer=5 has no `put` and `end`"),
        ({"logits_processor": 5}, "logits_processor should be called .* holds 5"),
        ({"stopping_criteria": [5]}, "stopping_criteria should be called .* holds 5"),
        ({"prefix_allowed_tokens_fn": 5}, "prefix_allowed_tokens_fn=5 cannot be called"),
        ({"prefix_allowed_tokens_fn": lambda *_: []}, "allows no token for row 0, but \\[\\]"),
        ({"seed": 2**70}, "does not fit 64 bits"),
        ({"max_length": 1000}, "`max_length` is 1000, but the model's context is 64"),
        ({"tokenizer": SimpleNamespace(get_vocab=dict)}, "another one than the model's own"),
    ],
    ids=lambda x: str(x)[:40],
)
def test_what_the_model_cannot_do_is_refused(
    model: ns.HookedGPTNeo, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(GenerationError, match=message):
        model.generate(prompts(model, 1, 6), **options)


def test_use_cache_is_a_flag(model: ns.HookedGPTNeo) -> None:
    job = Job(model, [])
    job.prepare(prompts(model, 1, 6), None, {}, prepend_bos=False, generation_config=None)
    with pytest.raises(GenerationError, match="use_cache='yes' is none of True, False and None"):
        job.run(None, "yes", return_cache=False, sites=None, layers=None)


def test_whole_numbers_are_taken_where_floats_are_asked_for() -> None:
    """transformers' own processors ask for the type float."""
    given = {"repetition_penalty": 2, "temperature": 3, "do_sample": True}
    assert {type(check(given)[name]) for name in ("repetition_penalty", "temperature")} == {float}
    assert check(given) == given


def test_a_watermark_may_be_a_dict(model: ns.HookedGPTNeo) -> None:
    ids = prompts(model, 1, 6)
    said = {"greenlist_ratio": 0.5, "bias": 9.0}
    marked = model.generate(ids, watermarking_config=said)
    assert torch.equal(marked, model.generate(ids, watermarking_config=WatermarkingConfig(**said)))
    assert not torch.equal(marked, model.generate(ids))


def test_no_stop_strings_and_the_own_tokenizer_change_nothing() -> None:
    organism = ns.load("organism")
    usual = organism.generate("The film was", max_new_tokens=4)
    options: dict[str, Any] = {"max_new_tokens": 4, "tokenizer": organism.tokenizer}
    assert organism.generate("The film was", stop_strings=[], **options) == usual


def test_a_hole_in_a_mask_becomes_padding_on_the_left(model: ns.HookedGPTNeo) -> None:
    """As the docstring says it."""
    mask = torch.tensor([[1, 0, 1]])
    out = model.generate([[1, 2, 3]], mask, max_new_tokens=3, eos_token_id=None)
    assert out[0, :3].tolist() == [2, 1, 3]
    alone = model.generate([[1, 3]], max_new_tokens=3, eos_token_id=None)
    assert torch.equal(out[:, 1:], alone)


def test_a_result_is_printed_in_80_columns() -> None:
    organism = ns.load("organism")
    texts = ["The film was", "The keys near the cabinet"]
    result = organism.generate(texts, max_new_tokens=60, eos_token_id=None, return_type="result")
    lines = str(result).splitlines()
    assert max(map(len, lines)) <= 80
    assert sum(line == "   [60 new tokens, ended by length]" for line in lines) == 2
    assert lines[1].startswith("1. The film was ")
    assert any(line.startswith("2. The keys near the cabinet ") for line in lines)
    assert " ".join(str(result).split()).count(" ".join((result.texts[0] or "").split())) == 1
