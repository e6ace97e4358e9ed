"""AtP*: the QK fix is exact where it should be, and GradDrop is a loop over detached layers."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

import neoscope as ns
from neoscope.edits import replace, transform
from neoscope.errors import PatchingError
from neoscope.model import HookedGPTNeo
from neoscope.organism import compiled
from neoscope.patching.gradient.at_star import one_key_at_a_time
from neoscope.patching.gradient.attribution import attribution
from neoscope.patching.metrics import logit_diff
from tests.neoscope.patching.gradient import oracle

METRIC = logit_diff(oracle.ANSWER, oracle.WRONG)


@pytest.fixture(scope="module")
def model() -> HookedGPTNeo:
    return oracle.small()


def linear_after_attention(**options: object) -> HookedGPTNeo:
    """Two layers; nothing bends after the last softmax: no MLP, and a LayerNorm all epsilon."""
    model = oracle.small(n_layers=2, **options)
    with torch.no_grad():
        model.blocks[1].mlp.weight_out.zero_()
        model.ln_final.eps = 1e8
        model.ln_final.w.fill_(1e4)
        model.blocks[1].attn.weight_qkv.mul_(2.0)  # sharp enough to bend
    return model


@pytest.mark.parametrize("kinds", [("global", "global"), ("global", "local")])
@pytest.mark.parametrize("positions", [None, "all"])
@pytest.mark.parametrize("site", ["q", "k"])
def test_the_fix_is_exact_where_nothing_bends_after_the_softmax(
    site: str, positions: str | None, kinds: tuple[str, str]
) -> None:
    model = linear_after_attention(attention_layers=kinds)
    (long, long_other), (short, short_other) = oracle.prompts(2, 9), oracle.prompts(1, 6)
    asked = (long + short, long_other + short_other, METRIC, site)
    fixed = attribution(model, *asked, layers=1, positions=positions, qk_fix=True)
    plain = attribution(model, *asked, layers=1, positions=positions)
    assert fixed.problem is not None and fixed.sums is not None
    cells = [fixed.sums.cell(i) for i in range(fixed.mean.size)]
    exact = np.stack([oracle.exact(model, fixed.problem.prompts, cell) for cell in cells], axis=1)
    exact = exact.reshape(fixed.values.shape)
    np.testing.assert_allclose(fixed.values, exact, atol=2e-4, rtol=1e-3)
    assert np.nanmax(np.abs(plain.values - exact)) > 20 * np.nanmax(np.abs(fixed.values - exact))


def test_the_fix_sees_the_key_that_a_saturated_softmax_hides() -> None:
    """Both runs attend sharply: the plain gradient is zero, the softmax moves all the same."""
    asked = compiled.pairs(2, "key", seed=2)
    metric = logit_diff(asked.answer, asked.wrong)
    for direction, sign in (("denoise", 1), ("noise", -1)):
        fixed = attribution(
            ns.load("induction"),
            *(asked.clean, asked.corrupted, metric, "k"),
            direction=direction,
            qk_fix=True,
        )
        top = fixed.top(1)
        assert (top["layer"][0], top["head"][0]) == compiled.INDUCTION_TRUTH.induction
        assert sign * top["score"][0] > 5
    plain = attribution(
        ns.load("induction"), asked.clean, asked.corrupted, metric, "k", direction="noise"
    )
    assert np.abs(plain.mean).max() < 1e-3


@pytest.mark.parametrize("scale", [1.0, 50.0, 2000.0])
def test_one_key_at_a_time_is_a_softmax_for_each_key(scale: float) -> None:
    generator = torch.Generator().manual_seed(0)

    def draw() -> Tensor:
        return torch.randn(2, 2, 6, 6, generator=generator, dtype=torch.float64)

    hidden = ~torch.ones(6, 6, dtype=torch.bool).tril() | torch.ones(6, 6, dtype=torch.bool).tril(
        -4
    )
    scores = (scale * draw()).masked_fill(hidden, -torch.inf)
    new = (scale * draw()).masked_fill(hidden, -torch.inf)
    gradient, pattern = draw(), scores.softmax(-1)
    found = one_key_at_a_time(scores, new, pattern, gradient)
    for key in range(6):
        swapped = scores.clone()
        swapped[..., key] = new[..., key]
        expected = (gradient * (swapped.softmax(-1) - pattern)).sum(-1)
        torch.testing.assert_close(found[..., key], expected, atol=1e-9, rtol=0)


def plain_drop(model: HookedGPTNeo, site: str, direction: str = "denoise") -> np.ndarray:
    """Mean absolute scores [pairs, layer, pos], by detaching each layer's outputs in turn."""
    base, donor = oracle.sides(*oracle.prompts(), direction)
    _, here = model.run_with_cache(base, sites=site)
    _, there = model.run_with_cache(donor, sites=site)
    n = model.config.n_layers
    layers = [None] if site == "embed" else list(range(n))
    totals = []
    for layer in layers:
        name = site if layer is None else (site, layer)
        total = torch.zeros(3, 7)
        for dropped in range(n):
            value = here[name].clone().requires_grad_(True)
            logits = model.run_with_edits(
                base,
                [
                    replace(site, layer, value),
                    transform("attn_out", dropped, lambda x: x.detach()),
                    transform("mlp_out", dropped, lambda x: x.detach()),
                ],
            )
            (gradient,) = torch.autograd.grad(oracle.diff(logits).sum(), [value], allow_unused=True)
            if gradient is not None:
                score = ((there[name] - here[name]) * gradient).flatten(2).sum(-1)
                total += score.abs()
        stream = site in ("embed", "resid_pre", "resid_mid", "resid_post")
        totals.append(total / (n if stream else n - 1))
    return torch.stack(totals, dim=1).numpy() if site != "embed" else totals[0].numpy()


@pytest.mark.parametrize("direction", ["denoise", "noise"])
@pytest.mark.parametrize(
    "site", ["embed", "resid_pre", "resid_mid", "resid_post", "attn_out", "mlp_out", "z", "post"]
)
def test_dropping_layers_is_a_loop_over_detached_ones(
    model: HookedGPTNeo, site: str, direction: str
) -> None:
    options = {"heads": "all"} if site == "z" else {}
    found = attribution(
        model, *oracle.prompts(), METRIC, site, direction=direction, grad_drop=True, **options
    )
    expected = plain_drop(model, site, direction)
    assert expected.max() > 0.1
    np.testing.assert_allclose(found.values, expected, atol=2e-5, rtol=1e-4)
    assert found.magnitudes and (found.values >= 0).all()
    assert np.isnan(found.p_value).all()
    assert "GradDrop" in found.method


def test_both_together_run_and_are_named(model: HookedGPTNeo) -> None:
    found = attribution(model, *oracle.prompts(), METRIC, "k", qk_fix=True, grad_drop=True)
    assert found.values.shape == (3, 3, 2, 7)
    assert found.method == "AtP* (QK fix, GradDrop)"
    last = attribution(model, *oracle.prompts(), METRIC, "k", qk_fix=True, layers=2)
    # Above the last layer nothing is dropped: two of three drops leave it as it is.
    np.testing.assert_allclose(found.values[:, 2], np.abs(last.values[:, 0]), atol=1e-5)


def test_one_layer_has_nothing_to_drop() -> None:
    model = oracle.small(n_layers=1)
    with pytest.raises(PatchingError, match="two layers"):
        attribution(model, *oracle.prompts(), METRIC, "z", grad_drop=True)
