"""Neighbours and figures of the embedding equal brute force, and centring undoes an offset."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import neoscope as ns
from neoscope import analysis
from neoscope.analysis.weights import embedding_figures, embedding_space
from neoscope.errors import AnalysisError
from neoscope.model import HookedGPTNeo


def small(*, offset: float = 0.0, dtype: torch.dtype = torch.float32, tied: bool = True) -> Any:
    config = ns.NeoConfig(
        n_layers=1, d_model=16, n_heads=2, n_ctx=8, d_vocab=70, tie_word_embeddings=tied
    )
    model = HookedGPTNeo.from_config(config, seed=0)
    with torch.no_grad():
        model.embed.W_E.add_(offset)
    return model.to(dtype)


def cosines(X: Any) -> Any:
    units = X / np.linalg.norm(X, axis=1, keepdims=True)
    return units @ units.T


@pytest.mark.parametrize("metric", ["cosine", "euclidean", "dot"])
@pytest.mark.parametrize("center", [True, False])
@pytest.mark.parametrize("rows", [1, 7, 1000])
def test_neighbours_equal_brute_force(
    metric: str, center: bool, rows: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(embedding_space, "ROWS_AT_ONCE", rows)
    model = small(offset=0.3)
    X = model.W_E.detach().double().numpy()
    X = X - X.mean(0) if center else X
    scores = {
        "cosine": cosines(X),
        "dot": X @ X.T,
        "euclidean": np.linalg.norm(X[:, None] - X[None], axis=2),
    }[metric]
    found = analysis.nearest_neighbours(model, [3, 64], 5, metric=metric, center=center)
    for i, query in enumerate((3, 64)):
        order = np.argsort(scores[query] if metric == "euclidean" else -scores[query])
        expected = [j for j in order.tolist() if j != query][:5]
        assert found.ids[i].tolist() == expected
        np.testing.assert_allclose(found.scores[i], scores[query, expected], atol=1e-12)


def test_equally_near_tokens_stand_in_the_order_of_their_ids() -> None:
    model = small()
    with torch.no_grad():
        model.embed.W_E[[5, 20, 60]] = model.embed.W_E[3].clone()
    found = analysis.nearest_neighbours(model, 3, 3, metric="euclidean")
    assert found.ids.tolist() == [[5, 20, 60]]


def test_centring_undoes_a_planted_offset() -> None:
    plain, shifted = small(), small(offset=5.0)
    expected = analysis.nearest_neighbours(plain, range(10), 5)
    found = analysis.nearest_neighbours(shifted, range(10), 5)
    np.testing.assert_array_equal(found.ids, expected.ids)
    raw = analysis.nearest_neighbours(shifted, range(10), 5, center=False)
    assert (raw.ids != expected.ids).any()
    assert raw.mean_cosine > 0.9
    assert "center=True removes it" in str(raw)
    assert "taken away first" in str(found)
    assert "offset" not in str(expected)


def test_unembedding_of_an_untied_model_is_another_space() -> None:
    model = small(tied=False)
    found = [analysis.nearest_neighbours(model, 3, 5, space=s) for s in embedding_space.SPACES]
    assert found[0].ids.tolist() != found[1].ids.tolist()


def test_half_precision_is_searched_exactly_as_it_is_kept() -> None:
    model = small(dtype=torch.bfloat16)
    X = model.W_E.detach().double().numpy()
    scores = cosines(X - X.mean(0))[4]
    found = analysis.nearest_neighbours(model, 4, 3)
    expected = [j for j in np.argsort(-scores).tolist() if j != 4][:3]
    assert found.ids[0].tolist() == expected


def test_names_of_the_organism_are_neighbours() -> None:
    found = analysis.nearest_neighbours(ns.load("organism"), " keys", 3)
    assert found.queries == (" keys",)
    assert all(token.endswith("s") for token in found.tokens[0])
    table = found.to_dataframe()
    assert table["rank"].tolist() == [1, 2, 3]
    assert table["token"].tolist() == list(found.tokens[0])


@pytest.mark.parametrize("offset", [0.0, 5.0])
def test_figures_equal_brute_force(offset: float, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(embedding_space, "ROWS_AT_ONCE", 9)
    model = small(offset=offset)
    found = analysis.embedding_statistics(model)
    X = model.W_E.detach().double().numpy()
    apart = ~np.eye(70, dtype=bool)
    centred = cosines(X - X.mean(0))[apart]
    norms = np.linalg.norm(X, axis=1)
    expected = {
        "mean_cosine": cosines(X)[apart].mean(),
        "mean_norm": norms.mean(),
        "norm_of_mean": np.linalg.norm(X.mean(0)),
        "mean_cosine_centred": centred.mean(),
        "mean_abs_cosine_centred": np.abs(centred).mean(),
        "min_norm": norms.min(),
        "max_norm": norms.max(),
    }
    for name, value in expected.items():
        assert getattr(found, name) == pytest.approx(value, abs=1e-9), name
    assert found.largest == f"#{norms.argmax()}"
    assert found.n_paired == 70
    monkeypatch.setattr(embedding_figures, "_MOST_PAIRED", 40)
    some = analysis.embedding_statistics(model)
    assert some.n_paired == 40
    assert some.mean_abs_cosine_centred == pytest.approx(np.abs(centred).mean(), rel=0.2)


def test_published_figures_stand_beside_a_model_of_that_shape() -> None:
    found = analysis.embedding_statistics(small())
    assert list(found.to_dataframe().columns) == ["figure", "value"]
    config = ns.NeoConfig()
    assert (config.n_layers, config.d_model, config.d_vocab) == embedding_figures._SHAPE_125M
    table = dataclasses.replace(found, is_125m=True).to_dataframe().set_index("figure")
    assert table.loc["mean_cosine", "gpt-neo-125m"] == "0.93 to 0.96"


def test_results_are_kept(tmp_path: Path) -> None:
    model = small()
    near = analysis.nearest_neighbours(model, [1, 2], 3)
    again: Any = analysis.load(near.save(tmp_path / "near.json"))
    assert again.tokens == near.tokens
    np.testing.assert_array_equal(again.scores, near.scores)
    figures = analysis.embedding_statistics(model)
    kept: Any = analysis.load(figures.save(tmp_path / "figures.safetensors"))
    assert kept.mean_norm == figures.mean_norm


@pytest.mark.parametrize(
    ("tokens", "options", "message"),
    [
        (70, {}, "token id 70 does not exist; ids run from 0 to 69"),
        ([], {}, "tokens is empty"),
        ([1.5], {}, "a text or an id, not 1.5"),
        (1, {"k": 0}, "k=0; expected a whole number from 1 to 69"),
        (1, {"metric": "cosin"}, "did you mean 'cosine'"),
        (1, {"space": "unembeding"}, "did you mean 'unembedding'"),
        ("x", {}, "no tokenizer; give token ids"),
    ],
)
def test_bad_input_is_named(tokens: Any, options: dict[str, Any], message: str) -> None:
    with pytest.raises(AnalysisError, match=message):
        analysis.nearest_neighbours(small(), tokens, **options)


def test_a_text_of_several_tokens_is_refused_with_its_parts() -> None:
    with pytest.raises(AnalysisError, match=r"is 2 tokens \(' Mary', ' John'\), not one"):
        analysis.nearest_neighbours(ns.load("organism"), " Mary John")


def test_a_word_that_is_one_token_with_its_space_is_suggested() -> None:
    class Spaced:
        def __call__(self, text: str, **options: object) -> dict[str, list[int]]:
            return {"input_ids": [1] if text.startswith(" ") else [2, 3]}

        def decode(self, ids: list[int]) -> str:
            return {1: " keys", 2: "ke", 3: "ys"}[ids[0]]

    model = small()
    model.tokenizer = Spaced()
    message = r"'keys' is 2 tokens \('ke', 'ys'\), not one; ' keys', with a space, is one"
    with pytest.raises(AnalysisError, match=message):
        analysis.nearest_neighbours(model, "keys")


def test_no_token_and_no_model_are_told() -> None:
    model: Any = ns.load("organism")
    with pytest.raises(AnalysisError, match="'' gives no token; give a text that is one token"):
        analysis.nearest_neighbours(model, "")
    given: list[Any] = ["organism", model.run_with_cache("The keys")[1]]
    for other, kind in zip(given, ("str", "ActivationCache"), strict=True):
        with pytest.raises(AnalysisError, match=f"nearest_neighbours takes a model.*found {kind}"):
            analysis.nearest_neighbours(other, " Mary")
        with pytest.raises(
            AnalysisError, match=f"embedding_statistics takes a model.*found {kind}"
        ):
            analysis.embedding_statistics(other)
