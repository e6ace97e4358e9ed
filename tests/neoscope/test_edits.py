"""Edits do what plain indexing does, in their layers and in their order."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

import neoscope as ns
from neoscope.edits import (
    Edit,
    ablate,
    add,
    mean_ablate,
    replace,
    resample,
    scale,
    steer,
    transform,
)
from neoscope.errors import EditError
from neoscope.sites import SiteRef, all_sites
from tests.neoscope.edit_oracle import (
    CONFIG,
    IDS,
    MASKS,
    OTHER,
    SWITCHES,
    edited,
    manual,
    parts,
    real,
    same,
)

REFS = [ref for ref in all_sites(CONFIG, frozenset(SWITCHES)) if ref.layer in (None, 1)]
NAMES = {ref.name: ref for ref in REFS}
WITH_POS = [ref for ref in REFS if "pos" in ref.kind.axes]


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


@pytest.fixture(scope="module")
def values() -> ns.ActivationCache:
    """For every site, something of its shape; a cache, because hypothesis shows its arguments."""
    generator = torch.Generator().manual_seed(0)
    shapes = {ref.name: ref.shape(CONFIG, 3, 7) for ref in REFS}
    tensors = {name: torch.randn(shape, generator=generator) for name, shape in shapes.items()}
    return ns.ActivationCache(tensors, CONFIG)


@settings(max_examples=150, deadline=None)
@given(data=st.data(), ref=st.sampled_from(REFS), side=st.sampled_from(sorted(MASKS)))
def test_every_edit_is_plain_indexing(
    model: ns.HookedGPTNeo,
    values: ns.ActivationCache,
    data: st.DataObject,
    ref: SiteRef,
    side: str,
) -> None:
    switched(model, ref)
    where = data.draw(parts(ref))
    value = values[ref.name]
    site: Any = {"site": ref.name} | where
    vector = value[0].flatten()[: value.shape[-1]]
    # A vector lies along the last axis, all of it.
    along: Any = {name: asked for name, asked in where.items() if name not in ("unit", "keys")}
    cases: dict[str, tuple[Edit, dict[str, Any], Any]] = {
        "ablate": (ablate(**site), where, lambda x, i, at: torch.zeros(())),
        "number": (replace(**site, value=0.5), where, lambda x, i, at: torch.tensor(0.5)),
        "tensor": (replace(**site, value=value), where, lambda x, i, at: value[i][at]),
        "cache": (replace(**site, value=values), where, lambda x, i, at: value[i][at]),
        "one row": (replace(**site, value=value[1:2]), where, lambda x, i, at: value[1][at]),
        "add": (add(**site, value=-1.5), where, lambda x, i, at: x[i][at] - 1.5),
        "add tensor": (add(**site, value=value), where, lambda x, i, at: x[i][at] + value[i][at]),
        "scale": (scale(**site, factor=1.5), where, lambda x, i, at: x[i][at] * 1.5),
        "steer": (
            steer(ref.name, vector=vector, scale=3.0, **along),
            along,
            lambda x, i, at: x[i][at] + (vector * 3.0)[at[-1]],
        ),
        "transform": (
            transform(**site, function=lambda part: part.mul_(2).tanh()),
            where,
            lambda x, i, at: (x[i][at] * 2).tanh(),
        ),
    }
    edit, chosen, change = cases[data.draw(st.sampled_from(sorted(cases)))]
    assert same(edited(model, side, edit), manual(model, ref, side, chosen, change))


@settings(max_examples=60, deadline=None)
@given(data=st.data(), ref=st.sampled_from(WITH_POS), side=st.sampled_from(sorted(MASKS)))
def test_mean_ablation(
    model: ns.HookedGPTNeo, data: st.DataObject, ref: SiteRef, side: str
) -> None:
    switched(model, ref)
    where = data.draw(parts(ref))
    own = model.run_with_cache(IDS, MASKS[side], sites=ref.name)[1][ref.name]
    elsewhere = data.draw(st.sampled_from(sorted(MASKS)))
    _, reference = model.run_with_cache(OTHER, MASKS[elsewhere], sites=ref.name)
    mean_own = own[real(side)].mean(0)
    mean_reference = reference[ref.name][real(elsewhere)].mean(0)
    cases: list[tuple[Any, Tensor]] = [(None, mean_own), (reference, mean_reference)]
    if "head" not in where and "unit" not in where:
        cases.append((own[0, 0] if own[0, 0].ndim == 1 else own[:1, :1], own[0, 0]))
    given_, mean = data.draw(st.sampled_from(cases))
    found = edited(model, side, mean_ablate(ref.name, reference=given_, **where))
    expected = manual(model, ref, side, where, lambda x, i, at: mean[at[1:]])
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


def test_a_mean_in_half_precision_is_not_summed_in_it() -> None:
    model = ns.HookedGPTNeo.from_config(CONFIG, dtype=torch.float16)
    seen: list[Tensor] = []
    edits_ = [
        replace("resid_mid", 1, 3000.0),
        mean_ablate("resid_mid", 1),
        transform("resid_mid", 1, function=lambda x: (seen.append(x), x)[1]),
    ]
    for mask in (None, torch.ones(3, 30).tril(20)):
        model.run_with_edits(torch.zeros(3, 30, dtype=torch.long), edits_, mask)
        assert (seen.pop() == 3000).all()


def test_mean_ablation_from_caches_cut_down(model: ns.HookedGPTNeo) -> None:
    _, one = model.run_with_cache(OTHER[0], sites="resid_mid", remove_batch_dim=True)
    found = edited(model, "none", mean_ablate("resid_mid", 1, reference=one))
    mean = one["resid_mid", 1].mean(0)
    torch.testing.assert_close(found, edited(model, "none", replace("resid_mid", 1, mean)))
    last = model.run_with_cache(OTHER, MASKS["left"], sites="resid_mid", positions=-1)[1]
    found = edited(model, "none", mean_ablate("resid_mid", 1, reference=last))
    mean = last["resid_mid", 1].mean((0, 1))
    torch.testing.assert_close(found, edited(model, "none", replace("resid_mid", 1, mean)))
    cut = model.run_with_cache(OTHER, MASKS["left"], sites="resid_mid", pos_slice=(0, 3))[1]
    with pytest.raises(EditError, match=r"blocks\.1\.hook_resid_mid.*padded texts.*positions="):
        edited(model, "none", mean_ablate("resid_mid", 1, reference=cut))
    with pytest.raises(EditError, match=r"blocks\.1\.attn\.hook_pattern.*no position axis"):
        edited(model, "none", mean_ablate("pattern", 1))


@settings(max_examples=40, deadline=None)
@given(data=st.data(), ref=st.sampled_from(REFS), seed=st.integers(0, 9), own=st.booleans())
def test_resampling_puts_another_rows_values(
    model: ns.HookedGPTNeo, data: st.DataObject, ref: SiteRef, seed: int, own: bool
) -> None:
    switched(model, ref)
    where = data.draw(parts(ref))
    _, reference = model.run_with_cache(IDS if own else OTHER, sites=ref.name)
    drawn: list[Tensor] = []
    edit = resample(ref.name, reference=None if own else reference, seed=seed)
    look = transform(ref.name, function=lambda x: (drawn.append(x), x)[1])
    edited(model, "none", edit, look)
    pool = reference[ref.name]
    source = [next(i for i in range(3) if torch.equal(pool[i], row)) for row in drawn[0]]
    if ref.kind.short != "pos_embed" and own:
        assert sorted(source) == [0, 1, 2] and all(i != j for i, j in enumerate(source))
    edit = resample(ref.name, reference=None if own else reference, seed=seed, **where)
    expected = manual(model, ref, "none", where, lambda x, i, at: pool[source[i]][at])
    assert same(edited(model, "none", edit), expected)


def test_resampling_refuses(model: ns.HookedGPTNeo) -> None:
    with pytest.raises(EditError, match="needs two rows or more, or a reference"):
        model.run_with_edits(IDS[:1], [resample("z", 0)])
    _, short = model.run_with_cache(IDS[:, :4], sites="z")
    with pytest.raises(EditError, match=r"blocks\.0\.attn\.hook_z.*\(4, 3, 8\).*\(7, 3, 8\)"):
        model.run_with_edits(IDS, [resample("z", 0, reference=short)])
    _, one = model.run_with_cache(OTHER[0], sites="z", remove_batch_dim=True)
    found = model.run_with_edits(IDS, [resample("z", 0, reference=one)])
    assert same(found, model.run_with_edits(IDS, [replace("z", 0, one)]))


# ---- bits, order, layers ----------------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("side", sorted(MASKS))
def test_writing_back_what_was_read_changes_no_bit(
    model: ns.HookedGPTNeo, name: str, side: str
) -> None:
    switched(model, NAMES[name])
    logits, cache = model.run_with_cache(IDS, MASKS[side], sites=name)
    assert same(edited(model, side, replace(name, value=cache)), logits)
    assert same(edited(model, side, scale(name)), logits)


@pytest.mark.parametrize("layers", [1, [0, 2], (-1,), None, range(2)])
def test_an_edit_applies_in_the_layers_it_names(model: ns.HookedGPTNeo, layers: Any) -> None:
    listed = [layers] if isinstance(layers, int) else range(3) if layers is None else layers
    whole = edited(model, "none", ablate("z", layers, head=[0, 2]))
    assert same(whole, edited(model, "none", *(ablate("z", i, head=[0, 2]) for i in listed)))
    edit = transform("z", layers, function=lambda x: x)
    assert "z" in repr(edit) and ("layer=" in repr(edit)) == (layers is not None)


def test_two_edits_at_one_site_apply_in_order(model: ns.HookedGPTNeo) -> None:
    first, then = add("resid_mid", 1, 1.0), scale("resid_mid", 1, 2.0)
    there = edited(model, "none", transform("resid_mid", 1, function=lambda x: (x + 1) * 2))
    back = edited(model, "none", transform("resid_mid", 1, function=lambda x: x * 2 + 1))
    assert same(edited(model, "none", first, then), there)
    assert same(edited(model, "none", then, first), back)
    assert not torch.equal(there, back)
    with model.edits(first):
        assert same(edited(model, "none", then), there)


def test_hooks_come_before_edits_and_the_record_after(model: ns.HookedGPTNeo) -> None:
    seen: list[Tensor] = []

    def hook(x: Tensor, hook: Any) -> Tensor:
        seen.append(x.clone())
        return x + 1

    with model.hooks(fwd_hooks=[("blocks.1.hook_resid_mid", hook)]):
        _, cache = model.run_with_cache(IDS, edits=[scale("resid_mid", 1, 2.0)])
    assert same(cache["resid_mid", 1], (seen[0] + 1) * 2)
