"""The organism that ships does what its card says, measured anew."""

from __future__ import annotations

import pytest
import torch
import transformers

from neoscope import organism
from neoscope.edits import ablate
from neoscope.model import HookedGPTNeo
from neoscope.organism import asking, bundle, gates, initial
from neoscope.organism.compiled.truth import PromptPairs
from neoscope.organism.language import pairs, sentences
from neoscope.organism.language.vocabulary import encode
from tests.neoscope.organism import brute_force as brute

MOST_BYTES = 12_000_000


@pytest.fixture(scope="module")
def model() -> HookedGPTNeo:
    return HookedGPTNeo.from_pretrained("organism").requires_grad_(False)


def test_all_gates_hold(model: HookedGPTNeo) -> None:
    report = gates.measure(model, n=120, seed=7)
    assert report.ok, [gate for gate in report.gates if not gate.holds]
    assert report.induction_head[0] == 2


def test_card_is_of_these_weights_and_all_its_gates_hold(model: HookedGPTNeo) -> None:
    card = organism.card()
    assert card["gates"]["ok"] and all(gate["holds"] for gate in card["gates"]["gates"])
    assert card["parameters"] == model.config.n_params
    assert card["shape"] == model.config.to_hf() == initial.config().to_hf()
    run = card["training"]
    assert (run["seed"], run["steps"]) == (0, run["stages"]["all"] + 2600)
    assert len(run["data_sha256"]) == len(run["code_sha256"]) == 64
    assert run["moments"].keys() == {"before", "during", "after"}
    assert card["loss"]["language"][-1] < 1.7 < card["loss"]["repeats"][0]


def test_transformers_reads_the_folder_and_gives_the_same_logits(model: HookedGPTNeo) -> None:
    texts = [sentence.prompt for sentence in sentences("ioi", 8)]
    reference = transformers.GPTNeoForCausalLM.from_pretrained(organism.path()).eval()
    tokenizer = transformers.AutoTokenizer.from_pretrained(organism.path())
    for text in texts:
        ids = tokenizer(text, return_tensors="pt").input_ids
        assert ids[0].tolist() == model.to_tokens(text)[0].tolist()
        with torch.no_grad():
            torch.testing.assert_close(model(text), reference(ids).logits, atol=2e-5, rtol=0)


def test_all_that_ships_fits_into_twelve_megabytes() -> None:
    files = [file for file in organism.path().rglob("*") if file.is_file()]
    assert 4_000_000 < sum(file.stat().st_size for file in files) <= MOST_BYTES


def test_induction_is_carried_by_the_head_of_the_truth_card(model: HookedGPTNeo) -> None:
    layer, head = organism.truth_card()["models"][0]["ablation"]["induction_head"]
    far = sentences("far-induction", 40, seed=5, distance=(64, 100), length=(8, 20))
    whole = asking.continued(model, far)
    assert whole >= 0.9
    assert asking.continued(model, far, (layer, head)) <= whole / 2
    words = encode(far[0].words)
    logits = model.run_with_edits(torch.tensor([words]), [ablate("z", layer=layer, head=head)])
    start = far[0].attributes["start"]
    said = logits[0, start:-1].argmax(-1).tolist()
    assert sum(a == b for a, b in zip(said, words[start + 1 :], strict=True)) < len(said) / 2


def test_moments_lie_around_the_appearance_of_induction() -> None:
    near = sentences("induction", 60, seed=5, length=(8, 20))
    shares = {}
    for moment in bundle.MOMENTS:
        model = HookedGPTNeo.from_pretrained(f"organism-{moment}")
        shares[moment] = asking.continued(model, near)
    assert shares["before"] < 0.1 < shares["after"] - 0.8
    assert shares["before"] < shares["during"] < shares["after"]


@pytest.mark.parametrize("task", ["ioi", "agreement", "facts"])
def test_truth_card_agrees_with_edits(task: str, model: HookedGPTNeo) -> None:
    """The card was made with TransformerLens's hooks; neoscope's edits find the same."""
    told = organism.truth_card()["models"][0]["tasks"][task]
    asked = PromptPairs(*pairs(task, 256).ids())
    clean, corrupted = (
        float(brute.last_diff(model(x), asked).mean()) for x in (asked.clean, asked.corrupted)
    )
    assert abs(clean - told["logit_diff"]["clean"]["mean"]) < 1e-3
    for layer, head in brute.heads(model):
        patched = brute.patch(model, asked.corrupted, asked.clean, (layer, head))
        effect = (float(brute.last_diff(patched, asked).mean()) - corrupted) / (clean - corrupted)
        assert abs(effect - told["heads"]["denoise"]["effect"][layer][head]) < 1e-3
