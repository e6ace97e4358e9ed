"""Which shapes of values an edit takes and refuses, and what it cannot touch."""

from __future__ import annotations

import inspect
from typing import Any

import pytest
import torch
from torch import Tensor

import neoscope as ns
from neoscope.edit import compile_edits
from neoscope.edits import ablate, add, mean_ablate, replace, scale, steer, transform
from neoscope.errors import EditError, NeoscopeError, SiteError
from tests.neoscope.edit_oracle import CONFIG, IDS, edited, same

B, P, H, D, E, M = 3, 7, 3, 24, 8, 96


@pytest.fixture(scope="module")
def model() -> ns.HookedGPTNeo:
    return ns.HookedGPTNeo.from_config(CONFIG)


def value(*shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(len(shape)))


def now(model: ns.HookedGPTNeo, site: str, *edits: Any, ids: Tensor = IDS) -> Tensor:
    """Return what a site of layer 0 holds after edits."""
    return model.run_with_cache(ids, sites=site, layers=0, edits=list(edits))[1][site, 0]


# ---- shapes that are taken --------------------------------------------------------------------
TAKEN: list[tuple[str, dict[str, Any], tuple[int, ...], tuple[int, ...]]] = [
    # site, part, shape given, the same with every axis of the part
    ("resid_mid", {}, (B, P, D), (B, P, D)),
    ("resid_mid", {}, (P, D), (1, P, D)),
    ("resid_mid", {}, (1, P, D), (1, P, D)),
    ("resid_mid", {}, (B, 1, D), (B, 1, D)),
    ("resid_mid", {}, (D,), (1, 1, D)),
    ("resid_mid", {}, (), (1, 1, 1)),
    ("resid_mid", {}, (1,), (1, 1, 1)),
    ("resid_mid", {"positions": 2}, (B, D), (B, 1, D)),
    ("resid_mid", {"positions": 2}, (B, 1, D), (B, 1, D)),
    ("resid_mid", {"positions": [2]}, (D,), (1, 1, D)),
    ("resid_mid", {"positions": [2, 5]}, (B, 2, D), (B, 2, D)),
    ("resid_mid", {"positions": [2, 5]}, (2, D), (1, 2, D)),
    ("resid_mid", {"unit": 4}, (B, P), (B, P, 1)),
    ("resid_mid", {"unit": 4}, (P,), (1, P, 1)),
    ("resid_mid", {"unit": [4, 9]}, (2,), (1, 1, 2)),
    ("resid_mid", {"positions": 1, "unit": 4}, (B,), (B, 1, 1)),
    ("z", {"head": 1}, (B, P, E), (B, P, 1, E)),
    ("z", {"head": 1}, (P, E), (1, P, 1, E)),
    ("z", {"head": 1}, (E,), (1, 1, 1, E)),
    ("z", {"head": [0, 2]}, (P, 2, E), (1, P, 2, E)),
    ("z", {"head": 1, "positions": -1}, (B, E), (B, 1, 1, E)),
    ("z", {"positions": -1}, (H, E), (1, 1, H, E)),
    ("pattern", {"head": 1, "positions": 3}, (P,), (1, 1, 1, P)),
    ("pattern", {"head": 1, "positions": 3, "keys": 2}, (B,), (B, 1, 1, 1)),
    ("pattern", {"positions": 3, "keys": 2}, (H,), (1, H, 1, 1)),
    ("ln2.scale", {"positions": 3}, (B, 1), (B, 1, 1)),
    ("post", {"unit": 95, "positions": [0, 1]}, (B, 2), (B, 2, 1)),
]


@pytest.mark.parametrize(("site", "part", "shape", "full"), TAKEN)
def test_a_value_lands_on_the_axes_it_has(
    model: ns.HookedGPTNeo, site: str, part: Any, shape: Any, full: Any
) -> None:
    new = value(*shape)
    seen: list[Tensor] = []
    look = transform(site, 0, function=lambda x: (seen.append(x), x)[1], **part)
    before = now(model, site, look)
    after = now(model, site, replace(site, 0, new, **part), look)
    assert same(seen[1], new.view(full).expand_as(seen[1]))
    # Outside the part nothing moved.
    mark = now(model, site, replace(site, 0, torch.full((), 123.0), **part)) == 123
    assert same(after[~mark], before[~mark]) and mark.sum() == seen[1].numel()


def test_the_whole_site_is_cut_to_the_part(model: ns.HookedGPTNeo) -> None:
    for whole in (value(B, P, H, E), value(1, P, H, E), value(P, H, E)):
        found = now(model, "z", replace("z", 0, whole, head=[2, 0], positions=[1, -1]))
        full = whole.expand(B, P, H, E)
        for head in (0, 2):
            assert same(found[:, [1, 6], head], full[:, [1, 6], head])
        assert same(found[:, :, 1], now(model, "z")[:, :, 1])


