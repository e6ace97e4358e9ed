"""The adapter answers as lm-evaluation-harness's own model of the same checkpoint does."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import neoscope as ns
from neoscope.edits import ablate
from neoscope.errors import EvaluationError, TokenizationError
from neoscope.evaluate import Harness
from neoscope.model import HookedGPTNeo
from tests.neoscope.evaluate.peers import N_CTX, asked, close

STORY = " ".join(sentence.text for sentence in ns.organism.sentences("ioi", 30))
SENTENCES = [sentence.text for sentence in ns.organism.sentences("filler", 12)]


def pairs() -> list[tuple[str, str]]:
    found = [("", " " + sentence) for sentence in SENTENCES]
    found += [(SENTENCES[0], " " + word) for word in ("dog", "dogs", "cat near", "garden", "the")]
    found += [
        (SENTENCES[1] + " ", "dog"),
        (SENTENCES[1] + "  ", "dog"),
        (SENTENCES[2], "s and the"),
    ]
    found += [(STORY, " the store"), (STORY[:-1], "ly " + SENTENCES[3])]
    found += [("<|endoftext|>Mary", " gave"), ("", "<|endoftext|> Mary gave"), ("Mary", " gave")]
    return [*found, ("Mary", " gave"), ("Mary gave", " a"), ("Mary gave", " a drink")]


@pytest.mark.parametrize("batch_tokens", [None, 1, 64])
def test_loglikelihoods_are_those_of_lm_evals_own_model(
    model: HookedGPTNeo, peer: Any, batch_tokens: int | None
) -> None:
    requests = asked(*pairs())
    harness = Harness(model, batch_tokens=batch_tokens, progress=False)
    expected = peer.loglikelihood(requests, disable_tqdm=True)
    close(harness.loglikelihood(requests), expected)
    assert len({round(score, 3) for score, _ in expected}) > 20


def test_what_greedy_decoding_gives_is_greedy_and_nothing_else(model: HookedGPTNeo) -> None:
    prompt = model.tokenize("Mary gave").ids
    ids = model.generate(prompt, max_new_tokens=4, do_sample=False)[0].tolist()
    other = [*ids[:-1], (ids[-1] + 1) % model.config.d_vocab]
    requests = [(None, text[:2], text[2:]) for text in (ids, other)]
    answers = Harness(model, progress=False)._loglikelihood_tokens(requests)
    assert [greedy for _, greedy in answers] == [True, False]


@pytest.mark.parametrize("words", [1, 30, 47, 48, 49, 96, 97, 150])
def test_rolling_windows_are_those_of_lm_evals_own_model(
    model: HookedGPTNeo, peer: Any, words: int
) -> None:
    text = " ".join(STORY.split(" ")[:words])
    ours = Harness(model, progress=False).loglikelihood_rolling(asked((text,), ("Mary",)))
    theirs = peer.loglikelihood_rolling(asked((text,), ("Mary",)), disable_tqdm=True)
    np.testing.assert_allclose(ours, theirs, rtol=1e-6, atol=1e-4)


def test_a_text_without_tokens_is_certain(model: HookedGPTNeo) -> None:
    assert Harness(model, progress=False).loglikelihood_rolling(asked(("",))) == [0.0]


def test_nothing_asked_is_nothing_answered(model: HookedGPTNeo) -> None:
    harness = Harness(model, progress=False)
    assert harness.loglikelihood([]) == []
    assert harness.loglikelihood_rolling([]) == []
    assert harness.generate_until([]) == []


def test_facts_are_those_of_lm_evals_own_model(model: HookedGPTNeo, peer: Any) -> None:
    harness = Harness(model, progress=False)
    for name in ("eot_token_id", "prefix_token_id", "max_length", "max_gen_toks"):
        assert getattr(harness, name) == getattr(peer, name)
    for text in ("Mary gave", "", "<|endoftext|>Mary"):
        assert harness.tok_encode(text) == peer.tok_encode(text)
        assert harness.tok_encode(text, add_special_tokens=False) == peer.tok_encode(
            text, add_special_tokens=False
        )


def generation(*contexts: str, **options: Any) -> list[Any]:
    return asked(*((context, {"max_gen_toks": 12, "do_sample": False, **options})
                   for context in contexts))  # fmt: skip


@pytest.mark.parametrize("until", [[], [" the"], ["."], [" a", "ed", " Mary"], ["gave"]])
def test_generated_answers_are_those_of_lm_evals_own_model(
    model: HookedGPTNeo, peer: Any, until: list[str]
) -> None:
    contexts = ["Mary gave", *SENTENCES[:6], STORY, "The", "Mary g"]
    requests = generation(*contexts, until=until)
    expected = peer.generate_until(requests, disable_tqdm=True)
    assert Harness(model, progress=False).generate_until(requests) == expected
    assert Harness(model, batch_tokens=1, progress=False).generate_until(requests) == expected
    assert len(set(expected)) > 3


def test_requests_of_different_options_are_not_mixed(model: HookedGPTNeo, peer: Any) -> None:
    requests = generation("Mary gave", max_gen_toks=3) + generation("Mary gave", max_gen_toks=9)
    expected = peer.generate_until(requests, disable_tqdm=True)
    assert Harness(model, progress=False).generate_until(requests) == expected


def test_a_stop_string_that_begins_in_the_prompt_stops_nothing(model: HookedGPTNeo) -> None:
    harness = Harness(model, progress=False)
    whole = harness.generate_until(generation("Mary gave"))[0]
    across = "gave" + whole[:4]
    assert harness.generate_until(generation("Mary gave", until=[across]))[0] == whole


def test_an_edit_changes_what_is_generated_as_in_a_plain_run(model: HookedGPTNeo) -> None:
    harness = Harness(model, progress=False)
    clean = harness.generate_until(generation(*SENTENCES[:4]))
    with model.edits(ablate("attn_out", layer=[0, 1, 2])):
        edited = harness.generate_until(generation(*SENTENCES[:4]))
        plain = [model.generate(s, max_new_tokens=12, do_sample=False) for s in SENTENCES[:4]]
    assert edited == [new.removeprefix(s) for new, s in zip(plain, SENTENCES, strict=False)]
    assert edited != clean


def test_an_answer_as_long_as_the_context_is_refused(model: HookedGPTNeo) -> None:
    requests = generation("Mary", max_gen_toks=N_CTX)
    with pytest.raises(EvaluationError, match="48 new tokens, and the model's context is 48"):
        Harness(model, progress=False).generate_until(requests)


def test_progress_counts_every_request(model: HookedGPTNeo) -> None:
    told: list[tuple[int, int]] = []
    harness = Harness(model, batch_tokens=30, progress=lambda *n: told.append(n))
    harness.loglikelihood(asked(*pairs()))
    assert told[-1] == (len(pairs()), len(pairs()))
    assert len(told) > 2


def test_answers_reach_lm_evals_cache(model: HookedGPTNeo) -> None:
    harness, kept = Harness(model, progress=False), {}

    class Hook:
        def add_partial(self, kind: str, request: Any, answer: Any) -> None:
            kept[kind] = answer

    harness.set_cache_hook(Hook())
    score = harness.loglikelihood(asked(("Mary", " gave")))[0]
    rolling = harness.loglikelihood_rolling(asked(("Mary gave",)))[0]
    said = harness.generate_until(generation("Mary"))[0]
    assert kept == {"loglikelihood": score, "loglikelihood_rolling": rolling,
                    "generate_until": said}  # fmt: skip


def test_a_model_without_tokenizer_is_refused() -> None:
    config = ns.NeoConfig(n_layers=1, d_model=8, n_heads=2, n_ctx=16, d_vocab=10)
    with pytest.raises(TokenizationError, match="no tokenizer, which evaluation needs"):
        Harness(ns.HookedGPTNeo.from_config(config))


def test_there_is_no_chat_template(model: HookedGPTNeo) -> None:
    with pytest.raises(EvaluationError, match="no chat template"):
        Harness(model, progress=False).apply_chat_template([])
