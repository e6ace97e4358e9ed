"""verify --published: a checkpoint beside what others measured of it."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner

import neoscope as ns
from neoscope.cli import app
from neoscope.evaluate import identity, published
from neoscope.evaluate.published import EMBEDDING, SHAPES, Shape, shaped_as

RUNNER = CliRunner()
SMALL = ns.NeoConfig(n_layers=2, d_model=16, n_heads=2, n_ctx=8, d_vocab=400, window_size=4)


def offset_model() -> ns.HookedGPTNeo:
    """A model whose token embeddings have the published norms, offset and cosines."""
    model = ns.HookedGPTNeo.from_config(SMALL)
    noise = torch.randn(400, 16, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    noise -= noise.mean(0)
    offset = torch.zeros(16, dtype=torch.float64)
    offset[0] = 11.0
    noise[:, 0] = 0
    rows = offset + noise * 2.6 / noise.norm(dim=1, keepdim=True)
    with torch.no_grad():
        model.embed.W_E.copy_(rows)
    return model


@pytest.fixture
def published_small(monkeypatch: pytest.MonkeyPatch) -> ns.HookedGPTNeo:
    """Let a small model be the published one."""
    model = offset_model()
    n = sum(weight.numel() for weight in model.parameters())
    monkeypatch.setattr(published, "SHAPES", {"125m": Shape(2, 16, 2, n)})
    monkeypatch.setattr("neoscope.evaluate.identifying.SHAPES", {"125m": Shape(2, 16, 2, n)})
    return model


def test_the_published_embedding_is_recognised(published_small: ns.HookedGPTNeo) -> None:
    found = identity(published_small)
    rows = dict(zip(found.what, zip(found.value, found.published, strict=True), strict=True))
    assert found.published_as == "125m"
    assert rows["parameters"][0] == rows["parameters"][1]
    assert rows["norm of their mean"][0] == pytest.approx(11.0, abs=0.1)
    table = found.to_dataframe().set_index("what")
    assert table.ok["mean cosine of token embeddings"]
    assert table.ok["mean norm of token embeddings"]
    assert table.ok["norm of their mean"]


def test_random_weights_of_that_shape_are_not(published_small: ns.HookedGPTNeo) -> None:
    found = identity(ns.HookedGPTNeo.from_config(SMALL))
    assert not found.ok
    assert found.to_dataframe().ok.tolist()[:4] == [True, False, False, False]


def test_sizes_are_those_that_the_configurations_have() -> None:
    for name, shape in SHAPES.items():
        config = ns.NeoConfig(
            n_layers=shape.n_layers, d_model=shape.d_model, n_heads=shape.n_heads, n_ctx=2048,
            d_vocab=50257, window_size=256,
        )  # fmt: skip
        assert shaped_as(config) == name
        assert config.n_params == shape.n_params


def test_every_published_figure_names_its_source() -> None:
    for statistics in EMBEDDING.values():
        assert all(s.source and s.within > 0 for s in statistics)


def test_the_command_says_what_differs(
    published_small: ns.HookedGPTNeo, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = ns.HookedGPTNeo.from_config(SMALL)
    monkeypatch.setattr("neoscope.cli.verify.command.load_model", lambda *_, **__: model)
    result = RUNNER.invoke(app, ["verify", "--published"], env={"NO_COLOR": "1"})
    assert result.exit_code == 1
    assert re.search(r"^mean norm of token embeddings .* 11\.4 +0\.5 +differs", result.stdout, re.M)
    assert "it is NOT that checkpoint" in result.stdout
    result = RUNNER.invoke(app, ["verify", "--published", "--json"])
    facts = json.loads(result.stdout)
    assert (result.exit_code, facts["ok"], facts["published_as"]) == (1, False, "125m")
    assert facts["figures"][1]["published"] == 0.945


def test_a_model_of_another_shape_is_told_so_and_passes() -> None:
    result = RUNNER.invoke(app, ["verify", "--published"])
    assert result.exit_code == 0
    assert "organism: no figures are published of a model of this shape" in result.stdout
    assert "nothing was compared" in result.stdout
    assert "gpt-neo in the sizes 125m, 350m, 1.3b, 2.7b" in result.stdout
    facts = json.loads(RUNNER.invoke(app, ["verify", "--published", "--json"]).stdout)
    assert facts.pop("message") == "organism: no figures are published of a model of this shape"
    assert facts == {"model": "organism", "published_as": None, "ok": None, "figures": []}


def test_a_result_is_kept(published_small: ns.HookedGPTNeo, tmp_path: Path) -> None:
    found = identity(published_small)
    assert str(ns.analysis.load(found.save(tmp_path / "who.json"))) == str(found)
