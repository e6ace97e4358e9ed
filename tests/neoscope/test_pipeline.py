"""ns.pipeline answers as transformers' pipeline does on the same checkpoint."""

from __future__ import annotations

import warnings
from typing import Any

import pytest
import torch
from transformers import GenerationConfig, GPTNeoForCausalLM
from transformers import pipeline as transformers_pipeline
from transformers.utils import logging

import neoscope as ns
from neoscope.edits import ablate
from neoscope.errors import ArgumentError, GenerationError
from neoscope.organism import path
from neoscope.pipelines import TextGeneration

TEXT = "The film was not"


@pytest.fixture(scope="module")
def ours() -> TextGeneration:
    return ns.pipeline("text-generation", model="organism")


@pytest.fixture(scope="module")
def theirs(ours: TextGeneration) -> Any:
    logging.disable_progress_bar()
    hf = GPTNeoForCausalLM.from_pretrained(path(), attn_implementation="eager").eval()
    return transformers_pipeline("text-generation", model=hf, tokenizer=ours.tokenizer)


def test_the_model_cards_call() -> None:
    generator = ns.pipeline("text-generation", model="organism")
    with pytest.warns(ns.UnseenWordWarning):
        answer = generator("EleutherAI has", do_sample=True, min_length=50)
    assert isinstance(answer, list) and [set(record) for record in answer] == [{"generated_text"}]
    text = answer[0]["generated_text"]
    assert text.startswith("EleutherAI has")
    assert len(generator.tokenizer(text)["input_ids"]) >= 50


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"do_sample": True, "min_length": 50, "max_new_tokens": 60},
        {"do_sample": False, "max_new_tokens": 12},
        {"max_length": 20},
        {"max_new_tokens": 9, "num_return_sequences": 3},
        {"max_new_tokens": 9, "return_full_text": False},
        {"max_new_tokens": 9, "return_tensors": True},
        {"max_new_tokens": 30, "stop_sequence": "."},
        {"max_new_tokens": 9, "num_beams": 3, "do_sample": False},
        {"generation_config": GenerationConfig(max_new_tokens=7, do_sample=True, top_k=5)},
    ],
    ids=str,
)
@pytest.mark.parametrize("many", [False, True])
def test_it_says_what_theirs_says(
    ours: TextGeneration, theirs: Any, options: dict[str, Any], many: bool
) -> None:
    texts: Any = [TEXT, "When Mary and John went to the store, John"] if many else TEXT
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.manual_seed(4)
        # Without a length they run past the context, where we stop.
        capped = {"max_new_tokens": 100} if not options else {}
        expected = theirs(texts, **options, **capped)
    torch.manual_seed(4)
    if many:  # their loop over a list goes through a DataLoader, which draws its own seed first
        torch.empty((), dtype=torch.int64).random_()
    assert ours(texts, **options, **capped) == expected


def test_without_a_length_it_stops_at_the_context(ours: TextGeneration) -> None:
    result = ours.model.generate(TEXT, max_new_tokens=124, seed=0, do_sample=True)
    torch.manual_seed(0)
    [answer] = ours(TEXT, temperature=1.0, eos_token_id=None)
    assert len(ours.tokenizer(answer["generated_text"])["input_ids"]) >= 120
    torch.manual_seed(0)
    assert ours(TEXT, temperature=1.0) == [{"generated_text": result}]
    with pytest.raises(GenerationError, match="the model's context is 128: at most 124 fit"):
        ours(TEXT, max_new_tokens=256)


def test_a_batch_is_answered_as_one_by_one(ours: TextGeneration) -> None:
    texts = [TEXT, "The keys", "", "When Mary and John went to the store, John gave", "The"]
    options = {"do_sample": False, "max_new_tokens": 8}
    together = ours(texts, batch_size=3, **options)
    assert together == [ours(text, **options) for text in texts]
    assert together[2][0]["generated_text"]


def test_options_of_the_pipeline_hold_for_every_call() -> None:
    model = ns.load("organism")
    generator = ns.pipeline("text-generation", model, do_sample=False, max_new_tokens=3)
    assert generator.model is model
    assert generator(TEXT) == [{"generated_text": model.generate(TEXT, max_new_tokens=3)}]
    assert generator(TEXT, max_new_tokens=5) == [
        {"generated_text": model.generate(TEXT, max_new_tokens=5)}
    ]
    assert repr(generator) == "pipeline('text-generation', model='organism')"
    with model.edits(ablate("resid_mid", 3)):
        assert generator(TEXT) == [{"generated_text": model.generate(TEXT, max_new_tokens=3)}]


def test_features_are_the_last_hidden_states() -> None:
    model = ns.load("organism")
    features = ns.pipeline("feature-extraction", model)
    one = features(TEXT)
    with torch.no_grad():
        torch.testing.assert_close(torch.tensor(one), model(TEXT, return_type="hidden"))
    assert features([TEXT, "The keys"])[0] == one


