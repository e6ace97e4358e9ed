"""The compiled induction model, run by plain transformers, does exactly what its truth says."""

from __future__ import annotations

import dataclasses
import inspect
import json
from pathlib import Path
from typing import Any, Literal

import pytest
import torch
import transformers
from safetensors.torch import load_file

from neoscope.config import NeoConfig
from neoscope.errors import ArgumentError
from neoscope.organism import compiled
from neoscope.organism.compiled import INDUCTION_TRUTH as TRUTH

N_HEADS, D_HEAD = 4, 44
HEADS = [(layer, head) for layer in range(2) for head in range(N_HEADS)]


def load(folder: Path) -> Any:
    return transformers.GPTNeoForCausalLM.from_pretrained(folder, attn_implementation="eager")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return compiled.write_induction(tmp_path_factory.mktemp("compiled") / "induction")


@pytest.fixture(scope="module")
def model(folder: Path) -> Any:
    return load(folder)


def accuracy(model: Any, tokens: torch.Tensor) -> float:
    """Share of next words predicted by the words of the second copy that have one."""
    with torch.inference_mode():
        predicted = model(tokens).logits.argmax(-1)
    query = torch.arange(1 + TRUTH.period, tokens.shape[1] - 1)
    return float((predicted[:, query] == tokens[:, query + 1]).double().mean())


def run(
    model: Any, tokens: torch.Tensor, head: tuple[int, int] | None = None, z: Any = None
) -> tuple[torch.Tensor, dict[tuple[int, int], torch.Tensor]]:
    """Return last logits and each head's z, ``head``'s replaced by ``z`` where given."""
    seen: dict[tuple[int, int], torch.Tensor] = {}
    handles = []
    for layer, block in enumerate(model.transformer.h):

        def hook(_: Any, args: Any, layer: int = layer) -> Any:
            split = list(args[0].split(D_HEAD, dim=-1))
            if head is not None and head[0] == layer:
                split[head[1]] = z
            seen.update({(layer, i): part for i, part in enumerate(split)})
            return (torch.cat(split, dim=-1),)

        handles.append(block.attn.attention.out_proj.register_forward_pre_hook(hook))
    try:
        return model(tokens).logits[:, -1], seen
    finally:
        for handle in handles:
            handle.remove()


def logit_diff(logits: torch.Tensor, asked: compiled.InductionPairs) -> torch.Tensor:
    rows = torch.arange(len(logits))
    return logits[rows, asked.answer] - logits[rows, asked.wrong]


def test_repeated_repeats_every_word_once() -> None:
    tokens = compiled.repeated(64, seed=3)
    first, second = tokens[:, 1:].chunk(2, dim=1)
    assert tokens.shape == (64, 31)
    assert tokens.dtype == torch.int64
    assert (tokens[:, 0] == TRUTH.bos).all()
    assert torch.equal(first, second)
    assert torch.equal(first.sort(dim=1).values, torch.arange(1, 16).expand(64, 15))
    assert torch.equal(tokens, compiled.repeated(64, seed=3))
    assert not torch.equal(tokens, compiled.repeated(64, seed=4))


@pytest.mark.parametrize("n", [0, -1, True, "4", 2.0, None])
def test_no_prompts_are_refused(n: Any) -> None:
    for function, more in ((compiled.repeated, ()), (compiled.pairs, ("key",))):
        asked: Any = inspect.unwrap(function)
        with pytest.raises(ArgumentError, match=f"n is {n!r}; expected a whole number, at least 1"):
            asked(n, *more)


@pytest.mark.parametrize("seed", [True, "1", 1.5, None, 2**64])
def test_seeds_are_whole_numbers(seed: Any) -> None:
    for function, args in (
        (compiled.repeated, (1,)),
        (compiled.duplicate_pairs, (1,)),
        (compiled.outlier_prompts, ()),
    ):
        asked: Any = inspect.unwrap(function)
        with pytest.raises(ArgumentError, match=f"seed is {seed!r}; expected a whole number"):
            asked(*args, seed=seed)


@pytest.mark.parametrize("corruption", ["value", "key"])
def test_pairs_differ_in_the_one_word_named(corruption: Literal["value", "key"]) -> None:
    asked = compiled.pairs(16, corruption)
    changed = getattr(TRUTH, corruption).changed
    where = (asked.clean != asked.corrupted).nonzero()
    assert where[:, 0].tolist() == list(range(16))
    assert set(where[:, 1].tolist()) == {changed}
    assert torch.equal(asked.answer, compiled.repeated(16)[:, asked.clean.shape[1]])
    assert (asked.wrong != asked.answer).all()
    assert (asked.wrong != asked.clean[:, -1]).all()


