"""Options that contradict each other, do not exist or cannot be honoured are refused, in words."""

from __future__ import annotations

import json
from typing import Any

import pytest
import torch
from transformers import GenerationConfig

import neoscope as ns
from neoscope.edits import ablate
from neoscope.errors import GenerationError, SiteError
from neoscope.generate.names import NAMED, OPTIONS, OWN
from tests.neoscope.generate.peers import prompts, random_pair

BAD: list[tuple[dict[str, Any], str]] = [
    # As transformers words it.
    ({"temperature": 0.5}, r"`do_sample` is not set to `True`. However, `temperature` is set to"),
    ({"top_k": 5, "do_sample": False}, r"`top_k` is set to `5` -- this flag is only used"),
    ({"top_p": 0.5}, "You should set `do_sample=True` or unset `top_p`"),
    ({"min_p": 0.5}, "You should set `do_sample=True` or unset `min_p`"),
    ({"typical_p": 0.5}, "unset `typical_p`"),
    ({"epsilon_cutoff": 0.5}, "unset `epsilon_cutoff`"),
    ({"early_stopping": True}, "You should set `num_beams>1` or unset `early_stopping`"),
    ({"length_penalty": 2.0}, "only used in beam-based generation modes"),
    ({"early_stopping": "ever", "num_beams": 2}, "must be a boolean or 'never', but is ever"),
    ({"num_return_sequences": 2}, "Greedy methods .* do not support `num_return_sequences`"),
    ({"num_return_sequences": 3, "num_beams": 2}, "smaller or equal to `num_beams` \\(2\\)"),
    ({"max_new_tokens": 5, "max_length": 20}, "Both `max_new_tokens` .* seem to have been set"),
    ({"min_new_tokens": 5, "min_length": 20}, "Both `min_new_tokens` .* seem to have been set"),
    ({"max_length": 4}, "Input length of input_ids is 6, but `max_length` is set to 4"),
    ({"min_length": 40, "max_length": 20}, "Unfeasible length constraints: `min_length` \\(40\\)"),
    ({"min_new_tokens": 9, "max_new_tokens": 5}, "Unfeasible length constraints: `min_new_tokens`"),
    ({"do_sample": True, "temperature": 0.0}, "has to be a strictly positive float"),
    ({"do_sample": True, "temperature": -1.0}, "has to be a strictly positive float"),
    ({"repetition_penalty": -1.0}, "has to be a strictly positive float"),
    ({"bad_words_ids": []}, "bad_words_ids"),
    ({"num_beams": 2, "streamer": print}, "`streamer` cannot be used with beam search"),
    ({"forced_eos_token_id": 3, "suppress_tokens": [3]}, "is also in `suppress_tokens`"),
    # Our own.
    ({"max_new_tokens": 0}, "`max_new_tokens` must be a whole number of at least 1, but is 0"),
    ({"max_new_tokens": -3}, "at least 1, but is -3"),
    ({"max_new_tokens": True}, "whole number of at least 1, but is True"),
    ({"min_length": -1}, "`min_length` must be a whole number of at least 0"),
    ({"min_new_tokens": -1}, "`min_new_tokens` must be a whole number of at least 0"),
    ({"num_beams": 0}, "`num_beams` must be a whole number of at least 1"),
    ({"num_return_sequences": 0}, "`num_return_sequences` must be"),
    ({"top_k": -1, "do_sample": True}, "`top_k` must be a whole number of at least 0"),
    ({"no_repeat_ngram_size": -2}, "`no_repeat_ngram_size` must be"),
    ({"top_p": 1.5, "do_sample": True}, "`top_p` must be between 0 and 1, but is 1.5"),
    ({"typical_p": -0.5, "do_sample": True}, "`typical_p` must be between 0 and 1"),
    ({"temprature": 0.5}, "no option 'temprature'; did you mean 'temperature'?"),
    ({"return_typ": "text"}, "no option 'return_typ'; did you mean 'return_type'?"),
    ({"num_beam_groups": 2}, "'num_beam_groups' is an option of transformers"),
    ({"output_scores": True}, "not supported here: return_type='result' has log-probabilities"),
    ({"penalty_alpha": 0.6, "top_k": 4}, "'penalty_alpha' is an option of transformers"),
    ({"eos_token_id": 60}, "`eos_token_id` should consist of token ids from 0 to 59, but is"),
    ({"eos_token_id": -1}, "eos_token_id=None generates to the full length"),
    ({"stop_strings": ["."]}, "There are one or more stop strings"),
    ({"return_type": "txt"}, "return_type='txt' is none of .*; did you mean 'text'?"),
    ({"return_type": "text"}, "needs a tokenizer, and the model has none"),
    ({"max_new_tokens": 59}, "asks for 59 new tokens after a prompt of 6, but the model's context"),
    ({"max_length": 65}, "`max_length` is 65, but the model's context is 64: at most 64 fits"),
    ({"generation_config": {"top_k": 3}}, "generation_config is dict, no GenerationConfig"),
    ({"suppress_tokens": list(range(60)), "do_sample": True}, "no token can be drawn"),
]  # fmt: skip


