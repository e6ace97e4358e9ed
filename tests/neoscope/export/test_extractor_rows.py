"""Which tokens a pooled row is made of, and what rows that are tokens hold."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from neoscope.export.spec import FeatureSpec
from tests.neoscope.export.extracting import EVERYTHING, MODEL, POOLS
from tests.neoscope.export.oracle import TEXTS, TINY, check, close, ids_of, run, tokens_of


@pytest.mark.parametrize(
    "positions", [0, -1, [0, -1], [2, 1], slice(1, None), slice(-3, None), slice(None, None, 2)]
)
def test_positions_equal_the_oracle(positions: Any) -> None:
    texts = [text for text in TEXTS if len(ids_of(text, EVERYTHING)) > 2]
    spec = FeatureSpec(("resid_post", "surprisal"), layers=1, pool=POOLS, positions=positions)
    check(MODEL, spec, texts, batch_tokens=30)


def test_a_position_named_twice_counts_once() -> None:
    spec = FeatureSpec(layers=0, positions=[0, -1])
    found = run(MODEL, spec, ["a"]).features["resid_post_0_mean"]
    close(found, run(MODEL, FeatureSpec(layers=0), ["a"]).features["resid_post_0_mean"])


def test_a_text_without_the_position_is_a_problem_of_its_own() -> None:
    found = run(MODEL, FeatureSpec(layers=0, positions=5), [TEXTS[0], "a"])
    assert found.encoded.problems == {1: "position 5 does not exist: the text has 1 token"}
    found = run(MODEL, FeatureSpec(layers=0, positions=slice(1, 3)), [TEXTS[0], "a"])
    assert "selects no token: the text has 1 token" in found.encoded.problems[1]


def test_a_single_token_has_no_loss_and_no_surprisal() -> None:
    spec = FeatureSpec(("loss", "surprisal", "attn_to_previous", "entropy"), layers=0, pool=POOLS)
    found = run(MODEL, spec, ["a"])
    for name, filled in found.filled.items():
        assert filled[0] == name.startswith("entropy")
        assert np.isnan(found.features[name][0]).all() == (not filled[0])


def test_weighted_mean_is_sgpts() -> None:
    found = run(MODEL, FeatureSpec("embed", pool="weighted_mean"), ["ab"])
    a, b = MODEL.embed.W_E[torch.tensor(ids_of("ab", FeatureSpec()))].detach()
    close(found.features["embed_weighted_mean"][0], (1 * a + 2 * b) / 3)


def test_a_row_a_token_equals_the_oracle() -> None:
    sites = ("resid_mid", "hidden", "loss", "surprisal", "entropy", "attn_to_previous")
    spec = FeatureSpec(sites, layers=1, pool="none")
    found = run(MODEL, spec, TEXTS, batch_tokens=60)
    check_tokens(found, spec)


def test_a_row_a_token_in_windows_equals_the_oracle() -> None:
    sites = ("resid_mid", "loss", "surprisal", "attn_entropy")
    spec = FeatureSpec(sites, layers=1, pool="none", truncation="stride", max_length=7, overlap=3)
    check_tokens(run(MODEL, spec, TEXTS, batch_tokens=20), spec)


def check_tokens(found: Any, spec: FeatureSpec) -> None:
    for feature in spec.features(TINY):
        rows, filled = found.features[feature.name], found.filled[feature.name]
        at = 0
        for text in TEXTS:
            values, n = tokens_of(MODEL, feature, spec, text)
            assert filled[at : at + n].nonzero()[0].tolist() == sorted(values)
            for t in range(n):
                if t in values:
                    close(rows[at + t], values[t])
                else:
                    assert np.isnan(rows[at + t]).all()
            at += n
        assert len(rows) == at


def test_patterns_are_rows_over_the_tokens_of_their_own_text() -> None:
    spec = FeatureSpec(("pattern", "attn_scores"), layers=[0, 1], pool="none")
    found = run(MODEL, spec, TEXTS[:4], batch_tokens=80)
    for site in ("pattern", "attn_scores"):
        for layer in (0, 1):
            values, sizes = found.features[f"{site}_{layer}"], found.sizes[f"{site}_{layer}"]
            at = token = 0
            for text in TEXTS[:4]:
                _, cache = MODEL.run_with_cache(torch.tensor([ids_of(text, spec)]))
                for row in cache[site, layer][0].transpose(0, 1):
                    assert sizes[token] == row.numel()
                    part = values[at : at + row.numel()].reshape(row.shape)
                    finite = torch.isfinite(row)
                    np.testing.assert_array_equal(np.isfinite(part), finite)
                    close(part[finite], row[finite])
                    at, token = at + row.numel(), token + 1
            assert at == len(values)
