"""Ablation sweeps against whole runs of the model with its own ablation edits."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

import neoscope as ns
from neoscope import edits
from neoscope.errors import PatchingError, SiteError
from neoscope.patching.metrics import kl, logit_diff, loss
from neoscope.patching.prompts.pairs import read_prompts
from neoscope.patching.sweeps.ablation import ablate
from tests.neoscope.patching import plain
from tests.neoscope.patching.cases import model_of

TEXTS = [[4, 5, 6, 7, 8], [9, 8, 7, 6, 5, 4, 3, 2], [11, 12, 13, 14, 15, 16]]
SAME = [row[:5] for row in TEXTS]
REFERENCE = [[1, 2, 3, 4, 5], [20, 21, 22, 23, 24], [30, 31, 32, 33, 34], [3, 1, 4, 1, 5]]
METRIC = logit_diff([3, 5, 7], 1)


@torch.no_grad()
def runs(model: ns.HookedGPTNeo, texts: Any, *changes: Any) -> np.ndarray:
    """The metric in a whole run with edits, [pairs]."""
    tokens = plain.tokens_of(read_prompts(model, texts), "clean")
    last = model.run_with_edits(tokens, list(changes))[:, -1].double()
    return (last[range(3), [3, 5, 7]] - last[:, 1]).numpy()


@pytest.mark.parametrize("kind", ["mixed", "local"])
def test_heads_at_zero_are_ablated(kind: str) -> None:
    model = model_of(kind)
    found = ablate(model, TEXTS, METRIC, progress=False)
    assert found.shape == (3, 2) and found.direction == "ablate" and found.source == "zero"
    assert found.corrupted is None and found.base_name == "clean"
    for layer in range(3):
        for head in range(2):
            expected = runs(model, TEXTS, edits.ablate("z", layer=layer, head=head))
            assert np.allclose(found.patched[:, layer, head], expected, atol=1e-4)
    assert np.allclose(found.values, found.patched - runs(model, TEXTS)[:, None, None], atol=1e-4)


@pytest.mark.parametrize("site", ["z", "mlp_out", "post", "resid_mid", "k"])
@pytest.mark.parametrize("reference", [None, REFERENCE])
def test_means_are_over_the_reference(site: str, reference: Any) -> None:
    model = model_of()
    found = ablate(
        model, TEXTS, METRIC, site, source="mean", reference=reference, layers=1, progress=False
    )
    tokens = plain.tokens_of(read_prompts(model, reference or TEXTS), "clean")
    _, cache = model.run_with_cache(tokens)
    heads = range(2) if site in ("z", "k") else [None]
    expected = np.stack(
        [runs(model, TEXTS, edits.mean_ablate(site, 1, h, reference=cache)) for h in heads], 1
    )
    assert np.allclose(found.patched.reshape(3, -1), expected, atol=1e-4)
    assert found.source == "mean" and np.abs(found.values).min() > 1e-4


def test_means_by_position_are_over_texts_alone() -> None:
    model = model_of()
    options: dict[str, Any] = {"reference": REFERENCE, "by_position": True, "progress": False}
    found = ablate(model, SAME, METRIC, "attn_out", source="mean", positions=None, **options)
    _, cache = model.run_with_cache(torch.tensor(REFERENCE))
    for layer in range(3):
        mean = cache["attn_out", layer].mean(0)
        for at in range(5):
            put = edits.replace("attn_out", layer, mean[at], positions=at)
            assert np.allclose(found.patched[:, layer, at], runs(model, SAME, put), atol=1e-4)
    with pytest.raises(PatchingError, match="all as long as the prompts"):
        ablate(model, TEXTS, METRIC, source="mean", **options)
    with pytest.raises(PatchingError, match="by_position=True is for source='mean'"):
        ablate(model, SAME, METRIC, source="zero", by_position=True, progress=False)


def test_resampling_puts_in_a_reference_text_of_the_same_length() -> None:
    model = model_of()
    options: dict[str, Any] = {"source": "resample", "reference": REFERENCE, "progress": False}
    found = ablate(model, SAME, METRIC, "mlp_out", layers=1, seed=3, **options)
    _, cache = model.run_with_cache(torch.tensor(REFERENCE))
    rows = []
    for k in range(3):
        possible = []
        for drawn in cache["mlp_out", 1]:
            put = edits.replace("mlp_out", 1, drawn.expand(3, -1, -1))
            possible.append(runs(model, SAME, put)[k])
        rows.append(np.abs(np.array(possible) - found.patched[k, 0]))
    drawn = [int(row.argmin()) for row in rows]
    assert max(row.min() for row in rows) < 1e-4 and len(set(drawn)) > 1
    again = ablate(model, SAME, METRIC, "mlp_out", layers=1, seed=3, **options)
    assert again == found
    with pytest.raises(
        PatchingError, match=r"prompt 1 has 8 tokens, the reference texts have \[5\]"
    ):
        ablate(model, TEXTS, METRIC, **options)
    among = ablate(model, SAME, METRIC, source="resample", progress=False)
    assert among.source == "resample" and among.ran is not None and among.ran.all()


def test_neurons_and_positions_and_metrics_of_texts() -> None:
    model = model_of()
    found = ablate(model, TEXTS, loss(), "post", units=[0, 63], layers=2, progress=False)
    assert found.shape == (1, 2)
    tokens = plain.tokens_of(read_prompts(model, TEXTS[:1]), "clean")
    with torch.no_grad():
        changed = model.run_with_edits(
            tokens, edits.ablate("post", layer=2, unit=63), return_type="loss"
        )
    assert found.patched[0, 0, 1] == pytest.approx(float(changed), abs=1e-5)
    told = ablate(model, TEXTS, kl(), positions=[-1], heads="all", progress=False)
    assert told.shape == (3, 1) and np.allclose(told.clean, 0, atol=1e-6)
    assert (told.values > 0).all()


def test_progress_tells_of_ablations() -> None:
    seen: list[Any] = []
    found = ablate(model_of(), TEXTS, METRIC, progress=seen.append)
    assert seen[-1].partial() == found


def test_what_cannot_be_ablated_is_refused() -> None:
    model = model_of()
    with pytest.raises(PatchingError, match="source=None: an ablation has no other prompt"):
        ablate(model, TEXTS, METRIC, source=None)
    with pytest.raises(PatchingError, match="did you mean 'zero'"):
        ablate(model, TEXTS, METRIC, source="zeros")
    with pytest.raises(PatchingError, match="reference= is for source='mean' and 'resample'"):
        ablate(model, TEXTS, METRIC, reference=REFERENCE)
    with pytest.raises(SiteError, match="did you mean 'mlp_out'"):
        ablate(model, TEXTS, METRIC, "mlp_ou")
    with pytest.raises(PatchingError, match=r"mean.*pattern"):
        ablate(model, SAME, METRIC, "pattern", source="mean", progress=False)
