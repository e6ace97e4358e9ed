"""The tuned lens's objective and its gradient, and the order of its data."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F

import neoscope as ns
from neoscope.analysis.tuned.data import Pieces, read_pieces, streams
from neoscope.analysis.tuned.gradient import Objective
from neoscope.model import HookedGPTNeo

TEXTS = [s.text for s in ns.organism.sentences("filler", 400, seed=0)]


def by_autograd(
    model: HookedGPTNeo, found: list[torch.Tensor], matrix: torch.Tensor | None, bias: torch.Tensor
) -> tuple[list[float], list[torch.Tensor]]:
    """In float64."""
    wanted = [x.double().requires_grad_() for x in (matrix, bias) if x is not None]
    rows = model.unembed.rows.detach().double()
    w, b = model.ln_final.w.detach().double(), model.ln_final.b.detach().double()

    def log_probs(x: torch.Tensor) -> torch.Tensor:
        y = F.layer_norm(x, (x.shape[-1],), w, b, model.ln_final.eps)
        found: torch.Tensor = (y @ rows.T).log_softmax(-1)
        return found

    p = log_probs(found[-1].double())
    losses = []
    for layer, h in enumerate(x.double() for x in found[:-1]):
        x = h + wanted[-1][layer]
        if matrix is not None:
            x = x + h @ wanted[0][layer].T
        losses.append((p.exp() * (p - log_probs(x))).sum(-1).mean())
    grads = torch.autograd.grad(torch.stack(losses).sum(), wanted)
    return [float(loss.detach()) for loss in losses], list(grads)


@pytest.mark.parametrize("bias_only", [False, True])
@pytest.mark.parametrize("most", [None, 7])
def test_closed_form_is_the_gradient(
    model: HookedGPTNeo, bias_only: bool, most: int | None
) -> None:
    found = streams(model, list(read_pieces(model, TEXTS[:5]).ids))
    generator = torch.Generator().manual_seed(0)
    d = model.config.d_model
    bias = torch.randn(4, d, generator=generator) * 0.1
    matrix = None if bias_only else torch.randn(4, d, d, generator=generator) * 0.02
    losses, grads = Objective(model, "float32", most)(found, matrix, bias)
    expected, wanted = by_autograd(model, found, matrix, bias)
    np.testing.assert_allclose(losses, expected, rtol=1e-5)
    for one, other in zip(grads, wanted, strict=True):
        error = (one.double() - other).abs().max() / other.abs().max()
        assert error < 1e-5


def test_streams_are_those_of_each_text_by_itself(model: HookedGPTNeo) -> None:
    pieces = read_pieces(model, TEXTS[:3])
    found = streams(model, list(pieces.ids))
    with torch.no_grad():
        caches = [model.run_with_cache(text)[1] for text in TEXTS[:3]]
    for depth, stream in enumerate(found):
        site = ("resid_pre", 0) if depth == 0 else ("resid_post", depth - 1)
        expected = torch.cat([cache[site][0] for cache in caches])
        torch.testing.assert_close(stream, expected, atol=1e-5, rtol=1e-5)


def test_half_precision_finds_nearly_the_same(model: HookedGPTNeo) -> None:
    found = streams(model, list(read_pieces(model, TEXTS[:20]).ids))
    bias = torch.zeros(4, model.config.d_model)
    exact = Objective(model, "float32")(found, None, bias)
    half = Objective(model, "bfloat16")(found, None, bias)
    np.testing.assert_allclose(half[0], exact[0], rtol=0.02)
    turned = F.cosine_similarity(half[1][0], exact[1][0], dim=-1)
    assert turned.min() > 0.999


def test_a_first_token_that_the_lens_rules_out_is_still_counted() -> None:
    """Its probability underflows in float32; the loss must not be infinite."""
    config = ns.NeoConfig(n_layers=1, d_model=4, n_heads=1, n_ctx=8, d_vocab=3)
    model = ns.HookedGPTNeo.from_config(config)
    with torch.no_grad():
        model.embed.W_E.copy_(400 * torch.eye(4)[:3])
    states = torch.eye(4)[:3]
    losses, grads = Objective(model, "float32")(
        [states.roll(1, 0), states], None, torch.zeros(1, 4)
    )
    expected, _ = by_autograd(model, [states.roll(1, 0), states], None, torch.zeros(1, 4))
    assert expected[0] > 200
    assert losses[0].item() == pytest.approx(expected[0], rel=1e-4)
    assert grads[0].isfinite().all()


def test_every_epoch_has_every_text_once_in_an_order_of_its_own() -> None:
    pieces = Pieces(tuple(np.full(n, n) for n in range(1, 30)))
    epochs = [pieces.batches(40, 7, epoch) for epoch in (0, 1)]
    for batches in epochs:
        assert sorted(len(x) for batch in batches for x in batch) == list(range(1, 30))
        assert all(sum(map(len, batch)) <= 40 for batch in batches)
    assert [len(x) for b in epochs[0] for x in b] != [len(x) for b in epochs[1] for x in b]
    assert pieces.batches(40, 7, 1)[0][0].tolist() == epochs[1][0][0].tolist()


@pytest.mark.parametrize("start", [0, 1, 5, 13, 20])
def test_stream_goes_on_where_it_was(start: int) -> None:
    pieces = Pieces(tuple(np.full(n, n) for n in range(1, 12)))
    every = list(pieces.stream(12, 0, 0, 21))
    rest = list(pieces.stream(12, 0, start, 21))
    assert [n for n, _ in every] == list(range(21))
    assert [(n, [len(x) for x in b]) for n, b in rest] == [
        (n, [len(x) for x in b]) for n, b in every[start:]
    ]


def test_held_out_texts_are_not_trained_on() -> None:
    pieces = Pieces(tuple(np.array([n, n]) for n in range(100)))
    fit, held = pieces.split(10, 0)
    assert len(held.ids) == 5
    assert len(fit.ids) == 95
    assert not {int(x[0]) for x in fit.ids} & {int(x[0]) for x in held.ids}
    assert len(pieces.split(10_000, 0)[1].ids) == 10
    assert pieces.split(0, 0)[1].ids == ()
    assert fit.digest() != pieces.digest()


@pytest.mark.parametrize("prepend_bos", [False, True])
def test_texts_become_pieces_no_longer_than_the_context(
    model: HookedGPTNeo, prepend_bos: bool
) -> None:
    n = model.config.n_ctx
    long = " ".join(["The keys near the cabinet are here."] * n)
    found = read_pieces(model, [long, "", "The keys"], prepend_bos=prepend_bos)
    assert max(map(len, found.ids)) == n
    ids = model.tokenizer(long, add_special_tokens=False, verbose=False)["input_ids"]  # type: ignore[misc]
    assert found.n_tokens == len(ids) + 2 + 2 * prepend_bos
    tokens = model.tokenize(["The keys", "The film was not good"], padding_side="left")
    by_text = read_pieces(model, ["The keys", "The film was not good"])
    for other in (tokens, [x.tolist() for x in by_text.ids]):
        again = read_pieces(model, other)
        assert again.digest() == by_text.digest()
    assert read_pieces(model, torch.tensor([[1, 2], [3, 4]])).n_tokens == 4
    assert read_pieces(model, [1, 2, 3]).n_tokens == 3
