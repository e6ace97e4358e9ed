"""A forward takes text, ids, a tokenized batch or a residual stream, and means the same by each."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from neoscope.config import NeoConfig
from neoscope.errors import SiteError, TokenizationError
from neoscope.inputs import is_text, next_token_loss, read_pos_slice
from neoscope.kv_cache import KVCache
from neoscope.model import HookedGPTNeo
from neoscope.organism import compiled
from neoscope.tokenization import load_tokenizer

IDS = torch.tensor([[1, 2, 3, 4], [5, 6, 7, 8]])


@pytest.fixture(scope="module")
def model() -> HookedGPTNeo:
    config = NeoConfig(
        n_layers=2, d_model=8, n_heads=2, n_ctx=12, d_vocab=16, window_size=3, init_range=0.3
    )
    tokenizer = load_tokenizer(str(compiled.induction()))
    return HookedGPTNeo.from_config(config, tokenizer=tokenizer).requires_grad_(False)


@pytest.mark.parametrize(
    "ids",
    [IDS, IDS.to(torch.int16), IDS.to(torch.uint16), IDS.tolist(), tuple(IDS.tolist())],
    ids=["tensor", "int16", "uint16", "lists", "tuple"],
)
def test_ids_mean_the_same_however_they_come(ids: Any, model: HookedGPTNeo) -> None:
    assert torch.equal(model(ids), model(IDS))


def test_text_means_its_ids(model: HookedGPTNeo) -> None:
    tokens = model.tokenize(["river stone", "lamp"])
    expected = model(tokens.ids, tokens.mask)
    for given in (["river stone", "lamp"], ("river stone", "lamp"), tokens):
        assert torch.equal(model(given), expected)
    assert torch.equal(model("lamp"), model(tokens.ids[1:, :1]))


def test_a_mask_of_its_own_wins_over_that_of_the_record(model: HookedGPTNeo) -> None:
    tokens = model.tokenize(["river stone", "lamp"])
    mask = torch.ones(2, 2)
    assert torch.equal(model(tokens, mask), model(tokens.ids))


@pytest.mark.parametrize(
    "mask", [[[1, 1, 1, 0], [1, 1, 1, 1]], torch.tensor([[1.0, 1, 1, 0], [1, 1, 1, 1]])]
)
def test_mask_of_every_type_is_read(mask: Any, model: HookedGPTNeo) -> None:
    boolean = torch.as_tensor(mask) > 0
    assert torch.equal(model(IDS, mask), model(IDS, boolean))


@pytest.mark.parametrize(
    ("input", "text"), [("a", True), (["a"], True), ([], True), ([1], False), (IDS, False)]
)
def test_is_text(input: Any, text: bool) -> None:
    assert is_text(input) is text


@pytest.mark.parametrize(
    ("value", "found"),
    [
        (None, None),
        (2, [2]),
        ([0, -1], [0, -1]),
        ((1, 3), slice(1, 3)),
        ((0, 4, 2), slice(0, 4, 2)),
        (np.array([True, False, True]), [0, 2]),
    ],
)
def test_pos_slice_is_read(value: Any, found: Any) -> None:
    assert read_pos_slice(value) == found


def test_pos_slice_of_something_else_is_refused() -> None:
    with pytest.raises(SiteError, match="pos_slice='x' is not understood"):
        read_pos_slice("x")


# ---- the loss --------------------------------------------------------------------------------


def test_loss_leaves_padding_out(model: HookedGPTNeo) -> None:
    mask = torch.tensor([[1, 1, 1, 0], [1, 1, 1, 1]])
    loss = model(IDS, mask, return_type="loss")
    each = model(IDS, mask, return_type="loss", loss_per_token=True)
    assert each.shape == (2, 3)
    assert each[0, 2] == 0
    torch.testing.assert_close(loss, each.sum() / 5)
    alone = model(IDS[:1, :3], return_type="loss", loss_per_token=True)
    torch.testing.assert_close(each[:1, :2], alone)


def test_loss_from_the_middle_is_that_of_the_whole(model: HookedGPTNeo) -> None:
    stream = model(IDS, stop_at_layer=1)
    loss = model(stream, start_at_layer=1, tokens=IDS, return_type="loss")
    torch.testing.assert_close(loss, model(IDS, return_type="loss"))


def test_loss_of_single_tokens_is_refused_instead_of_nan(model: HookedGPTNeo) -> None:
    with pytest.raises(TokenizationError, match="at least two tokens"):
        model([[1]], return_type="loss")
    with pytest.raises(TokenizationError, match="at least two tokens"):
        model([[1, 2]], [[1, 0]], return_type="loss")
    assert model([[1]], return_type="loss", loss_per_token=True).shape == (1, 0)


def test_loss_of_other_ids_is_refused(model: HookedGPTNeo) -> None:
    stream = model(IDS, stop_at_layer=1)
    with pytest.raises(TokenizationError, match=r"tokens that ran, \(2, 4\); found \(1, 4\)"):
        next_token_loss.__wrapped__(model(IDS), IDS[:1], None, per_token=False)  # type: ignore[attr-defined]
    with pytest.raises(TokenizationError, match="token id 99 in row 1, column 0"):
        model(stream, start_at_layer=1, tokens=IDS.where(IDS != 5, 99), return_type="loss")
    with pytest.raises(TokenizationError, match="give them as tokens="):
        model(stream, start_at_layer=1, return_type="loss")


# ---- with a KV cache -------------------------------------------------------------------------


def test_mask_may_cover_new_tokens_or_all(model: HookedGPTNeo) -> None:
    outs = []
    for mask in ([[1], [1]], [[1, 1, 0, 1], [1, 1, 1, 1]]):
        past = KVCache()
        model(IDS[:, :3], [[1, 1, 0], [1, 1, 1]], past=past)
        outs.append(model(IDS[:, 3:], mask, past=past))
    assert torch.equal(*outs)


@pytest.mark.parametrize("mask", [None, [[1]], [[1, 1, 1]]])
def test_another_batch_than_the_cached_one_is_refused(mask: Any, model: HookedGPTNeo) -> None:
    past = KVCache()
    model(IDS[:, :2], past=past)
    with pytest.raises(TokenizationError, match="holds 2 rows, but 1 rows of new tokens"):
        model(IDS[:1, :1], mask, past=past)
    assert past.length == 2


def test_mask_that_covers_neither_new_tokens_nor_all_is_refused(model: HookedGPTNeo) -> None:
    past = KVCache()
    model(IDS[:, :2], past=past)
    message = r"shape \(2, 2\); the tokens have \(2, 1\), with the KV cache's \(2, 3\)"
    with pytest.raises(TokenizationError, match=message):
        model(IDS[:, 2:3], [[1, 1], [1, 1]], past=past)


def test_cached_tokens_count_for_the_context(model: HookedGPTNeo) -> None:
    past = KVCache()
    model([[1] * 10], past=past)
    with pytest.raises(TokenizationError, match="has 13 tokens, but the model's context is 12"):
        model([[1] * 3], past=past)


def test_a_kv_cache_needs_every_layer(model: HookedGPTNeo) -> None:
    with pytest.raises(SiteError, match="a KV cache needs every layer"):
        model(IDS, past=KVCache(), stop_at_layer=1)
