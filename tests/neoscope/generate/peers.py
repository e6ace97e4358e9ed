"""Models that exist twice: here, and as transformers' own."""

from __future__ import annotations

import functools
import tempfile
import warnings
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import GPTNeoConfig, GPTNeoForCausalLM
from transformers.utils import logging

import neoscope as ns
from neoscope import organism

Pair = tuple[GPTNeoForCausalLM, ns.HookedGPTNeo]
EOS = 7


@functools.cache
def random_pair(seed: int = 0, d_vocab: int = 60, n_ctx: int = 64) -> Pair:
    """A model whose text varies: weights wide enough that no token repeats for ever."""
    logging.disable_progress_bar()
    config = GPTNeoConfig(
        hidden_size=24,
        num_heads=3,
        num_layers=3,
        attention_types=[[["global", "local", "local"], 1]],
        window_size=5,
        max_position_embeddings=n_ctx,
        vocab_size=d_vocab,
        initializer_range=0.35,
        bos_token_id=EOS,
        eos_token_id=EOS,
    )
    torch.manual_seed(seed)
    theirs = GPTNeoForCausalLM(config).eval()
    with tempfile.TemporaryDirectory() as folder:
        theirs.save_pretrained(folder)
        # transformers' loading keeps what a fresh model lacks: the defaults of generation.
        theirs = GPTNeoForCausalLM.from_pretrained(folder, attn_implementation="eager").eval()
        ours = ns.HookedGPTNeo.from_pretrained(folder)
    ours.checkpoint = None  # its folder is gone
    return theirs, ours


@functools.cache
def trained_pair() -> Pair:
    """The bundled organism."""
    logging.disable_progress_bar()
    folder: Path = organism.path()
    theirs = GPTNeoForCausalLM.from_pretrained(folder, attn_implementation="eager").eval()
    return theirs, ns.load("organism")


def theirs(
    model: GPTNeoForCausalLM, ids: Tensor, mask: Tensor | None = None, **options: Any
) -> Tensor:
    """Generate with transformers, its recommendations unheard."""
    if mask is None:
        mask = torch.ones_like(ids)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return model.generate(ids, attention_mask=mask.long(), **options)


def prompts(model: ns.HookedGPTNeo, rows: int, pos: int, seed: int = 0) -> Tensor:
    """Random ids without the end of text."""
    generator = torch.Generator().manual_seed(seed)
    ids = torch.randint(1, model.config.d_vocab, (rows, pos), generator=generator)
    return torch.where(ids == EOS, EOS + 1, ids)


def ragged(pos: int, lengths: list[int], side: str) -> Tensor:
    """A mask with so many real tokens in each row."""
    column, n = torch.arange(pos), torch.tensor(lengths)[:, None]
    return column < n if side == "right" else column >= pos - n


def moved(ids: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
    """The same left-padded texts with their padding on the right."""
    order = torch.sort((~mask).to(torch.int8), dim=1, stable=True).indices
    return ids.gather(1, order), mask.gather(1, order)


def unique_token(new: Tensor) -> tuple[int, int, int]:
    """Row, step and id of a new token that comes once in all rows, neither first nor last."""
    for step in range(1, new.shape[1] - 2):
        for row in range(len(new)):
            if int((new == new[row, step]).sum()) == 1:
                return row, step, int(new[row, step])
    raise AssertionError("every token comes twice")
