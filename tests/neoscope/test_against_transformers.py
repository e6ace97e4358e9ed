"""Logits, hidden states and attentions equal transformers' own GPT-Neo, on fifty random shapes."""

from __future__ import annotations

import random
import tempfile
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor
from transformers import GPTNeoConfig, GPTNeoForCausalLM

from neoscope.kv_cache import KVCache
from neoscope.model import HookedGPTNeo

ACTIVATIONS = ("gelu_new", "gelu", "relu", "silu", "gelu_fast", "gelu_pytorch_tanh", "quick_gelu")
LIMIT = 1e-5


def pair(seed: int) -> tuple[GPTNeoForCausalLM, HookedGPTNeo, random.Random]:
    """A random shape, in transformers and here."""
    draw = random.Random(seed)
    n_heads, d_head = draw.randint(1, 4), draw.choice((1, 3, 5, 8, 13, 16))
    n_layers = draw.randint(1, 4)
    hf_config = GPTNeoConfig(
        hidden_size=n_heads * d_head,
        num_heads=n_heads,
        num_layers=n_layers,
        attention_types=[[[draw.choice(("global", "local"))], 1] for _ in range(n_layers)],
        window_size=draw.choice((1, 2, 3, 7, 16, 64)),
        max_position_embeddings=draw.choice((32, 48, 160)),
        vocab_size=draw.choice((11, 60, 257)),
        intermediate_size=draw.choice((None, 7, 40)),
        activation_function=draw.choice(ACTIVATIONS),
        initializer_range=draw.choice((0.02, 0.2, 0.4)),
        layer_norm_epsilon=draw.choice((1e-5, 1e-3)),
        bos_token_id=0,
        eos_token_id=0,
    )
    torch.manual_seed(seed)
    theirs = GPTNeoForCausalLM(hf_config).eval()
    for parameter in theirs.parameters():
        if parameter.ndim == 1:  # biases and gains begin as constants: an error there would hide
            parameter.data += 0.3 * torch.randn_like(parameter)
    with tempfile.TemporaryDirectory() as folder:
        weights = {k: v for k, v in theirs.state_dict().items() if k != "lm_head.weight"}
        save_file(weights, Path(folder) / "model.safetensors")
        hf_config.save_pretrained(folder)
        return theirs, HookedGPTNeo.from_pretrained(folder), draw


def close(ours: Tensor, theirs: Tensor) -> None:
    """Within 1e-5 of the largest value."""
    error = (ours - theirs).abs().max() / theirs.abs().max()
    assert ours.shape == theirs.shape
    assert float(error) <= LIMIT


@pytest.mark.parametrize("seed", range(50))
@torch.no_grad()
def test_logits_equal_however_the_text_is_run(seed: int) -> None:
    theirs, ours, draw = pair(seed)
    n = draw.randint(2, ours.config.n_ctx)
    tokens = torch.randint(ours.config.d_vocab, (3, n))
    reference = theirs(tokens, output_hidden_states=True, output_attentions=True)
    close(ours(tokens), reference.logits)
    close(ours(tokens, return_type="hidden"), reference.hidden_states[-1])

    logits, cache = ours.run_with_cache(tokens)
    close(logits, reference.logits)
    for layer in range(ours.config.n_layers):
        close(cache["resid_pre", layer], reference.hidden_states[layer])
        close(cache["pattern", layer], reference.attentions[layer])

    past, pieces, at = KVCache(), [], 0
    while at < n:
        step = draw.choice((1, 1, 2, 5))
        pieces.append(ours(tokens[:, at : at + step], past=past))
        at += step
    close(torch.cat(pieces, dim=1), reference.logits)


@pytest.mark.parametrize("seed", range(50, 80))
@torch.no_grad()
def test_padding_on_either_side_equals_the_text_alone(seed: int) -> None:
    theirs, ours, draw = pair(seed)
    longest = draw.randint(3, ours.config.n_ctx)
    lengths = [longest, draw.randint(1, longest), draw.randint(1, longest)]
    rows = [torch.randint(ours.config.d_vocab, (n,)) for n in lengths]
    alone = [theirs(row[None]).logits[0] for row in rows]
    largest = max(float(x.abs().max()) for x in alone)
    for side in ("right", "left"):
        batch = torch.randint(ours.config.d_vocab, (3, longest))
        mask = torch.zeros(3, longest, dtype=torch.long)
        places = [slice(0, n) if side == "right" else slice(longest - n, longest) for n in lengths]
        for i, (row, place) in enumerate(zip(rows, places, strict=True)):
            batch[i, place], mask[i, place] = row, 1
        for logits in (ours(batch, mask), ours.run_with_cache(batch, mask)[0]):
            for i, place in enumerate(places):
                assert float((logits[i, place] - alone[i]).abs().max()) <= LIMIT * largest


