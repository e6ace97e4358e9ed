"""Loading holds little more than the parameters."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from transformers import GPTNeoConfig, GPTNeoForCausalLM

from neoscope.checkpoint import find
from neoscope.config import NeoConfig
from tests.neoscope.checkpoints import (
    Weights,
    params_for,
    tiny_model,
    write,
)


@pytest.fixture(scope="module")
def model() -> GPTNeoForCausalLM:
    return tiny_model()


@pytest.fixture
def weights(model: GPTNeoForCausalLM) -> Weights:
    """What save_pretrained stores: lm_head is wte and is left out."""
    state = {key: value.clone() for key, value in model.state_dict().items()}
    del state["lm_head.weight"]
    return state


# What it costs
MEASURE = """
import json, sys, torch
from neoscope.checkpoint import find, load_weights

def kilobytes(key):
    # ru_maxrss would begin at the size of the process that started this one.
    lines = open("/proc/self/status").read().splitlines()
    return int(next(line.split()[1] for line in lines if line.startswith(key)))

def load(folder):
    checkpoint = find(folder)
    shapes = json.load(open(folder + "/shapes.json"))
    params = {name: torch.empty(shape, dtype=dtype) for name, shape in shapes.items()}
    load_weights(checkpoint, params)
    return params

large, tiny, dtype = sys.argv[1], sys.argv[2], getattr(torch, sys.argv[3])
load(tiny)  # so that the code that runs is part of the baseline
baseline = kilobytes("VmRSS:")
params = load(large)
size = sum(value.nbytes for value in params.values())
peak = (kilobytes("VmHWM:") - baseline) * 1024
print(peak / size)
"""


@pytest.fixture(scope="module")
def large_weights() -> Weights:
    """175 MB in the proportions of the 125M, with old mask buffers and a tied lm_head on top."""
    config = NeoConfig(n_layers=4, d_vocab=20_000)
    torch.manual_seed(0)
    shapes = GPTNeoForCausalLM._from_config(GPTNeoConfig(**config.to_hf()), dtype=torch.float32)
    state = {key: value.detach() for key, value in shapes.state_dict().items()}
    state["lm_head.weight"] = state["lm_head.weight"].clone()
    return state | {"transformer.h.0.attn.attention.bias": torch.ones(1, 1, 2048, 2048).byte()}


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
@pytest.mark.parametrize(
    ("form", "dtype"), [("safetensors", "float32"), ("safetensors", "float16"), ("zip", "float32")]
)
def test_peak_memory_is_that_of_the_parameters(
    large_weights: Weights, weights: Weights, form: str, dtype: str, tmp_path: Path
) -> None:
    config = NeoConfig(n_layers=4, d_vocab=20_000).to_hf()
    large = write(tmp_path / "large", large_weights, form, **config)
    tiny = write(tmp_path / "tiny", weights, form)
    for folder in (large, tiny):
        params = params_for(find(folder).config)
        shapes = {name: list(value.shape) for name, value in params.items()}
        (folder / "shapes.json").write_text(json.dumps(shapes))
    command = [sys.executable, "-c", MEASURE, str(large), str(tiny), dtype]
    root = Path(__file__).parents[2]
    result = subprocess.run(command, cwd=root, capture_output=True, text=True, check=True)
    assert float(result.stdout) <= 1.2, result.stdout
