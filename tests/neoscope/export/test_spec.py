"""A spec says what it means, and refuses what means nothing."""

from __future__ import annotations

import json
import re
from typing import Any

import numpy as np
import pytest

import neoscope as ns
from neoscope.errors import ArgumentError, SiteError
from neoscope.export.derived import DERIVED
from neoscope.export.spec import POOLS, FeatureSpec
from neoscope.sites import all_sites

CONFIG = ns.NeoConfig(n_layers=3, d_model=24, n_heads=3, n_ctx=48, d_vocab=270, d_mlp=40)
SWITCHES = frozenset(("use_attn_result", "use_split_qkv_input", "use_hook_mlp_in"))


def names(spec: FeatureSpec, switches: frozenset[str] = frozenset()) -> list[str]:
    return [feature.name for feature in spec.features(CONFIG, switches)]


def test_columns_stand_in_the_order_of_sites_layers_pools() -> None:
    spec = FeatureSpec(["resid_post", "hidden", "ln1.scale"], layers=[2, 0], pool=["last", "mean"])
    assert names(spec) == [
        "resid_post_0_last",
        "resid_post_0_mean",
        "resid_post_2_last",
        "resid_post_2_mean",
        "hidden_last",
        "hidden_mean",
        "ln1_scale_0_last",
        "ln1_scale_0_mean",
        "ln1_scale_2_last",
        "ln1_scale_2_mean",
    ]


@pytest.mark.parametrize(
    ("sites", "layers", "expected"),
    [
        ("resid_post", None, ["resid_post_0", "resid_post_1", "resid_post_2"]),
        ("resid_post", -1, ["resid_post_2"]),
        ("resid_post", [0, -3, 0], ["resid_post_0"]),
        ("resid_post", [np.int64(1)], ["resid_post_1"]),
        ("blocks.1.hook_resid_post", 0, ["resid_post_1"]),
        (["resid_post", "blocks.0.hook_resid_post"], 0, ["resid_post_0"]),
        ("hook_embed", None, ["embed"]),
        ("neurons", 0, ["post_0"]),
        ("normalized", None, ["ln_final_normalized"]),
        ("attn_entropy", [-1, 1, 1], ["attn_entropy_2", "attn_entropy_1"]),
        ("loss", 1, ["loss"]),
    ],
)
def test_names_of_sites_and_layers(sites: Any, layers: Any, expected: list[str]) -> None:
    assert names(FeatureSpec(sites, layers=layers)) == [f"{name}_mean" for name in expected]


@pytest.mark.parametrize("pool", [*POOLS[:5], "none"])
def test_every_column_has_a_plain_name_of_its_own(pool: str) -> None:
    refs = all_sites(CONFIG, SWITCHES)
    sites = [r.name for r in refs if "key" not in r.kind.axes and r.kind.short[:3] != "ln1"]
    found = names(FeatureSpec([*sites, *DERIVED], pool=pool), SWITCHES)
    assert len(found) == len(set(found)) == len(sites) + 4 + 3 * CONFIG.n_layers
    assert all(re.fullmatch("[a-z][a-z0-9_]*", name) for name in found)