@pytest.mark.parametrize("seed", range(80, 95))
@torch.no_grad()
def test_a_padded_kv_cache_equals_the_text_alone(seed: int) -> None:
    """A prompt padded on either side, then continued: the window must not count the padding."""
    theirs, ours, draw = pair(seed)
    total = draw.randint(6, ours.config.n_ctx - 4)
    prompt, short = total // 2, max(1, total // 2 - draw.randint(1, 4))
    tokens = torch.randint(ours.config.d_vocab, (2, total))
    rows = [tokens[0], torch.cat([tokens[1, :short], tokens[1, prompt:]])]
    alone = [theirs(row[None]).logits[0] for row in rows]
    largest = max(float(x.abs().max()) for x in alone)
    for side in ("right", "left"):
        first, mask = tokens[:, :prompt].clone(), torch.ones(2, prompt, dtype=torch.long)
        place = slice(0, short) if side == "right" else slice(prompt - short, prompt)
        mask[1] = 0
        mask[1, place] = 1
        first[1, place] = tokens[1, :short]
        past = KVCache()
        ours(first, mask, past=past)
        later = [ours(tokens[:, i : i + 1], past=past) for i in range(prompt, total)]
        logits = torch.cat(later, dim=1)
        for i, row in enumerate(alone):
            error = (logits[i] - row[-(total - prompt) :]).abs().max()
            assert float(error) <= LIMIT * largest


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@torch.no_grad()
def test_half_precision_stays_as_close_as_its_rounding(dtype: torch.dtype) -> None:
    theirs, ours, _ = pair(3)
    exact = theirs(tokens := torch.randint(ours.config.d_vocab, (2, 24))).logits
    error_theirs = (theirs.to(dtype)(tokens).logits.float() - exact).abs().max()
    error_ours = (ours.to(dtype)(tokens).float() - exact).abs().max()
    assert error_ours <= 1.5 * error_theirs + 1e-3


def test_gradients_equal_transformers() -> None:
    theirs, ours, _ = pair(7)
    tokens = torch.randint(ours.config.d_vocab, (2, 20))
    theirs(tokens, labels=tokens).loss.backward()
    ours(tokens, return_type="loss").backward()
    close(ours.embed.W_E.grad, theirs.transformer.wte.weight.grad)
    block, reference = ours.blocks[0], theirs.transformer.h[0]
    close(block.mlp.weight_in.grad, reference.mlp.c_fc.weight.grad)
    close(block.ln1.w.grad, reference.ln_1.weight.grad)
    attention = reference.attn.attention
    projections = (attention.q_proj, attention.k_proj, attention.v_proj)
    close(block.attn.weight_qkv.grad, torch.cat([p.weight.grad for p in projections]))


@torch.no_grad()
def test_loss_equals_transformers_with_and_without_padding() -> None:
    theirs, ours, _ = pair(11)
    tokens = torch.randint(ours.config.d_vocab, (2, 20))
    assert ours(tokens, return_type="loss").item() == pytest.approx(
        theirs(tokens, labels=tokens).loss.item(), abs=1e-5
    )
    mask = torch.ones_like(tokens)
    mask[1, 12:] = 0
    loss = ours(tokens, mask, return_type="loss", loss_per_token=True)
    labels = tokens.masked_fill(mask == 0, -100)
    expected = theirs(tokens, attention_mask=mask, labels=labels).loss
    assert ours(tokens, mask, return_type="loss").item() == pytest.approx(expected.item(), abs=1e-5)
    assert float(loss[1, 11:].abs().sum()) == 0


@pytest.mark.gpu
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@torch.no_grad()
def test_cuda_equals_cpu(dtype: torch.dtype) -> None:
    _, ours, _ = pair(5)
    tokens = torch.randint(ours.config.d_vocab, (3, ours.config.n_ctx))
    exact = ours(tokens)
    on_gpu = ours.to("cuda", dtype)
    limit = {torch.float32: 1e-4}.get(dtype, 5e-2)
    for logits in (on_gpu(tokens), on_gpu.run_with_cache(tokens)[0]):
        assert float((logits.float().cpu() - exact).abs().max() / exact.abs().max()) <= limit