def test_pairs_refuses_an_unknown_corruption() -> None:
    # Unwrapped, because beartype would be faster to see the mistake.
    pairs: Any = inspect.unwrap(compiled.pairs)
    with pytest.raises(ArgumentError, match="'both'; expected 'value' or 'key'"):
        pairs(1, "both")


def test_checkpoint_has_hugging_face_layout(folder: Path) -> None:
    assert {path.name for path in folder.iterdir()} == {
        "config.json",
        "model.safetensors",
        "tokenizer.json",
        "tokenizer_config.json",
    }
    raw = json.loads((folder / "config.json").read_text())
    config = NeoConfig.from_hf(raw)
    assert raw["model_type"] == "gpt_neo"
    assert raw == json.loads(json.dumps(config.to_hf()))
    assert (config.d_model, config.n_heads, config.d_head, config.n_ctx) == (176, 4, 44, 40)
    weights = load_file(folder / "model.safetensors")
    assert sum(weight.numel() for weight in weights.values()) == config.n_params
    assert {weight.dtype for weight in weights.values()} == {torch.float32}
    assert "lm_head.weight" not in weights


def test_checkpoint_loads_with_no_key_missing_or_left(folder: Path) -> None:
    loaded: Any = transformers.GPTNeoForCausalLM.from_pretrained(folder, output_loading_info=True)
    _, info = loaded
    assert not any(info[kind] for kind in ("missing_keys", "unexpected_keys", "mismatched_keys"))


def test_induction_predicts_every_repeated_word(model: Any) -> None:
    assert accuracy(model, compiled.repeated(64)) == TRUTH.accuracy == 1.0


@pytest.mark.parametrize("sharpness", [60.0, 8.0])
def test_heads_attend_where_the_truth_says(tmp_path: Path, sharpness: float) -> None:
    tokens = compiled.repeated(64)
    with torch.inference_mode():
        patterns = load(compiled.write_induction(tmp_path / "m", sharpness=sharpness))(
            tokens, output_attentions=True
        ).attentions
    layer, head = TRUTH.previous_token
    previous = patterns[layer][:, head].diagonal(offset=-1, dim1=1, dim2=2)
    layer, head = TRUTH.induction
    found = patterns[layer][:, head].diagonal(offset=-(TRUTH.period - 1), dim1=1, dim2=2)
    found = found[:, 2:]  # The first query of the second copy is position 16, whose key is 2.
    assert found.shape == (64, 15)
    torch.testing.assert_close(previous, torch.ones_like(previous), atol=1e-6, rtol=0)
    torch.testing.assert_close(found, torch.ones_like(found), atol=1e-6, rtol=0)


def test_dead_heads_contribute_exactly_zero(model: Any) -> None:
    with torch.inference_mode():
        _, z = run(model, compiled.repeated(4))
    assert set(HEADS) - {TRUTH.previous_token, TRUTH.induction} == set(TRUTH.dead)
    for layer, head in TRUTH.dead:
        columns = slice(head * D_HEAD, (head + 1) * D_HEAD)
        w_o = model.transformer.h[layer].attn.attention.out_proj.weight[:, columns]
        assert not w_o.any()
        assert not z[layer, head].any()


def test_mlps_and_biases_contribute_exactly_zero(model: Any) -> None:
    for block in model.transformer.h:
        assert not block.mlp(torch.randn(3, 176)).any()
        assert not block.attn.attention.out_proj.bias.any()


@pytest.mark.parametrize("window", [8, 14])
def test_short_window_makes_induction_fail(tmp_path: Path, window: int) -> None:
    model, tokens = (
        load(compiled.write_induction(tmp_path / "m", window=window)),
        compiled.repeated(64),
    )
    with torch.inference_mode():
        patterns = model(tokens, output_attentions=True).attentions
    assert window < TRUTH.min_window
    assert accuracy(model, tokens) == 0.0
    assert not patterns[1].tril(-window).any()
    assert patterns[1].tril(-(window - 1)).any()
    assert torch.equal(patterns[0][:, 0, 1:].argmax(-1), torch.arange(30).expand(64, 30))


def test_least_window_and_full_window_make_induction_work(tmp_path: Path, model: Any) -> None:
    tokens = compiled.repeated(64)
    least = load(compiled.write_induction(tmp_path / "a", window=TRUTH.min_window))
    full = load(compiled.write_induction(tmp_path / "b", window=40))
    assert accuracy(least, tokens) == 1.0
    with torch.inference_mode():
        assert torch.equal(full(tokens).logits, model(tokens).logits)


