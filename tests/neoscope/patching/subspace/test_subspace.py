"""Patching along directions: a whole basis is the whole site, and a planted direction is found."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

import neoscope as ns
from neoscope.edits import transform
from neoscope.errors import PatchingError
from neoscope.organism.compiled import DIRECTION_TRUTH as TRUTH
from neoscope.organism.compiled import direction_prompts
from neoscope.patching.metrics import logit_diff
from neoscope.patching.prompts.pairs import read_prompts
from neoscope.patching.sweeps.sweeping import sweep
from tests.neoscope.patching import plain
from tests.neoscope.patching.cases import SEVERAL, model_of

METRIC = logit_diff([3, 5, 7], 1)


def swept(model: ns.HookedGPTNeo, site: str, subspace: Tensor | None, **options: Any) -> Any:
    return sweep(
        model, *SEVERAL, METRIC, site, subspace=subspace, **({"progress": False} | options)
    )


def rotation(size: int) -> Tensor:
    full = torch.randn(size, size, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    return torch.linalg.qr(full).Q


@pytest.mark.parametrize("site", ["resid_pre", "mlp_out", "embed", "z", "q", "post"])
def test_along_a_subspace_only_the_difference_in_it_is_patched(site: str) -> None:
    model = model_of()
    size = {"post": model.config.n_neurons, "z": 8, "q": 8}.get(site, 16)
    basis = rotation(size)[:, :2]
    # Directions of any length and at any angle: their span counts.
    found = swept(model, site, basis @ torch.tensor([[2.0, 1.0], [0.0, -3.0]]).double())
    prompts = read_prompts(model, *SEVERAL)
    donor = plain.donor_of(model, plain.tokens_of(prompts, "clean"))
    tokens = plain.tokens_of(prompts, "corrupted")
    project = (basis @ basis.T).float()
    layer = None if site == "embed" else 1

    def put(head: int | None) -> np.ndarray:
        def change(x: Tensor) -> Tensor:
            there = donor(site, layer)
            out = x + (there - x) @ project
            if head is not None:
                out = torch.where(torch.arange(2)[:, None] == head, out, x)
            whole = x.clone()
            whole[:, -1] = out[:, -1]
            return whole

        with torch.no_grad():
            last = model.run_with_edits(tokens, transform(site, layer, change))[:, -1].double()
        return (last[range(3), [3, 5, 7]] - last[:, 1]).numpy()

    by_layer = found.patched[..., -1]
    here = (by_layer if layer is None else by_layer[:, layer]).reshape(3, -1)
    expected = np.stack([put(h) for h in (range(2) if site in ("z", "q") else [None])], 1)
    assert np.abs(here - expected).max() < 1e-4
    assert found.source == "other prompt, 2-d subspace"


@pytest.mark.parametrize("direction", ["denoise", "noise"])
def test_a_whole_basis_is_the_whole_site(direction: str) -> None:
    for site, size in (("resid_mid", 16), ("z", 8), ("post", 64)):
        whole = swept(model_of(), site, None, direction=direction)
        turned = swept(model_of(), site, rotation(size), direction=direction)
        assert np.allclose(turned.patched, whole.patched, atol=2e-4, equal_nan=True)


def test_a_subspace_of_the_last_stream_has_a_closed_form() -> None:
    model = model_of()
    turned = rotation(16)
    inside, outside = turned[:, :5], turned[:, 5:]
    prompts = read_prompts(model, *SEVERAL)
    _, base = model.run_with_cache(plain.tokens_of(prompts, "corrupted"))
    _, other = model.run_with_cache(plain.tokens_of(prompts, "clean"))
    ours, theirs = (cache["resid_post", 2][:, -1].double() for cache in (base, other))
    moved = [(theirs - ours) @ part @ part.T for part in (inside, outside)]
    assert torch.allclose(sum(moved) + ours, theirs)
    for part, step in zip((inside, outside), moved, strict=True):
        found = swept(model, "resid_post", part, layers=2, positions=[-1])
        assert np.abs(found.patched[:, 0, 0] - closed_form(model, ours + step)).max() < 1e-4


def closed_form(model: ns.HookedGPTNeo, stream: Tensor) -> np.ndarray:
    """The metric from the stream after the last block, by the formula, in float64."""
    centred = stream - stream.mean(-1, keepdim=True)
    scale = (centred.square().mean(-1, keepdim=True) + model.config.ln_eps).sqrt()
    normed = centred / scale * model.ln_final.w.double() + model.ln_final.b.double()
    logits = normed @ model.W_U.double()
    out: np.ndarray = (logits[range(3), [3, 5, 7]] - logits[:, 1]).detach().numpy()
    return out


def test_effects_of_a_subspace_and_its_complement_sum_where_all_is_linear() -> None:
    """Beside so large an epsilon, the variance of so small a stream is nothing to the last norm."""
    config = ns.NeoConfig(
        n_layers=3, d_model=16, n_heads=2, n_ctx=32, d_vocab=40, init_range=0.003, ln_eps=0.99
    )
    model, turned = ns.HookedGPTNeo.from_config(config, seed=3), rotation(16)
    parts = [
        swept(model, "resid_post", basis, layers=2, positions=[-1]).values
        for basis in (turned[:, :5], turned[:, 5:], turned)
    ]
    size = np.abs(parts[2]).max()
    assert size > 1e-6 and np.abs(parts[0]).max() > 0.01 * size
    assert np.abs(parts[0] + parts[1] - parts[2]).max() < 1e-3 * size


@pytest.fixture(scope="module")
def sentiment() -> tuple[ns.HookedGPTNeo, Tensor, Tensor, Any]:
    """Prompts of one polarity, and the next ones that differ in label and in all else."""
    model, prompts = ns.load("direction"), direction_prompts(64)
    mine = prompts.tokens[prompts.label]
    theirs = prompts.tokens[~prompts.label].roll(3, 0)
    return model, mine, theirs, logit_diff(TRUTH.positive, TRUTH.negative)


def test_the_planted_direction_moves_the_sentiment(sentiment: Any) -> None:
    model, positive, negative, metric = sentiment
    options: dict[str, Any] = {"site": TRUTH.site, "positions": [-1], "progress": False}
    planted = torch.tensor(TRUTH.direction)
    along = sweep(model, positive, negative, metric, subspace=planted, **options)
    assert np.allclose(along.clean, TRUTH.logit_diff, atol=1e-4)
    assert np.allclose(along.corrupted, -TRUTH.logit_diff, atol=1e-4)
    # Nowhere before its layer, all of it there, and nothing left of it once it has been read.
    at = along.values[:, :, 0]
    assert np.abs(at[:, : TRUTH.layer]).max() < 1e-4
    assert np.allclose(at[:, TRUTH.layer], TRUTH.steered, atol=1e-4)
    assert np.abs(at[:, TRUTH.answer_layer]).max() < 0.2 * TRUTH.steered
    answered = torch.tensor(TRUTH.answer_direction)
    last = sweep(model, positive, negative, metric, subspace=answered, layers=2, **options)
    assert np.allclose(last.patched, TRUTH.logit_diff, atol=1e-2)


def test_the_planted_direction_moves_nothing_else(sentiment: Any) -> None:
    model, positive, negative, metric = sentiment
    options: dict[str, Any] = {"site": TRUTH.site, "layers": TRUTH.layer, "positions": [-1]}
    planted = torch.tensor(TRUTH.direction)[:, None]
    full = torch.linalg.qr(torch.cat([planted, torch.eye(64)], 1)).Q[:, :64]
    rest = sweep(model, positive, negative, metric, subspace=full[:, 1:], progress=False, **options)
    assert np.abs(rest.values).max() < 1e-3
    # What else the model says stays: the logits of all but the answers depend on the norm alone.
    words = list(range(len(TRUTH.words) - 2))
    others = sweep(
        model,
        positive,
        negative,
        lambda logits: logits[:, -1, words].square().sum(-1),
        subspace=planted,
        progress=False,
        **options,
    )
    assert np.abs(others.values).max() < 1e-3 * np.abs(others.clean).max()


@pytest.mark.parametrize(
    ("subspace", "said"),
    [
        (torch.ones(7), "directions of 7 entries at site 'resid_pre', whose last axis has 16"),
        (torch.zeros(16), "zero or linearly dependent"),
        (torch.ones(16, 2), "zero or linearly dependent"),
        (torch.full((16,), torch.nan), "expected finite directions"),
        (torch.ones(2, 3, 4), r"expected finite directions \[d\] or \[d, k\]"),
    ],
)
def test_what_spans_no_subspace_is_refused(subspace: Tensor, said: str) -> None:
    with pytest.raises(PatchingError, match=said):
        swept(model_of(), "resid_pre", subspace)
