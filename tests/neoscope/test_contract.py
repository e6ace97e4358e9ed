"""The site contract holds on random shapes, and its report says what it found."""

from __future__ import annotations

import random

import pytest
import torch

from neoscope.config import NeoConfig
from neoscope.contract import check
from neoscope.contract_report import Check, ContractReport
from neoscope.errors import ContractError
from neoscope.model import HookedGPTNeo


def random_model(seed: int) -> HookedGPTNeo:
    draw = random.Random(seed)
    n_heads, n_layers = draw.randint(1, 3), draw.randint(1, 4)
    config = NeoConfig(
        n_layers=n_layers,
        n_heads=n_heads,
        d_model=n_heads * draw.choice((2, 5, 8)),
        n_ctx=draw.randint(6, 30),
        d_vocab=draw.choice((7, 40)),
        window_size=draw.choice((1, 2, 5, 40)),
        attention_layers=tuple(draw.choice(("global", "local")) for _ in range(n_layers)),
        d_mlp=draw.choice((None, 9)),
        act_fn=draw.choice(("gelu_new", "relu", "silu")),
        init_range=0.3,
        tie_word_embeddings=draw.random() < 0.7,
    )
    dtype = draw.choice((torch.float32, torch.float32, torch.bfloat16, torch.float16))
    return HookedGPTNeo.from_config(config, seed=seed, dtype=dtype)


@pytest.mark.parametrize("seed", range(30))
def test_holds_on_random_shapes(seed: int) -> None:
    report = check(random_model(seed), seed=seed, layers="all")
    assert report.ok, str(report)


def test_holds_on_the_compiled_circuit_whose_weights_are_mostly_zero() -> None:
    report = check(HookedGPTNeo.from_pretrained("induction"))
    assert report.ok, str(report)
    assert any(row.note for row in report.checks)


def test_covers_every_site_of_every_layer_kind() -> None:
    model = random_model(4)
    report = check(model, layers="all")
    written = {row.site for row in report.checks if row.what == "write-back"}
    assert written == set(model.hook_dict)


def test_leaves_switches_hooks_edits_and_gradients_as_they_were() -> None:
    model = random_model(2)
    model.set_use_attn_result(True)
    seen: list[str] = []
    model.add_hook("hook_embed", lambda x, hook: seen.append(hook.name))
    assert check(model).ok
    assert model.cfg.use_attn_result
    assert not model.cfg.use_split_qkv_input
    assert not seen
    assert all(parameter.grad is None for parameter in model.parameters())
    model([[1, 2]])
    assert seen == ["hook_embed"]
    model.reset_hooks()
    model([[1, 2]])
    assert seen == ["hook_embed"]


def test_report_names_what_failed_and_can_raise() -> None:
    bad = Check("write-back", "blocks.0.attn.hook_z", "global", False, 3.0, 0.0)
    good = Check("gradient", "hook_embed", "", True, 0.5, 0.0)
    report = ContractReport("m", "float32", (bad, good))
    assert not report.ok
    assert report.failures == (bad,)
    assert "BROKEN" in str(report)
    with pytest.raises(ContractError, match=r"write-back at blocks.0.attn.hook_z"):
        report.raise_if_failed()
    assert list(report.to_dataframe()["site"]) == ["blocks.0.attn.hook_z", "hook_embed"]


def test_says_how_far_it_is_and_itself_on_one_line() -> None:
    told: list[tuple[int, int]] = []
    report = check(random_model(4), progress=lambda done, total: told.append((done, total)))
    assert told == [(i + 1, len(told)) for i in range(len(told))]
    assert repr(report).startswith("ContractReport(")
    assert repr(report).endswith(f"{len(report.checks):,} checks, holds)")
