"""Texts packed into one row give what each gives alone."""

from __future__ import annotations

from itertools import pairwise

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

import neoscope as ns
from neoscope.packed import Packed

CONFIG = ns.NeoConfig(
    n_layers=3, d_model=24, n_heads=3, n_ctx=160, d_vocab=50, window_size=5, init_range=0.3
)
MODEL = ns.HookedGPTNeo.from_config(CONFIG)
SLACKS = (0.0, 0.125, 0.5, 1.0)
CPU = torch.device("cpu")


def texts_of(lengths: list[int], seed: int = 0) -> list[Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return [torch.randint(CONFIG.d_vocab, (n,), generator=generator) for n in lengths]


def packed_run(model: ns.HookedGPTNeo, texts: list[Tensor], slack: float) -> Tensor:
    packed = Packed([len(text) for text in texts], CPU, slack=slack)
    out: Tensor = model(torch.cat(texts)[None], return_type="hidden", _visibility=packed)[0]
    return out


def alone(model: ns.HookedGPTNeo, texts: list[Tensor]) -> Tensor:
    return torch.cat([model(text[None], return_type="hidden")[0] for text in texts])


def close(found: Tensor, reference: Tensor, limit: float = 1e-5) -> None:
    assert found.shape == reference.shape
    error = (found - reference).abs().max() / reference.abs().max()
    assert float(error) <= limit


LENGTHS = st.lists(st.integers(1, 24), min_size=1, max_size=8)


@given(LENGTHS, st.sampled_from(SLACKS), st.integers(0, 3))
@settings(max_examples=25)
@torch.no_grad()
def test_a_packed_forward_equals_each_text_alone(
    lengths: list[int], slack: float, seed: int
) -> None:
    texts = texts_of(lengths, seed)
    close(packed_run(MODEL, texts, slack), alone(MODEL, texts))


@pytest.mark.parametrize("slack", SLACKS)
@pytest.mark.parametrize("window", [1, 4, 129, 1000])
@torch.no_grad()
def test_texts_longer_than_a_block_of_queries_keep_their_window(window: int, slack: float) -> None:
    # A window is walked in blocks of at least 128 queries.
    model = ns.HookedGPTNeo.from_config(
        ns.NeoConfig(**{**vars(CONFIG), "attention_layers": None, "window_size": window})
    )
    texts = texts_of([160, 160, 150, 131, 5, 1])
    close(packed_run(model, texts, slack), alone(model, texts))


@pytest.mark.parametrize("slack", SLACKS)
def test_gradients_are_those_of_each_text_alone(slack: float) -> None:
    texts = texts_of([7, 7, 6, 1, 9])
    weights = torch.randn(30, CONFIG.d_model, generator=torch.Generator().manual_seed(1))
    grads = []
    for out in (packed_run(MODEL, texts, slack), alone(MODEL, texts)):
        loss = (out * weights).sum()
        grads.append(torch.autograd.grad(loss, list(MODEL.parameters())))
    for found, reference in zip(*grads, strict=True):
        close(found, reference, 2e-5)


@torch.no_grad()
def test_the_order_of_texts_does_not_matter() -> None:
    texts = texts_of([3, 9, 3, 9, 1])
    forth = packed_run(MODEL, texts, 0.0).split([len(t) for t in texts])
    back = packed_run(MODEL, texts[::-1], 0.0).split([len(t) for t in texts[::-1]])
    for found, reference in zip(back[::-1], forth, strict=True):
        close(found, reference)


@torch.no_grad()
def test_materialised_attention_sees_the_same() -> None:
    texts = texts_of([6, 2, 2, 11])
    plain = packed_run(MODEL, texts, 0.0)
    seen = []
    site = MODEL.blocks[1].attn.hook_pattern
    site.add_hook(lambda x, hook: seen.append(x) or x)
    try:
        close(packed_run(MODEL, texts, 0.0), plain)
    finally:
        MODEL.reset_hooks()
    (pattern,) = seen
    text = torch.arange(4).repeat_interleave(torch.tensor([6, 2, 2, 11]))
    column = torch.arange(21)
    near = (column[:, None] - column[None] < CONFIG.window_size) & (column[:, None] >= column[None])
    allowed = near & (text[:, None] == text[None])
    assert bool((pattern[0][:, ~allowed] == 0).all())
    torch.testing.assert_close(pattern[0].sum(-1), torch.ones(3, 21))


@torch.no_grad()
def test_every_site_of_a_packed_run_is_that_of_each_text() -> None:
    texts = texts_of([5, 3, 3, 8])
    packed = Packed([5, 3, 3, 8], CPU)
    _, together = MODEL.run_with_cache(torch.cat(texts)[None], _visibility=packed)
    caches = [MODEL.run_with_cache(text[None])[1] for text in texts]
    for name in together:
        # Scores and patterns have a row for every key, of all texts.
        if not name.endswith(("attn_scores", "pattern")):
            close(together[name][0], torch.cat([cache[name][0] for cache in caches]))
        else:
            starts = [0, 5, 8, 11, 19]
            for (a, b), cache in zip(pairwise(starts), caches, strict=True):
                own = together[name][0][:, a:b, a:b]
                torch.testing.assert_close(own, cache[name][0], rtol=1e-5, atol=1e-4)


@torch.no_grad()
def test_a_changed_text_changes_no_other() -> None:
    texts = texts_of([4, 6, 4])
    before = packed_run(MODEL, texts, 1.0)
    changed = [texts[0], (texts[1] + 1) % 50, texts[2]]
    after = packed_run(MODEL, changed, 1.0)
    torch.testing.assert_close(after[:4], before[:4], rtol=0, atol=0)
    torch.testing.assert_close(after[10:], before[10:], rtol=0, atol=0)
    assert not torch.equal(after[4:10], before[4:10])


@torch.no_grad()
def test_half_precision_stays_as_close_as_its_rounding() -> None:
    texts = texts_of([9, 9, 2, 30, 1])
    exact = alone(MODEL, texts)
    model = ns.HookedGPTNeo.from_config(CONFIG, dtype="bfloat16")
    error = (alone(model, texts).float() - exact).abs().max()
    for slack in SLACKS:
        assert (packed_run(model, texts, slack).float() - exact).abs().max() <= 1.5 * error + 1e-3


@given(LENGTHS, st.floats(0, 1))
def test_groups_hold_every_text_once_and_none_that_is_too_short(
    lengths: list[int], slack: float
) -> None:
    groups = Packed(lengths, CPU, slack=slack).groups
    assert [n for group in groups for n in group.lengths] == lengths
    start = 0
    for group in groups:
        assert group.start == start
        assert min(group.lengths) >= group.longest * (1 - slack)
        start += group.n_tokens


@given(LENGTHS, st.sampled_from(SLACKS))
def test_put_undoes_take(lengths: list[int], slack: float) -> None:
    packed = Packed(lengths, CPU, slack=slack)
    x = torch.arange(2.0 * sum(lengths)).view(-1, 2)
    parts = [packed.put(packed.take(x, group), group) for group in packed.groups]
    assert torch.equal(torch.cat(parts), x)


def test_positions_start_anew_with_every_text() -> None:
    assert Packed([3, 1, 2], CPU).query_positions().tolist() == [[0, 1, 2, 0, 0, 1]]
