"""return_cache=True: one cache over prompts and new tokens, as of a forward over the whole text."""

from __future__ import annotations

import pytest
import torch

import neoscope as ns
from neoscope.edits import ablate, mean_ablate, steer
from neoscope.errors import GenerationError
from tests.neoscope.generate.peers import prompts, ragged, random_pair, unique_token

EDITS = {
    "none": [],
    "kept": [steer("resid_post", 1, torch.linspace(-2, 2, 24))],
    "the last": [ablate("resid_post", 1, positions=-1)],
    "a mean at its own end": [mean_ablate("z", 0, positions=-1, reference=0.2 * torch.ones(3, 8))],
}


@pytest.fixture(scope="module")
def model() -> ns.HookedGPTNeo:
    return random_pair(1)[1]


@pytest.mark.parametrize("name", EDITS)
@pytest.mark.parametrize("beams", [1, 3])
def test_it_is_that_of_a_forward_over_everything(
    model: ns.HookedGPTNeo, name: str, beams: int
) -> None:
    ids, mask = prompts(model, 3, 8), ragged(8, [8, 3, 5], "left")
    options = {"max_new_tokens": 6, "eos_token_id": None, "num_beams": beams, "edits": EDITS[name]}
    end = unique_token(model.generate(ids, mask, **options)[:, 8:])[2]
    options |= {"eos_token_id": end, "pad_token_id": 59}
    result, cache = model.generate(ids, mask, return_type="result", return_cache=True, **options)
    assert len({len(new) for new in result.tokens}) > 1, "all rows are equally long: no test"
    for row, new in enumerate(result.tokens):
        whole = torch.tensor([[*ids[row, mask[row]].tolist(), *new]])
        _, alone = model.run_with_cache(whole, edits=EDITS[name])
        n = whole.shape[1]
        assert cache.tokens.ids[row, :n].tolist() == whole[0].tolist()
        assert cache.tokens.lengths[row] == n
        assert list(cache) == list(alone)
        for site, x in alone.items():
            part = cache[site][row]
            if "key" in cache.axes(site):
                part = part[:, :n, :n]
            elif site != "hook_pos_embed" or len(cache[site]) > 1:
                part = part[:n]
            torch.testing.assert_close(part, x[0], rtol=0, atol=2e-4, msg=site)


def test_an_edit_at_a_position_that_a_row_never_reached(model: ns.HookedGPTNeo) -> None:
    """A row that ends early has no such position; it is left as it is."""
    ids, edits = prompts(model, 2, 6), [ablate("resid_post", 0, positions=9)]
    out = model.generate(ids, max_new_tokens=6, edits=edits, eos_token_id=None)
    row, step, end = unique_token(out[:, 6:])
    assert step < 3
    text, cache = model.generate(
        ids, max_new_tokens=6, edits=edits, eos_token_id=end, return_cache=True
    )
    n, other = 7 + step, 1 - row
    assert not bool(cache["resid_post", 0][other, 9].any())
    assert cache.tokens.lengths[row] == n and cache.tokens.lengths[other] == 12
    _, alone = model.run_with_cache(text[row, :n])
    torch.testing.assert_close(
        cache["resid_post", 2][row, :n], alone["resid_post", 2][0], rtol=0, atol=1e-4
    )


def test_sites_and_layers_choose(model: ns.HookedGPTNeo) -> None:
    ids = prompts(model, 2, 6)
    out, cache = model.generate(
        ids, max_new_tokens=3, eos_token_id=None, return_cache=True, sites="z", layers=[0, 2]
    )
    assert list(cache) == ["blocks.0.attn.hook_z", "blocks.2.attn.hook_z"]
    assert cache["z", 2].shape[:2] == out.shape
    with pytest.raises(GenerationError, match="sites and layers say what return_cache=True keeps"):
        model.generate(ids, max_new_tokens=3, sites="z")


def test_texts_come_with_their_words() -> None:
    model = ns.load("organism")
    texts, cache = model.generate(
        ["The film was", "When Mary and John went to the store, John"],
        max_new_tokens=4, return_cache=True, sites="resid_post",
    )  # fmt: skip
    for text, strings in zip(texts, cache.tokens.strings, strict=True):
        assert "".join(strings).strip() == text
    assert cache.rows([0])["resid_post", 1].shape[0] == 1
    assert not cache["resid_post", 1].is_inference()
