"""A random checkpoint with a real tokenizer, and lm-evaluation-harness's own model of it."""

from __future__ import annotations

import json
import logging
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

import neoscope as ns
from neoscope import organism

N_CTX = 48


def make_checkpoint(folder: Path) -> Path:
    """Write random weights, large enough that texts differ, and the organism's tokenizer."""
    from transformers import GPTNeoConfig, GPTNeoForCausalLM

    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(organism.path() / name, folder / name)
    config = GPTNeoConfig(
        vocab_size=ns.load("organism").config.d_vocab,
        hidden_size=32,
        num_layers=4,
        attention_types=[[["global", "local"], 2]],
        num_heads=4,
        max_position_embeddings=N_CTX,
        window_size=6,
        initializer_range=0.3,
        bos_token_id=0,
        eos_token_id=0,
        resid_dropout=0.0,
        embed_dropout=0.0,
        attention_dropout=0.0,
    )
    with torch.random.fork_rng():
        torch.manual_seed(0)
        GPTNeoForCausalLM(config).save_pretrained(folder)
    return folder


def hf_model(folder: Path, batch_size: int = 7) -> Any:
    """lm-evaluation-harness's own model of a checkpoint."""
    import transformers
    from lm_eval.models.huggingface import HFLM

    logging.getLogger("lm_eval").setLevel(logging.ERROR)
    model = transformers.GPTNeoForCausalLM.from_pretrained(folder).eval()
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    # Its cache of logits reads the wrong row for texts that are one but cut at different places.
    return HFLM(
        pretrained=model,
        tokenizer=tokenizer,
        batch_size=batch_size,
        device="cpu",
        logits_cache=False,
    )


def asked(*pairs: tuple[Any, ...]) -> list[Any]:
    """Requests as lm-evaluation-harness makes them."""
    from lm_eval.api.instance import Instance

    return [Instance("loglikelihood", {}, pair, i) for i, pair in enumerate(pairs)]


def close(ours: Sequence[tuple[float, bool]], theirs: Sequence[tuple[float, bool]]) -> None:
    """Log-probabilities equal to 1e-4, and the same greedy answers."""
    found, expected = (np.array([score for score, _ in some]) for some in (ours, theirs))
    np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-4)
    assert [greedy for _, greedy in ours] == [greedy for _, greedy in theirs]


def write(path: Path, rows: Sequence[dict[str, Any]]) -> Path:
    """Write JSON lines."""
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path