def test_values_come_from_caches_of_any_kind(model: ns.HookedGPTNeo) -> None:
    _, cache = model.run_with_cache(IDS + 1)
    _, one = model.run_with_cache(IDS[:1] + 1)
    _, bare = model.run_with_cache(IDS[:1] + 1, remove_batch_dim=True)
    _, last = model.run_with_cache(IDS + 1, positions=-1)
    z = cache["z", 0]
    assert same(now(model, "z", replace("z", 0, cache, head=1))[:, :, 1], z[:, :, 1])
    for small in (one, bare):
        found = now(model, "z", replace("z", 0, small, head=1))
        assert same(found[:, :, 1], z[:1, :, 1].expand(B, -1, -1))
    assert same(now(model, "z", replace("z", 0, last, positions=-1))[:, -1], z[:, -1])
    # A cache holds the whole site: all heads in another order are still those heads.
    found = now(model, "z", replace("z", 0, cache, head=[2, 0, 1]))
    assert same(found, z)
    three = model.run_with_cache(IDS[:, :3] + 1)[1]
    found = now(model, "pattern", replace("pattern", 0, three, head=1), ids=IDS[:, :3])
    assert same(found[:, 1], three["pattern", 0][:, 1])
    _, other = model.run_with_cache(IDS + 1, sites="v")
    with pytest.raises(NeoscopeError, match=r"'blocks\.0\.attn\.hook_z' was not cached"):
        now(model, "z", replace("z", 0, other))


# ---- shapes that are refused ------------------------------------------------------------------


@pytest.mark.parametrize(
    ("site", "part", "shape"),
    [
        ("z", {}, (P, D)),
        ("z", {"head": 1}, (P, D)),
        ("z", {"head": 1}, (H, E)),
        ("z", {}, (P, E)),
        ("z", {}, (B, P, E)),
        ("z", {}, (H, E)),
        ("z", {"head": [0, 1]}, (B, P, E)),
        ("z", {"positions": [0, 1, 2, 3]}, (B, E)),
        ("resid_mid", {}, (P,)),
        ("resid_mid", {}, (B,)),
        ("resid_mid", {}, (B, D)),
        ("resid_mid", {}, (B, P)),
        ("resid_mid", {}, (B, P - 1, D)),
        ("resid_mid", {}, (1, B, P, D)),
        ("resid_mid", {"positions": 2}, (P, 1)),
        ("pattern", {"head": 1}, (B, P)),
        ("pattern", {}, (B, P, P + 1)),
    ],
)
def test_no_value_lands_on_another_axis(
    model: ns.HookedGPTNeo, site: str, part: Any, shape: Any
) -> None:
    full = f"blocks.0.{'hook_resid_mid' if site == 'resid_mid' else f'attn.hook_{site}'}"
    whole = model.run_with_cache(IDS, sites=site, layers=0)[1][site, 0]
    for make in (replace, add):
        with pytest.raises(EditError) as error:
            edited(model, "none", make(site, 0, value(*shape), **part))
        message = str(error.value)
        assert f"{make.__name__} at {full!r}: the value has shape {shape}" in message
        assert f"the whole site {tuple(whole.shape)}" in message and "selected part has" in message
    with pytest.raises(EditError, match=r"steer at .*the value has shape \(5,\)"):
        edited(model, "none", steer(site, 0, torch.zeros(5), **part))
    with pytest.raises(EditError, match=r"mean_ablate at .*the value has shape \(5,\)"):
        edited(model, "none", mean_ablate(site, 0, reference=torch.zeros(5), **part))


def test_a_value_that_fits_in_two_ways_is_refused(model: ns.HookedGPTNeo) -> None:
    """As many rows as positions or heads: [batch, d_model] looks like [pos, d_model]."""
    square = IDS[:, :3]
    for site, part, shape in [
        ("resid_mid", {"positions": -1}, (3, D)),
        ("pattern", {"head": 1}, (3, 3, 3)),
        ("z", {"head": 1}, (3, 3, E)),
        ("resid_mid", {"positions": [2, 1, 0]}, (3, D)),
        ("z", {"head": [0, 2, 1]}, (3, 3, H, E)),
    ]:
        new = value(*shape)
        with pytest.raises(EditError, match="fits in two ways; give it all axes of the part"):
            now(model, site, replace(site, 0, new, **part), ids=square)
        # Where both mean the same there is nothing to refuse.
        now(model, site, replace(site, 0, torch.ones(shape), **part), ids=square)
    new = value(3, D)
    found = now(model, "resid_mid", replace("resid_mid", 0, new[:, None], positions=-1), ids=square)
    assert same(found[:, -1], new)