def test_what_it_cannot_do_is_said() -> None:
    with pytest.raises(ArgumentError, match="no pipeline for 'text-generaton'; did you mean"):
        ns.pipeline("text-generaton")
    with pytest.raises(ArgumentError, match="it has text-generation and feature-extraction"):
        ns.pipeline("summarization", model="organism")
    bare = ns.HookedGPTNeo.from_config(ns.NeoConfig(1, 8, 2, 16, 10))
    with pytest.raises(GenerationError, match="the model has no tokenizer"):
        ns.pipeline("text-generation", bare)
    generator = ns.pipeline("text-generation", "organism")
    with pytest.raises(GenerationError, match="no chats"):
        generator([{"role": "user", "content": "Hello"}])
    with pytest.raises(GenerationError, match="mutually exclusive"):
        generator(TEXT, return_full_text=True, return_tensors=True)
    with pytest.raises(GenerationError, match="no option 'max_tokens'; did you mean"):
        generator(TEXT, max_tokens=3)


@pytest.mark.parametrize(
    "options",
    [
        {"prefix": "The keys . "},
        {"prefix": "The keys . ", "return_tensors": True},
        {"prefix": "The keys . ", "max_length": 15, "max_new_tokens": None},
        {"return_text": True},
        {"truncation": True},
        {"handle_long_generation": "hole"},
        {"skip_special_tokens": True},
    ],
    ids=str,
)
def test_the_pipelines_own_options_mean_what_theirs_mean(
    ours: TextGeneration, theirs: Any, options: dict[str, Any]
) -> None:
    options = {"do_sample": False, "max_new_tokens": 8, **options}
    options = {name: value for name, value in options.items() if value is not None}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        expected = theirs(TEXT, **options)
        assert ours(TEXT, **options) == expected  # a space before a full stop is a word unseen


def test_a_text_too_long_is_cut_where_that_is_asked_for(ours: TextGeneration) -> None:
    words = ["keys", "film", "store", "cabinet"] * 50
    long, options = " ".join(words), {"do_sample": False, "max_new_tokens": 8}
    n = ours.model.config.n_ctx - 8
    ids = ours.tokenizer(long)["input_ids"]
    for how, kept in (
        ({"truncation": True}, ids[:n]),
        ({"handle_long_generation": "hole"}, ids[-n:]),
    ):
        expected = ours.model.generate([kept], max_new_tokens=8, return_type="tokens")
        [[answer], other] = ours([long, TEXT], batch_size=2, return_tensors=True, **options, **how)
        assert answer["generated_token_ids"] == expected[0].tolist()
        assert other == ours(TEXT, return_tensors=True, **options)
        assert ours(long, **options, **how)[0]["generated_text"].startswith(long)
    with pytest.raises(GenerationError, match="no cut of a prompt makes room"):
        ours(long, truncation=True, max_new_tokens=128)
    with pytest.raises(GenerationError, match="no room for a new token"):
        ours(long, **options)


@pytest.mark.parametrize(
    "options", [{"device": -1}, {"device": "cpu"}, {"device_map": "cpu"}, {"torch_dtype": "auto"}]
)
def test_devices_and_dtypes_are_said_as_in_transformers(options: dict[str, Any]) -> None:
    generator = ns.pipeline("text-generation", "organism", **options)
    assert generator.model.device == torch.device("cpu")
    assert generator.model.W_E.dtype == torch.float32


def test_a_dtype_holds_for_a_given_model_too() -> None:
    generator = ns.pipeline(model="organism", torch_dtype=torch.bfloat16)
    assert generator.model.W_E.dtype == torch.bfloat16
    generator = ns.pipeline(model=ns.load("organism"), dtype="bfloat16")
    assert generator.model.W_E.dtype == torch.bfloat16


def test_a_number_is_a_gpu() -> None:
    from neoscope.generate.pipeline_options import read_place

    assert read_place(0, None) == "cuda:0" and read_place(1, None) == "cuda:1"
    if not torch.cuda.is_available():
        with pytest.raises(ArgumentError, match="device='cuda:0': torch finds no CUDA device"):
            ns.pipeline(model="organism", device=0)
    with pytest.raises(ArgumentError, match="-1 is the CPU"):
        ns.pipeline(model="organism", device=-2)
    with pytest.raises(ArgumentError, match="give one of them"):
        ns.pipeline(model="organism", device=-1, device_map="auto")
    with pytest.raises(ArgumentError, match="a model is on one device here"):
        ns.pipeline(model="organism", device_map={"": 0})
    with pytest.raises(ArgumentError, match="an older name of `dtype`"):
        ns.pipeline(model="organism", dtype="float32", torch_dtype="float32")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"clean_up_tokenization_spaces": True}, "takes no clean_up_tokenization_spaces=True: tex"),
        ({"return_type": "result"}, "takes no return_type='result'"),
        ({"skip_special_tokens": False}, "takes no skip_special_tokens=False"),
        ({"handle_long_generation": "cut"}, "neither None nor 'hole'"),
        ({"truncation": "yes"}, "none of True and False"),
        ({"truncation": True, "handle_long_generation": "hole"}, "give one"),
        ({"return_text": True, "return_full_text": True}, "mutually exclusive"),
        ({"batch_size": "2"}, "batch_size='2' is no whole number"),
    ],
    ids=str,
)
def test_what_has_no_meaning_is_refused_by_name(
    ours: TextGeneration, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(GenerationError, match=message):
        ours(TEXT, **options)


def test_what_is_no_text_is_refused(ours: TextGeneration) -> None:
    with pytest.raises(GenerationError, match="takes a text or a list of texts, not 5"):
        ours(5)
    with pytest.raises(GenerationError, match="feature-extraction takes a text or a list"):
        ns.pipeline("feature-extraction", ours.model)([5])