def test_widths_are_those_of_the_sites() -> None:
    sites = ["resid_post", "z", "pre", "ln2.scale", "hidden", "loss", "attn_entropy", "result"]
    found = FeatureSpec(sites, layers=0).features(CONFIG, SWITCHES)
    assert [feature.width for feature in found] == [24, 24, 40, 1, 24, 1, 3, 72]
    (pattern,) = FeatureSpec("pattern", layers=0, pool="none").features(CONFIG)
    assert pattern.width is None
    assert [f.defined for f in found if f.name in ("loss_mean", "z_0_mean")] == [
        "everywhere",
        "not_last",
    ]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"sites": []}, "sites is empty"),
        ({"pool": []}, "pool is empty"),
        ({"layers": []}, "layers is empty"),
        ({"pool": "means"}, "pool='means' is unknown; did you mean 'mean'?"),
        ({"pool": ["mean", "median"]}, "pool='median' is unknown"),
        ({"dtype": "bfloat16"}, "dtype='bfloat16' is unknown; did you mean 'float16'?"),
        ({"truncation": "cut"}, "truncation='cut' is unknown"),
        ({"max_length": 0}, "max_length=0 is no whole number above 0"),
        ({"max_length": True}, "max_length=True"),
        ({"overlap": 3}, "overlap=3 is for truncation='stride' only"),
        ({"overlap": 0, "truncation": "stride"}, "overlap=0 must be a whole number from 1"),
        ({"overlap": 8, "max_length": 8, "truncation": "stride"}, "overlap=8 must be"),
        ({"pool": ["none", "mean"]}, "'none' gives one row a token"),
        ({"pool": "none", "normalize": True}, "normalize is for what is pooled"),
        ({"pool": "none", "positions": 0}, "positions is for what is pooled"),
        ({"pool": "none", "positions": slice(1, None)}, "positions is for what is pooled"),
        ({"pool": "token"}, "pool='token' takes its place from each row"),
        ({"pool": ["token", "spans"], "positions": 3}, "pool='spans' takes its place"),
        ({"pool": ["token", "mean"], "positions": "at"}, "positions='at' names a column"),
        ({"positions": "at"}, "positions='at' names a column"),
        ({"positions": []}, "positions=[] must be whole numbers"),
        ({"positions": 1.5}, "positions=1.5 must be whole numbers"),
        ({"positions": [0, None]}, "positions=[0, None] must be whole numbers"),
        ({"positions": True}, "positions=True must be whole numbers"),
        ({"positions": slice("a", None)}, "positions=slice('a', None, None)"),
        ({"positions": slice(None, None, 0)}, "positions=slice(None, None, 0)"),
    ],
    ids=str,
)
def test_what_means_nothing_is_refused(options: dict[str, Any], said: str) -> None:
    with pytest.raises(ArgumentError, match=re.escape(said)):
        FeatureSpec(**options)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"sites": "resid_past"}, "no site is called 'resid_past'; did you mean 'resid_post'?"),
        ({"sites": "surprise"}, "did you mean 'surprisal'?"),
        ({"sites": "hiden"}, "did you mean 'hidden'?"),
        ({"sites": ""}, "no site is called ''"),
        ({"sites": "blocks.9.hook_resid_post"}, "layer 9 does not exist"),
        ({"sites": "blocks.0.hook_resid_past"}, "no site is called"),
        ({"layers": 3}, "layer 3 does not exist; the model has layers 0 to 2"),
        ({"sites": "attn_entropy", "layers": [0, -4]}, "layer -4 does not exist"),
        ({"layers": ["last"]}, "layer 'last' does not exist"),
        ({"layers": True}, "layer True does not exist"),
        ({"sites": "result"}, "is switched off; call model.set_use_attn_result(True) first"),
    ],
    ids=str,
)
def test_sites_and_layers_that_do_not_exist_are_refused(options: dict[str, Any], said: str) -> None:
    with pytest.raises(SiteError, match=re.escape(said)):
        FeatureSpec(**options).features(CONFIG)


@pytest.mark.parametrize("site", ["pattern", "attn_scores", "attn"])
def test_patterns_are_not_pooled_nor_read_in_windows(site: str) -> None:
    with pytest.raises(ArgumentError, match="take attn_to_first, attn_to_previous or attn_entropy"):
        FeatureSpec(site).features(CONFIG)
    with pytest.raises(ArgumentError, match="cannot be read in windows"):
        FeatureSpec(site, pool="none", truncation="stride").features(CONFIG)


def test_what_is_said_twice_is_said_once() -> None:
    assert FeatureSpec(pool=["mean", "mean"]).pool == ("mean",)
    assert FeatureSpec(pool=["none", "none"]).by_token


@pytest.mark.parametrize(
    ("positions", "recorded"),
    [
        (None, None),
        (-1, [-1]),
        (np.array([0, -1]), [0, -1]),
        (range(2), [0, 1]),
        (slice(np.int64(1), None), {"slice": [1, None, None]}),
    ],
)
def test_the_record_is_plain_json_and_equal_for_equal_specs(positions: Any, recorded: Any) -> None:
    record = FeatureSpec("embed", layers=[np.int64(1)], positions=positions).record()
    assert json.loads(json.dumps(record))["positions"] == recorded
    assert record == FeatureSpec(["embed"], layers=[1], positions=positions).record()


def test_the_record_holds_every_field() -> None:
    spec = FeatureSpec(pool="token", positions="at", layers=[0, -1], max_length=8)
    assert json.loads(json.dumps(spec.record())) == {
        "sites": ["resid_post"],
        "layers": [0, -1],
        "pool": ["token"],
        "positions": "at",
        "dtype": "float32",
        "max_length": 8,
        "truncation": "truncate",
        "overlap": None,
        "normalize": False,
        "prepend_bos": False,
    }
    assert spec.column == "at"
    assert FeatureSpec(positions=0).column is None
