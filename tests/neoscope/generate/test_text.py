"""What comes back: text for text, ids for ids, a record where asked; every row by itself."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import BatchEncoding, GenerationConfig

import neoscope as ns
from neoscope.edits import ablate
from neoscope.errors import GenerationError, TokenizationError
from neoscope.generate import Generated
from neoscope.generate.decoder import Decoder
from tests.neoscope.generate.peers import prompts, ragged, random_pair, unique_token

TEXTS = ["The film was", "When Mary and John went to the store, John", "The keys near the cabinet"]


@pytest.fixture(scope="module")
def organism() -> ns.HookedGPTNeo:
    return ns.load("organism")


@pytest.fixture(scope="module")
def model() -> ns.HookedGPTNeo:
    return random_pair(1)[1]


def test_text_comes_back_as_it_was_given(organism: ns.HookedGPTNeo) -> None:
    one = organism.generate(TEXTS[0], max_new_tokens=4)
    assert isinstance(one, str) and one.startswith("The film was ")
    many = organism.generate(TEXTS, max_new_tokens=4)
    assert many == [organism.generate(text, max_new_tokens=4) for text in TEXTS]
    assert organism.generate([TEXTS[0]], max_new_tokens=4) == [one]
    drawn = organism.generate(TEXTS[0], do_sample=True, num_return_sequences=3, seed=1)
    assert len(drawn) == 3 and len(set(drawn)) > 1
    assert len(organism.generate(TEXTS, num_beams=2, num_return_sequences=2)) == 6


def test_ids_come_back_as_ids(organism: ns.HookedGPTNeo) -> None:
    tokens = organism.tokenize(TEXTS[:1])
    ids = organism.generate(tokens, max_new_tokens=4)
    assert isinstance(ids, Tensor) and ids.shape == (1, 7) and not ids.is_inference()
    assert torch.equal(ids, organism.generate(tokens.ids.tolist(), max_new_tokens=4))
    assert torch.equal(ids, organism.generate(input_ids=tokens.ids, max_new_tokens=4))
    encoded: BatchEncoding = organism.tokenizer(TEXTS[:1], return_tensors="pt")
    arguments = {name: encoded[name] for name in ("input_ids", "attention_mask")}
    assert torch.equal(ids, organism.generate(**arguments, max_new_tokens=4))
    text = organism.generate(tokens, max_new_tokens=4, return_type="text")
    assert text == organism.generate(TEXTS[0], max_new_tokens=4)
    again = organism.generate(TEXTS[0], max_new_tokens=4, return_type="tokens")
    assert torch.equal(again, ids)


def test_nothing_begins_with_the_beginning_of_text(organism: ns.HookedGPTNeo) -> None:
    ids = organism.generate(max_new_tokens=3)
    assert ids[0, 0] == organism.config.bos_token_id and ids.shape == (1, 4)
    begun = organism.generate("The", prepend_bos=True, max_new_tokens=3, return_type="tokens")
    assert begun[0, 0] == organism.config.bos_token_id and begun.shape == (1, 5)
    assert organism.generate("", prepend_bos=True, max_new_tokens=3)


def test_a_row_does_not_feel_its_mates(model: ns.HookedGPTNeo) -> None:
    ids, lengths = prompts(model, 5, 12), [12, 1, 7, 3, 9]
    end = unique_token(model.generate(ids, max_new_tokens=12, eos_token_id=None)[:, 12:])[2]
    options: dict[str, Any] = {"max_new_tokens": 14, "eos_token_id": end, "return_type": "result"}
    for side in ("left", "right"):
        mask = ragged(12, lengths, side)
        together = model.generate(ids, mask, **options)
        for row in range(5):
            alone = model.generate(ids[row, mask[row]], **options)
            assert alone.tokens[0] == together.tokens[row]
            assert alone.stopped[0] == together.stopped[row]
    for beams in (1, 3):
        pair = [
            model.generate(ids[rows], num_beams=beams, max_new_tokens=9) for rows in ([0, 1], [1])
        ]
        assert torch.equal(pair[0][1:], pair[1])


def test_a_plain_model_takes_the_short_way(
    model: ns.HookedGPTNeo, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps, usual = [], Decoder.next
    monkeypatch.setattr(Decoder, "next", lambda *a: steps.append(1) or usual(*a))
    ids = prompts(model, 2, 4)
    for beams in (1, 2):
        model.generate(ids, max_new_tokens=5, eos_token_id=None, num_beams=beams)
    assert len(steps) == 8
    model.generate(ids, max_new_tokens=5, use_cache=False)
    model.generate(ids, max_new_tokens=5, edits=ablate("z", 0, 1))
    with model.hooks(fwd_hooks=[("hook_embed", lambda x, hook: x)]):
        model.generate(ids, max_new_tokens=5)
    assert len(steps) == 8


@pytest.mark.gpu
def test_on_another_device_too(model: ns.HookedGPTNeo) -> None:
    there, ids = copy.deepcopy(model).to("cuda"), prompts(model, 3, 6)
    mask = ragged(6, [6, 3, 5], "right")
    for options in ({}, {"num_beams": 3}, {"repetition_penalty": 1.3}, {"use_cache": False}):
        out = there.generate(ids, mask, max_new_tokens=8, **options)
        assert out.device.type == "cuda"
        assert torch.equal(out.cpu(), model.generate(ids, mask, max_new_tokens=8, **options))
    first, again = (there.generate(ids, do_sample=True, seed=2) for _ in range(2))
    assert torch.equal(first, again)
    _, cache = there.generate(ids, mask, max_new_tokens=3, return_cache=True, sites="z")
    assert cache["z", 0].device.type == "cuda"


def test_a_mask_with_holes_is_the_text_without_them(model: ns.HookedGPTNeo) -> None:
    ids = prompts(model, 1, 8)
    mask = torch.tensor([[1, 0, 1, 1, 0, 0, 1, 1]])
    kept = ids[mask.bool()][None]
    holes = model.generate(ids, mask, max_new_tokens=6, eos_token_id=None)
    assert torch.equal(
        holes[:, 8:], model.generate(kept, max_new_tokens=6, eos_token_id=None)[:, 5:]
    )


def test_the_record_says_everything(organism: ns.HookedGPTNeo, tmp_path: Path) -> None:
    result = organism.generate(TEXTS, max_new_tokens=6, return_type="result")
    assert isinstance(result, Generated)
    assert result.texts == tuple(organism.generate(TEXTS, max_new_tokens=6))
    assert result.prompts == tuple(TEXTS) and result.model == "organism"
    for text, new, said in zip(TEXTS, result.tokens, result.log_probs, strict=True):
        start = organism.tokenize(text).ids[0]
        whole = torch.cat([start, torch.tensor(new)])[None]
        with torch.no_grad():
            due = organism(whole)[0].log_softmax(-1)[len(start) - 1 : -1]
        due = due.gather(1, torch.tensor(new)[:, None])[:, 0]
        torch.testing.assert_close(torch.tensor(said), due, rtol=0, atol=1e-4)
    table = result.to_dataframe()
    assert list(table.columns) == ["row", "step", "id", "token", "log_prob"]
    assert len(table) == sum(map(len, result.tokens))
    assert "".join(table[table.row == 0].token) == result.continuations[0]
    assert "3 texts by organism" in str(result) and TEXTS[0] in str(result)
    assert "<table" in result._repr_html_() and "<script>" not in result._repr_html_()
    loaded = Generated.load(result.save(tmp_path / "texts.json"))
    assert vars(loaded) == vars(result)
    with pytest.raises(GenerationError, match="cannot write"):
        result.save(tmp_path / "nowhere" / "texts.json")
    (tmp_path / "other.json").write_text(json.dumps({"generated": {"wrong": 1}}))
    for name in ("other.json", "missing.json"):
        with pytest.raises(GenerationError, match=name):
            Generated.load(tmp_path / name)


def test_log_probabilities_are_the_models_whatever_is_drawn(model: ns.HookedGPTNeo) -> None:
    """Temperature and processors change what is drawn, not what the model thinks of it."""
    ids = prompts(model, 2, 5)
    result = model.generate(
        ids, max_new_tokens=5, do_sample=True, temperature=3.0, repetition_penalty=2.0, seed=3,
        eos_token_id=None, return_type="result",
    )  # fmt: skip
    whole = torch.cat([ids, torch.tensor(result.tokens)], 1)
    with torch.no_grad():
        due = model(whole).log_softmax(-1)[:, 4:-1].gather(2, whole[:, 5:, None])[..., 0]
    torch.testing.assert_close(torch.tensor(result.log_probs), due, rtol=0, atol=1e-4)
    assert result.prompts == (None, None) and result.texts == (None, None)
    beams = model.generate(
        ids, max_new_tokens=5, num_beams=3, eos_token_id=None, return_type="result"
    )
    total = model(torch.cat([ids, torch.tensor(beams.tokens)], 1)).log_softmax(-1)[:, 4:-1]
    total = total.gather(2, torch.tensor(beams.tokens)[..., None]).sum((1, 2)) / 5
    torch.testing.assert_close(torch.tensor(beams.scores), total.detach(), rtol=0, atol=1e-4)


def test_why_each_text_stopped(organism: ns.HookedGPTNeo) -> None:
    def stopped(*texts: str, **options: Any) -> tuple[str, ...]:
        return organism.generate(list(texts), return_type="result", **options).stopped

    dot = organism.tokenize("John.").ids[0, -1:].tolist()
    assert stopped("The film was", max_new_tokens=3) == ("length",)
    assert stopped("The film was", max_new_tokens=30, eos_token_id=dot) == ("eos",)
    assert stopped("The film was", max_new_tokens=30, stop_strings=["."]) == ("stop_string",)
    assert stopped("The film was", max_new_tokens=30, stop_strings=".", num_beams=2) == (
        "stop_string",
    )
    assert stopped("The film was", max_new_tokens=125, eos_token_id=None) == ("context",)
    assert stopped("The film was", max_new_tokens=30, max_time=1e-9) == ("time",)
    five = [lambda ids, scores: torch.full((len(ids),), ids.shape[1] >= 5)]
    assert stopped("The film was", stopping_criteria=five) == ("criterion",)
    both = stopped(*TEXTS[:2], max_new_tokens=9, eos_token_id=dot, stop_strings=["gave"])
    assert "stop_string" in both


def test_stop_strings_end_a_text(organism: ns.HookedGPTNeo) -> None:
    out = organism.generate(TEXTS, max_new_tokens=40, stop_strings=["."])
    assert all(text.endswith(".") and text.count(".") == 1 for text in out)


def test_seeds_fix_the_draws(model: ns.HookedGPTNeo) -> None:
    ids = prompts(model, 2, 4)
    options: dict[str, Any] = {"do_sample": True, "max_new_tokens": 12, "eos_token_id": None}
    before = torch.random.get_rng_state()
    first, again, other = (model.generate(ids, seed=s, **options) for s in (0, 0, 1))
    assert torch.equal(first, again) and not torch.equal(first, other)
    assert torch.equal(before, torch.random.get_rng_state())
    torch.manual_seed(0)
    assert torch.equal(model.generate(ids, **options), first)


def test_a_config_object_is_taken(model: ns.HookedGPTNeo) -> None:
    ids, config = prompts(model, 2, 4), GenerationConfig(max_new_tokens=5, num_beams=3)
    expected = model.generate(ids, max_new_tokens=5, num_beams=3)
    assert torch.equal(model.generate(ids, generation_config=config), expected)
    longer = model.generate(ids, generation_config=config, max_new_tokens=7)
    assert torch.equal(longer, model.generate(ids, max_new_tokens=7, num_beams=3))


def test_the_model_is_left_as_it_was(model: ns.HookedGPTNeo) -> None:
    ids, before = prompts(model, 2, 4), model.fingerprint()
    model.train()
    model.generate(ids, max_new_tokens=3)
    assert model.training and model.fingerprint() == before
    model.eval()
    with torch.enable_grad():
        model.generate(ids, max_new_tokens=3)
        assert torch.is_grad_enabled() and not torch.is_inference_mode_enabled()
    assert all(p.grad is None for p in model.parameters())


def test_prompts_of_any_kind_are_checked(organism: ns.HookedGPTNeo, model: ns.HookedGPTNeo) -> None:
    with pytest.raises(TokenizationError, match="text 1 is empty"):
        organism.generate(["The", ""])
    with pytest.raises(TokenizationError, match="the list is empty"):
        organism.generate([])
    with pytest.raises(TokenizationError, match="tokenizer"):
        model.generate("The film")
    with pytest.raises(TokenizationError, match="outside the vocabulary"):
        model.generate([[60]])
    with pytest.raises(GenerationError, match=r"no real token in row\(s\) \[1\]"):
        model.generate([[1, 2], [3, 4]], [[1, 1], [0, 0]])
    with pytest.raises(GenerationError, match=r"attention_mask has shape \(1, 3\)"):
        model.generate([[1, 2]], [[1, 1, 1]])
    with pytest.raises(GenerationError, match="attention_mask is for token ids"):
        organism.generate("The", [[1]])
    with pytest.raises(GenerationError, match="prepend_bos=True is for texts"):
        model.generate([[1, 2]], prepend_bos=True)
    with pytest.raises(
        GenerationError, match="prompt 0 has 64 tokens, and the model's context is 64"
    ):
        model.generate(prompts(model, 1, 64))
    with pytest.raises(GenerationError, match="cut it to 127 tokens or fewer"):
        organism.generate(" ".join(["The"] * 200))
    with pytest.raises(GenerationError, match="passed alongside `input_ids`"):
        model.generate([[1]], input_ids=[[1]])
    with pytest.raises(TokenizationError, match=r"found torch\.float32"):
        model.generate(torch.zeros(1, 3))