@pytest.mark.parametrize("corruption", ["value", "key"])
def test_logit_differences_are_the_truths(model: Any, corruption: Literal["value", "key"]) -> None:
    asked, truth = compiled.pairs(32, corruption), getattr(TRUTH, corruption)
    with torch.inference_mode():
        for tokens, expected in ((asked.clean, truth.clean), (asked.corrupted, truth.corrupted)):
            found = logit_diff(run(model, tokens)[0], asked)
            torch.testing.assert_close(found, torch.full_like(found, expected), atol=1e-5, rtol=0)
    assert truth.clean == pytest.approx(9.4178764, abs=1e-7)


def test_logit_difference_is_written_by_the_induction_head_alone(model: Any) -> None:
    asked = compiled.pairs(8, "value")
    with torch.inference_mode():
        _, z = run(model, asked.clean)
        wte, norm = model.transformer.wte.weight, model.transformer.ln_f
        axis = (wte[asked.answer] - wte[asked.wrong]) * norm.weight
        states: list[torch.Tensor] = []
        handle = norm.register_forward_pre_hook(lambda _, args: states.append(args[0][:, -1]))
        model(asked.clean)
        handle.remove()
        scale = (states[0].var(-1, correction=0) + norm.eps).sqrt()
        for layer, head in HEADS:
            columns = slice(head * D_HEAD, (head + 1) * D_HEAD)
            w_o = model.transformer.h[layer].attn.attention.out_proj.weight[:, columns]
            result = z[layer, head][:, -1] @ w_o.T
            direct = ((result - result.mean(-1, keepdim=True)) * axis).sum(-1) / scale
            expected = torch.full_like(direct, TRUTH.direct[layer][head])
            torch.testing.assert_close(direct, expected, atol=1e-5, rtol=0)


@pytest.mark.parametrize("corruption", ["value", "key"])
def test_patching_effects_are_the_truths(model: Any, corruption: Literal["value", "key"]) -> None:
    asked, truth = compiled.pairs(8, corruption, seed=1), getattr(TRUTH, corruption)
    with torch.inference_mode():
        _, clean = run(model, asked.clean)
        _, corrupted = run(model, asked.corrupted)
        for layer, head in HEADS:
            for tokens, source, expected in (
                (asked.corrupted, clean, truth.denoise[layer][head]),
                (asked.clean, corrupted, truth.noise[layer][head]),
            ):
                found = logit_diff(run(model, tokens, (layer, head), source[layer, head])[0], asked)
                effect = (found - truth.corrupted) / (truth.clean - truth.corrupted)
                wanted = torch.full_like(effect, expected)
                torch.testing.assert_close(effect, wanted, atol=1e-6, rtol=0)


@pytest.mark.parametrize("corruption", ["value", "key"])
def test_first_order_effects_are_the_truths(
    model: Any, corruption: Literal["value", "key"]
) -> None:
    asked, truth = compiled.pairs(8, corruption, seed=2), getattr(TRUTH, corruption)
    with torch.no_grad():
        _, clean = run(model, asked.clean)
    logits, corrupted = run(model, asked.corrupted)
    gradients = torch.autograd.grad(
        logit_diff(logits, asked).sum(), [corrupted[head] for head in HEADS]
    )
    for (layer, head), gradient in zip(HEADS, gradients, strict=True):
        change = clean[layer, head] - corrupted[layer, head].detach()
        effect = (change * gradient).sum((1, 2)) / (truth.clean - truth.corrupted)
        wanted = torch.full_like(effect, truth.first_order[layer][head])
        torch.testing.assert_close(effect, wanted, atol=1e-5, rtol=1e-5)


def test_spaces_hold_what_the_truth_says(model: Any) -> None:
    tokens = compiled.repeated(8)
    with torch.inference_mode():
        states = model(tokens, output_hidden_states=True).hidden_states
    for depth in (0, 1):
        assert torch.equal(states[depth][..., slice(*TRUTH.tok)].argmax(-1), tokens)
        positions = states[depth][..., slice(*TRUTH.pos)].argmax(-1)
        assert torch.equal(positions, torch.arange(31).expand(8, 31))
        assert torch.equal(states[depth][..., :88], -states[depth][..., 88:])
    assert not states[0][..., slice(*TRUTH.prev)].any()
    assert torch.equal(states[1][:, 1:, slice(*TRUTH.prev)].argmax(-1), tokens[:, :-1])


def test_truth_is_plain_json() -> None:
    fields = dataclasses.asdict(TRUTH)
    assert json.loads(json.dumps(fields))["value"]["denoise"] == [[0.0] * 4, [1.0, 0.0, 0.0, 0.0]]
    assert isinstance(hash(TRUTH), int)