def test_a_function_must_keep_the_shape(model: ns.HookedGPTNeo) -> None:
    for function, found in [(lambda x: x[0], r"\(7, 1, 8\)"), (lambda x: x.sum(), r"\(\)")]:
        edit = transform("z", 0, head=1, function=function)
        with pytest.raises(EditError, match=rf"hook_z' gave {found}.*\(3, 7, 1, 8\)"):
            edited(model, "none", edit)


# ---- what does not exist ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("edit", "words"),
    [
        (ablate("patern", 0), "did you mean 'pattern'"),
        (ablate("z", 3), "site 'z': layer 3 does not exist; the model has layers 0 to 2"),
        (ablate("z", -4), "site 'z': layer -4"),
        (ablate("z", []), "names no layer"),
        (ablate("embed", 0), "'hook_embed' is not in layer 0"),
        (ablate("blocks.1.hook_resid_mid", 0), r"'blocks.1.hook_resid_mid' is not in layer 0"),
        (ablate("result", 0), "'blocks.0.attn.hook_result' is switched off; call model.set_use_at"),
        (
            ablate("z", 0, head=3),
            "head 3 does not exist at site 'blocks.0.attn.hook_z', which has 3",
        ),
        (ablate("z", 0, head=[0, -4]), "head -4 does not exist"),
        (ablate("z", 0, head=[0, -3]), "twice"),
        (ablate("z", 0, head=[]), "selects nothing"),
        (ablate("z", 0, unit=8), "unit 8 does not exist"),
        (ablate("post", 0, unit=[96]), "unit 96 does not exist"),
        (ablate("resid_mid", 0, head=1), "head=1: site 'blocks.0.hook_resid_mid' has axes ('batch"),
        (ablate("z", 0, keys=1), "keys=1: site 'blocks.0.attn.hook_z' has axes"),
        (ablate("pattern", 0, unit=1), "unit=1: site"),
        (ablate("ln2.scale", 0, unit=0), "unit=0: site"),
        (ablate("z", 0, positions=40), "at most 40 positions"),
        (ablate("z", 0, positions=7), "positions: 7 is out of range in row 0, which has 7 tokens"),
        (ablate("z", 0, positions=[0, -8]), "positions: -8 is out of range"),
        (ablate("z", 0, positions=[6, -1]), "twice"),
        (ablate("pattern", 0, keys=9), "keys: 9 is out of range"),
    ],
)
def test_what_does_not_exist_is_named(model: ns.HookedGPTNeo, edit: Any, words: str) -> None:
    with pytest.raises(SiteError) as error:
        edited(model, "none", edit)
    assert words in str(error.value)


def test_positions_count_the_tokens_of_each_row(model: ns.HookedGPTNeo) -> None:
    with pytest.raises(SiteError, match="5 is out of range in row 0, which has 4 tokens"):
        edited(model, "left", ablate("z", 0, positions=5))


def test_edits_that_make_no_sense() -> None:
    with pytest.raises(EditError, match="does not take heads; it takes site, layer, head"):
        ablate("z", 0, heads=1)
    with pytest.raises(EditError, match=r"replace\('z', layer=0\) needs a value"):
        replace("z", 0)
    with pytest.raises(EditError, match=r"steer\('z', layer=0\) needs a vector"):
        steer("z", 0)
    untyped: Any = inspect.unwrap(compile_edits)  # beartype would say it first
    with pytest.raises(EditError, match=r"'z' is no edit; make one with neoscope\.edits"):
        untyped(["z"], CONFIG, frozenset())


def test_edits_outside_of_what_runs(model: ns.HookedGPTNeo) -> None:
    stream = model(IDS, stop_at_layer=1)
    for options, edit in [
        ({"stop_at_layer": 1}, ablate("z", 1)),
        ({"stop_at_layer": 1}, ablate("z")),
        ({"stop_at_layer": -1}, ablate("normalized")),
        ({"start_at_layer": 1}, ablate("z", 0)),
        ({"start_at_layer": 1}, ablate("embed")),
    ]:
        given_ = stream if "start_at_layer" in options else IDS
        with pytest.raises(SiteError, match=r"would not run: (start|stop)_at_layer="):
            model.run_with_edits(given_, [edit], **options)
    found = model.run_with_edits(stream, [ablate("z", 1)], start_at_layer=1)
    assert same(found, edited(model, "none", ablate("z", 1)))


def test_ln1_has_no_one_value_while_inputs_are_split(model: ns.HookedGPTNeo) -> None:
    model.set_use_split_qkv_input(True)
    try:
        with pytest.raises(SiteError, match=r"hook_normalized' has a value for every head"):
            edited(model, "none", ablate("ln1.normalized", 0), scale("q_input", 0, 2.0))
    finally:
        model.set_use_split_qkv_input(False)