@pytest.fixture(scope="module")
def model() -> ns.HookedGPTNeo:
    return random_pair(1)[1]


@pytest.mark.parametrize(("options", "message"), BAD, ids=lambda x: str(x)[:40])
def test_it_is_refused(model: ns.HookedGPTNeo, options: dict[str, Any], message: str) -> None:
    with pytest.raises(GenerationError, match=message) as caught:
        model.generate(prompts(model, 1, 6), **options)
    assert "\n" not in str(caught.value) and "TRANSFORMERS_VERBOSITY" not in str(caught.value)


def test_a_seed_is_a_number(model: ns.HookedGPTNeo) -> None:
    from neoscope.generate.run import Job

    with pytest.raises(GenerationError, match="seed='x' is not a whole number"):
        Job(model, [], seed="x")  # type: ignore[arg-type]


def test_an_edit_is_checked_before_anything_runs(model: ns.HookedGPTNeo) -> None:
    def fail(*_: Any) -> None:
        raise AssertionError("it ran")

    with (
        model.hooks(fwd_hooks=[("hook_embed", fail)]),
        pytest.raises(SiteError, match=r"layer"),
    ):
        model.generate(prompts(model, 1, 6), edits=ablate("z", layer=7))


def test_no_warning_is_given_where_transformers_recommends(model: ns.HookedGPTNeo) -> None:
    """Warnings are errors in these tests; a default length is nothing to warn of."""
    assert model.generate(prompts(model, 1, 6), eos_token_id=None).shape[1] == 26
    assert model.generate(prompts(model, 1, 60), eos_token_id=None).shape[1] == 64
    assert model.generate(prompts(model, 1, 6), min_length=4).shape[1] > 6
    assert model.generate(prompts(model, 1, 6), top_k=50, temperature=1.0).shape[1] > 6


def test_the_last_place_of_the_context_can_be_filled(model: ns.HookedGPTNeo) -> None:
    ids = prompts(model, 2, 60)
    out = model.generate(ids, max_new_tokens=4, eos_token_id=None)
    assert out.shape == (2, 64)
    whole = model(out[:, :-1]).argmax(-1)[:, 59:]
    assert torch.equal(whole, out[:, 60:])
    beams = model.generate(ids, max_new_tokens=4, eos_token_id=None, num_beams=2)
    assert beams.shape == (2, 64)


def test_a_checkpoints_contradiction_is_not_the_callers(tmp_path: Any) -> None:
    """transformers only warns of it, once; a greedy call must still work."""
    import shutil

    from neoscope import organism

    folder = tmp_path / "model"
    shutil.copytree(organism.path(), folder, ignore=shutil.ignore_patterns("during", "after"))
    said = {"temperature": 0.5, "top_k": 3, "early_stopping": True}
    (folder / "generation_config.json").write_text(json.dumps(said))
    model = ns.load(folder)
    assert model.generate("The film", max_new_tokens=2) == ns.load("organism").generate(
        "The film", max_new_tokens=2
    )
    with pytest.raises(GenerationError, match="`top_k` is set to `4`"):
        model.generate("The film", max_new_tokens=2, top_k=4)


def test_every_option_is_known_to_transformers() -> None:
    known = set(vars(GenerationConfig()))
    assert known >= OPTIONS
    assert set(NAMED) <= OPTIONS
    assert not OPTIONS & set(OWN)
