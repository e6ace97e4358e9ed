"""The parts of compiled models refuse what would give a model that does not load or work."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from neoscope.config import NeoConfig
from neoscope.errors import ArgumentError
from neoscope.model import HookedGPTNeo
from neoscope.organism.compiled import building
from neoscope.organism.compiled.folder import write

CONFIG = NeoConfig(
    n_layers=2, d_model=8, n_heads=2, n_ctx=4, d_vocab=3, bos_token_id=0, eos_token_id=0
)
WORDS = ("<|endoftext|>", "a", "b")


def test_model_of_zeros_loads_and_does_nothing(tmp_path: Path) -> None:
    weights = building.zero_weights(CONFIG)
    assert sum(weight.numel() for weight in weights.values()) == CONFIG.n_params
    files = building.checkpoint_files(CONFIG, weights, WORDS)
    assert list(files)[-1] == "config.json"
    model = HookedGPTNeo.from_pretrained(write(tmp_path / "m", files, repair=False))
    assert model.config == CONFIG
    with torch.no_grad():
        logits, cache = model.run_with_cache("<|endoftext|> a b")
    assert not logits.any()
    assert not any(cache["resid_post", layer].any() for layer in range(2))


def test_antipodal_features_have_mean_zero_and_equal_norms() -> None:
    rows = building.antipodal(12, 2, 5)
    assert rows.shape == (3, 12)
    assert not rows.sum(dim=1).any()
    assert torch.equal(rows @ rows.T, 2 * torch.eye(3))
    assert torch.equal(rows[:, 2:5], torch.eye(3))


@pytest.mark.parametrize("space", [(7, 0, 2), (8, 0, 5), (8, 3, 2), (8, -1, 2)])
def test_space_outside_the_lower_half_is_refused(space: tuple[int, int, int]) -> None:
    with pytest.raises(ArgumentError, match=f"d_model {space[0]}; expected 0 <= start"):
        building.antipodal(*space)


@pytest.mark.parametrize("words", [(), ("a", "a"), ("a", "b c"), ("a", "")])
def test_words_that_cannot_be_told_apart_are_refused(words: tuple[str, ...]) -> None:
    with pytest.raises(ArgumentError, match="expected at least one, all different"):
        building.word_tokenizer(words)


def test_words_that_are_not_the_vocabulary_are_refused() -> None:
    with pytest.raises(ArgumentError, match="there are 2 words; expected d_vocab, 3"):
        building.checkpoint_files(CONFIG, building.zero_weights(CONFIG), WORDS[:2])
