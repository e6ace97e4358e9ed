"""Names of sites: every name means one site, every site has one name."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import neoscope as ns
from neoscope.errors import SiteError
from neoscope.run import switch_names
from neoscope.site_kinds import BY_SHORT, KINDS, MOVED, SYNONYMS
from neoscope.sites import SiteRef, all_sites, resolve, select

CONFIG = ns.NeoConfig(n_layers=3, d_model=24, n_heads=3, n_ctx=40, d_vocab=50, window_size=5)
ALL = all_sites(CONFIG, switch_names())


def test_names_are_unique_and_resolve_to_themselves() -> None:
    assert len({ref.name for ref in ALL}) == len(ALL) == 3 * 23 + 4
    for ref in ALL:
        assert resolve(CONFIG, ref.name) == ref
        assert resolve(CONFIG, ref.kind.short, ref.layer) == ref
        if ref.layer is not None:
            assert resolve(CONFIG, ref.kind.short, ref.layer - 3) == ref
        assert select(CONFIG, ref.name, switches=switch_names()) == (ref,)


def test_synonyms_and_moved_names_resolve() -> None:
    for synonym, short in SYNONYMS.items():
        layer = 1 if BY_SHORT[short].layered else None
        assert resolve(CONFIG, synonym, layer).kind.short == short
    for old, new in MOVED.items():
        assert resolve(CONFIG, f"blocks.1.{old}").name == f"blocks.1.{new}"


def test_sites_come_in_the_order_of_a_forward() -> None:
    model = ns.HookedGPTNeo.from_config(CONFIG)
    for switch in ("use_attn_result", "use_hook_mlp_in"):
        getattr(model, f"set_{switch}")(True)
    met: list[str] = []
    names = [ref.name for ref in all_sites(CONFIG, model._switches_on())]
    model.run_with_hooks(
        [[1, 2, 3]], fwd_hooks=[(n, lambda x, hook: met.append(hook.name)) for n in names]
    )
    assert met == names


def test_sites_are_those_of_the_model() -> None:
    model = ns.HookedGPTNeo.from_config(CONFIG)
    assert {ref.name for ref in ALL} == set(model.hook_dict)


def test_switched_off_sites_are_not_listed() -> None:
    assert len(all_sites(CONFIG)) == 3 * 17 + 4
    assert {ref.kind.short for ref in ALL} - {ref.kind.short for ref in all_sites(CONFIG)} == {
        kind.short for kind in KINDS if kind.switch
    }
    with pytest.raises(SiteError, match=r"call model\.set_use_attn_result\(True\) first"):
        select(CONFIG, "result")


@given(
    sites=st.lists(st.sampled_from(sorted(BY_SHORT)), unique=True),
    layers=st.none() | st.lists(st.integers(-3, 2)),
)
def test_select_is_the_product_of_sites_and_layers(sites: list[str], layers: Any) -> None:
    found = select(CONFIG, sites, layers, switches=switch_names())
    wanted = {layer % 3 for layer in (range(3) if layers is None else layers)}
    assert set(found) == {
        ref for ref in ALL if ref.kind.short in sites and (ref.layer is None or ref.layer in wanted)
    }
    assert list(found) == [ref for ref in ALL if ref in found]


def test_select_by_predicate_and_by_layers_alone() -> None:
    assert {r.name for r in select(CONFIG, lambda name: name.startswith("hook_"))} == {
        "hook_embed",
        "hook_pos_embed",
    }
    only = select(CONFIG, None, 1)
    assert {ref.layer for ref in only} == {1} and len(only) == 17
    assert all(ref.kind.short != "z" for ref in select(CONFIG, drop=["z"]))


@pytest.mark.parametrize(
    ("key", "words"),
    [
        (("resid_pots", 0), "did you mean 'resid_post'?"),
        (("hook_patern", 0), "did you mean 'hook_pattern'?"),
        (("nothing like it at all", 0), "known: embed, pos_embed"),
        (("z", 3), "site 'z': layer 3 does not exist; the model has layers 0 to 2 (or -3 to -1)"),
        (("z", True), "layer True does not exist"),
        (("z",), "say which, e.g. ('z', 0)"),
        (("embed", 1), "site 'embed' is not in a layer"),
        (("blocks.7.attn.hook_z",), "'blocks.7.attn.hook_z': layer 7"),
        (("blocks.one.attn.hook_z",), "no site is called 'blocks.one.attn.hook_z'"),
        (("blocks.².attn.hook_z",), "no site is called"),
        (("blocks.0.attn.hook_zz",), "no site is called"),
    ],
)
def test_errors_name_what_was_asked_for(key: Any, words: str) -> None:
    with pytest.raises(SiteError) as error:
        resolve(CONFIG, *key)
    assert words in str(error.value)


def test_select_names_the_site_of_a_wrong_layer() -> None:
    with pytest.raises(SiteError, match=r"^site 'z': layer 3 does not exist"):
        select(CONFIG, "z", 3)
    with pytest.raises(SiteError, match=r"^layer 3 does not exist"):
        select(CONFIG, ["z", "q"], [0, 3])


def test_shapes_follow_axes() -> None:
    for ref in ALL:
        shape = ref.shape(CONFIG, 2, 5, keys=9)
        assert len(shape) == len(ref.kind.axes) and shape[0] == 2
        assert (9 in shape) == ("key" in ref.kind.axes)
    assert SiteRef(BY_SHORT["pattern"], 0).numel(CONFIG, 2, 5) == 2 * 3 * 5 * 5
