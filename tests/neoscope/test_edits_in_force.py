"""Edits last as long as they should, let gradients through, and open no future."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from torch import Tensor

import neoscope as ns
from neoscope import edits
from neoscope.edits import (
    Edit,
    ablate,
    add,
    scale,
    transform,
)
from neoscope.errors import SiteError
from neoscope.sites import SiteRef, all_sites
from tests.neoscope.edit_oracle import (
    CONFIG,
    IDS,
    SWITCHES,
    edited,
    real,
    same,
)

REFS = [ref for ref in all_sites(CONFIG, frozenset(SWITCHES)) if ref.layer in (None, 1)]
NAMES = {ref.name: ref for ref in REFS}


@pytest.fixture(scope="module")
def model() -> Iterator[ns.HookedGPTNeo]:
    model = ns.HookedGPTNeo.from_config(CONFIG)
    with torch.no_grad():
        yield switched(model)


def switched(model: ns.HookedGPTNeo, ref: SiteRef | None = None) -> ns.HookedGPTNeo:
    """Switch on what a site needs; ln1 has no one value while q, k, v have inputs of their own."""
    for switch in SWITCHES:
        split = switch == "use_split_qkv_input"
        getattr(model, f"set_{switch}")(
            not split or (ref is not None and ref.kind.switch == switch)
        )
    return model


# ---- the context manager ----------------------------------------------------------------------


def test_edits_last_as_long_as_the_with(model: ns.HookedGPTNeo) -> None:
    plain = model(IDS)
    one, two = ablate("z", 0, head=1), add("resid_mid", 2, 1.0)
    with model.edits(one) as inside:
        assert inside is model
        assert same(model(IDS), edited_alone(model, one))
        with model.edits([two], scale("embed", factor=1.0)):
            assert same(model(IDS), edited_alone(model, one, two))
        assert same(model(IDS), edited_alone(model, one))
    assert same(model(IDS), plain)


def edited_alone(model: ns.HookedGPTNeo, *edits_: Edit) -> Tensor:
    twin = switched(ns.HookedGPTNeo.from_config(CONFIG))
    return twin.run_with_edits(IDS, list(edits_))


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, GeneratorExit])
def test_edits_are_undone_however_it_ends(
    model: ns.HookedGPTNeo, error: type[BaseException]
) -> None:
    plain = model(IDS)

    def fail(x: Tensor) -> Tensor:
        raise error

    inner = transform("z", 1, function=fail)
    with pytest.raises(error), model.edits(ablate("z")), model.edits(inner):
        model(IDS)
    with pytest.raises(error):
        model.run_with_edits(IDS, [transform("z", 1, function=fail)])
    with pytest.raises(SiteError), model.edits(ablate("z", 9)):
        pass
    assert same(model(IDS), plain)


# ---- gradients --------------------------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
def test_gradients_flow_through_edits(model: ns.HookedGPTNeo, name: str) -> None:
    ref = NAMES[name]
    switched(model, ref)
    with torch.enable_grad():
        value = torch.full(ref.shape(CONFIG, 3, 7), 0.1, requires_grad=True)
        factor = torch.ones((), requires_grad=True)
        edits_ = [
            add(name, value=value),
            transform(name, function=lambda x: x * factor),
            transform(name, function=lambda x: x.where(x.isinf(), x.exp())),
        ]
        logits = edited(model, "left", *edits_)[real("left")]
        weight = torch.linspace(-1, 1, logits.numel()).view_as(logits)
        by_value, by_embedding = torch.autograd.grad(
            (logits * weight).sum(), [value, model.embed.W_E]
        )
    assert by_value.isfinite().all() and by_value.abs().sum() > 0
    assert by_embedding.isfinite().all()


def test_every_public_name_is_there() -> None:
    assert sorted(edits.__all__) == edits.__all__
    assert all(hasattr(edits, name) for name in edits.__all__)


def test_edited_scores_never_open_the_future_or_the_window(model: ns.HookedGPTNeo) -> None:
    edit = ablate("attn_scores", layer=[0, 1])
    _, cache = model.run_with_cache(IDS, edits=[edit], sites=["attn_scores", "pattern"])
    for layer in (0, 1):
        pattern, window = cache["pattern", layer][0, 0], CONFIG.window(layer) or 7
        for query, row in enumerate(pattern):
            first = max(0, query - window + 1)
            seen = torch.zeros(7)
            seen[first : query + 1] = 1 / (query + 1 - first)
            torch.testing.assert_close(row, seen)
        assert torch.equal(cache["attn_scores", layer].isinf()[0, 0], pattern == 0)
    later = IDS.clone()
    later[:, -1] += 1
    before, after = (model.run_with_edits(ids, edit) for ids in (IDS, later))
    assert same(before[:, :-1], after[:, :-1])


@pytest.mark.parametrize("side", ["left", "right"])
def test_a_written_pattern_reads_no_padding(side: str) -> None:
    config = ns.NeoConfig(n_layers=2, d_model=16, n_heads=2, n_ctx=16, d_vocab=20)
    model = ns.HookedGPTNeo.from_config(config, seed=3)
    edit = add("pattern", layer=1, head=0, value=1.5, positions=[2])
    alone = model([[9, 4, 7]], edits=[edit])
    pad, ones = [0, 0, 0], [1, 1, 1]
    short = [*pad, 9, 4, 7] if side == "left" else [9, 4, 7, *pad]
    mask = pad + ones if side == "left" else ones + pad
    both = model([short, [1, 2, 3, 4, 5, 6]], [mask, [1] * 6], edits=[edit])
    real = both[0, 3:] if side == "left" else both[0, :3]
    torch.testing.assert_close(real, alone[0], atol=1e-5, rtol=0)


def test_one_edit_needs_no_list() -> None:
    config = ns.NeoConfig(n_layers=2, d_model=16, n_heads=2, n_ctx=16, d_vocab=20)
    model = ns.HookedGPTNeo.from_config(config)
    edit = ablate("z", layer=1)
    logits, _ = model.run_with_cache([[1, 2, 3]], edits=edit)
    torch.testing.assert_close(logits, model([[1, 2, 3]], edits=[edit]), atol=1e-6, rtol=0)
    assert torch.equal(model([[1, 2, 3]], edits=edit), model.run_with_edits([[1, 2, 3]], edit))
