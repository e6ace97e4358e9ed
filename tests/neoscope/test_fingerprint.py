from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

import neoscope as ns
from neoscope.fingerprint import remembered_fingerprint
from neoscope.model import HookedGPTNeo


def _model() -> HookedGPTNeo:
    config = ns.NeoConfig(n_layers=2, d_model=8, n_heads=2, n_ctx=16, d_vocab=10)
    return HookedGPTNeo.from_config(config, seed=1)


def _in_place(model: HookedGPTNeo) -> None:
    with torch.no_grad():
        model.blocks[0].mlp.weight_in[3, 5] += 1


def _through_data(model: HookedGPTNeo) -> None:
    model.blocks[1].mlp.b_in.data.mul_(2).add_(1)


def _loaded(model: HookedGPTNeo) -> None:
    other = HookedGPTNeo.from_config(model.config, seed=2)
    model.load_state_dict(other.state_dict())


@pytest.mark.parametrize("write", [_in_place, _through_data, _loaded])
def test_a_written_model_is_hashed_anew(write: Callable[[HookedGPTNeo], None]) -> None:
    model = _model()
    before = remembered_fingerprint(model, model.config)
    assert before == model.fingerprint() == remembered_fingerprint(model, model.config)
    write(model)
    assert remembered_fingerprint(model, model.config) == model.fingerprint() != before


def test_a_fingerprint_that_tells_models_apart_reads_every_byte() -> None:
    """One value of a large tensor, written so that torch does not count it."""
    config = ns.NeoConfig(n_layers=1, d_model=64, n_heads=2, n_ctx=16, d_vocab=100)
    model = HookedGPTNeo.from_config(config, seed=1)
    remembered_fingerprint(model, config)
    before = model.fingerprint()
    model.blocks[0].mlp.weight_in.data[7, 5] += 1
    assert model.fingerprint() != before
