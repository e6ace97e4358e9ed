"""Screening finds the token that a full float32 product finds, whatever the weights."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

import neoscope as ns
from neoscope.generate import screen as screening
from neoscope.generate.screen import Screen, screen_for
from neoscope.linear import has_onednn, linear
from tests.neoscope.generate.peers import prompts, random_pair, theirs

pytestmark = pytest.mark.skipif(
    not (has_onednn() and torch.ops.mkldnn._is_mkldnn_bf16_supported()),
    reason="no bfloat16 kernels here",
)


@pytest.fixture
def pair(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setattr(screening, "_FEWEST_TOKENS", 0)
    monkeypatch.setattr(screening, "_FEWEST_STEPS", 0)
    return random_pair(2, d_vocab=500)


def rows_of(kind: str, n: int, d: int, seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    rows = torch.randn(n, d, generator=generator)
    if kind == "offset":  # as GPT-Neo's: one great mean, small differences
        rows = 0.3 * rows + 4 * torch.randn(d, generator=generator)
    elif kind == "near ties":
        rows = rows[:1] + 1e-4 * rows
    elif kind == "equal rows":
        rows[n // 2 :] = rows[: n - n // 2].clone()
    elif kind == "outliers":
        rows[::7] *= 100
    elif kind == "huge":
        rows = rows * 1e4
    elif kind == "tiny":
        rows = rows * 1e-6
    return rows


@settings(max_examples=60, deadline=None)
@given(
    kind=st.sampled_from(
        ["plain", "offset", "near ties", "equal rows", "outliers", "huge", "tiny"]
    ),
    n=st.integers(2, 300),
    d=st.sampled_from([8, 24, 33, 64]),
    batch=st.integers(1, 6),
    seed=st.integers(0, 10**6),
    scale=st.sampled_from([1e-3, 1.0, 50.0]),
)
def test_its_token_has_the_highest_exact_logit(
    kind: str, n: int, d: int, batch: int, seed: int, scale: float
) -> None:
    rows = rows_of(kind, n, d, seed)
    hidden = scale * torch.randn(batch, d, generator=torch.Generator().manual_seed(seed + 1))
    found = Screen(rows).argmax(hidden, rows)
    assert found is not None
    exact = hidden.double() @ rows.double().T
    reached = exact.gather(1, found[:, None])[:, 0]
    # What float32 can tell apart: a full float32 product would do no better.
    blur = 4 * d * 2**-24 * hidden.double().norm(dim=1) * rows.double().norm(dim=1).max()
    assert bool((exact.amax(1) - reached <= blur).all())
    equal = (rows[found][:, None] == rows).all(-1)
    assert torch.equal(equal.int().argmax(1), found), "of equals the lowest id wins"


def test_few_tokens_are_looked_at_exactly() -> None:
    rows = rows_of("plain", 20_000, 64, 0)
    screen, seen = Screen(rows), []

    class Counting(torch.Tensor):
        def __getitem__(self, index: Any) -> Any:
            seen.append(len(index))
            return self.as_subclass(torch.Tensor)[index]

    screen.argmax(torch.randn(1, 64), rows.as_subclass(Counting))
    assert 1 <= seen[0] < 200


def test_generation_with_it_is_theirs(pair: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    hf, model = pair
    used = []
    argmax = Screen.argmax
    monkeypatch.setattr(Screen, "argmax", lambda *a: used.append(1) or argmax(*a))
    for rows in (1, 3):
        ids = prompts(model, rows, 6)
        ours = model.generate(ids, max_new_tokens=30)
        assert torch.equal(ours, theirs(hf, ids, max_new_tokens=30, do_sample=False))
    assert len(used) >= 30


def test_it_is_left_out_where_all_logits_count(pair: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any) -> None:
        raise AssertionError("screened")

    monkeypatch.setattr(Screen, "argmax", fail)
    model, ids = pair[1], prompts(pair[1], 1, 6)
    model.generate(ids, do_sample=True, seed=0)
    model.generate(ids, num_beams=2)
    model.generate(ids, repetition_penalty=1.2)
    model.generate(ids, return_type="result")
    handle = model.unembed.register_forward_hook(lambda m, a, out: -out)
    try:
        model.generate(ids)
    finally:
        handle.remove()
    with pytest.raises(AssertionError, match="screened"):
        model.generate(ids)


def test_changed_weights_are_seen(pair: Any) -> None:
    hf, model = (copy.deepcopy(part) for part in pair)
    ids = prompts(model, 2, 6)
    before = model.generate(ids, max_new_tokens=30)
    first = screen_for(model, 30)
    assert first is not None and screen_for(model, 30) is first
    with torch.no_grad():
        model.embed.W_E.data[3] *= -4.0  # no version counter sees this
        hf.transformer.wte.weight.data[3] *= -4.0
    assert screen_for(model, 30) is not first
    after = model.generate(ids, max_new_tokens=30)
    assert not torch.equal(before, after)
    assert torch.equal(after, theirs(hf, ids, max_new_tokens=30, do_sample=False))


def test_it_gives_up_where_too_many_tokens_are_near() -> None:
    rows = rows_of("near ties", 3000, 16, 0)
    screen = Screen(rows)
    hidden = rows[:1].roll(1)
    screen._bound[:] = 1e9  # nothing can be told apart
    for _ in range(screening._PATIENCE):
        assert screen.helps
        assert screen.argmax(hidden, rows) is None
    assert not screen.helps


def test_logits_that_are_no_numbers_are_left_to_the_full_product() -> None:
    rows = rows_of("plain", 50, 16, 0)
    hidden = torch.randn(2, 16)
    hidden[1, 3] = float("nan")
    assert Screen(rows).argmax(hidden, rows) is None


def test_small_models_and_short_texts_do_without() -> None:
    model: ns.HookedGPTNeo = random_pair(1)[1]
    assert screen_for(model, 1000) is None


@pytest.mark.parametrize("rows", [1, 2, 3, 4, 8, 31, 32])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("bias", [False, True])
def test_every_product_is_the_same_product(rows: int, dtype: torch.dtype, bias: bool) -> None:
    generator = torch.Generator().manual_seed(rows)
    x, weight = (torch.randn(n, 48, generator=generator).to(dtype) for n in (rows, 37))
    offset = torch.randn(37, generator=generator).to(dtype) if bias else None
    due = x.double() @ weight.double().T + (0 if offset is None else offset.double())
    for shape in ((rows,), (1, rows), (rows, 1)):
        with torch.inference_mode():
            found = linear(x.view(*shape, 48), weight, offset)
        assert found.shape == (*shape, 37) and found.dtype == dtype
        limit = 1e-5 if dtype == torch.float32 else 2e-2
        assert float((found.view(rows, 37) - due).abs().max() / due.abs().max()) < limit
