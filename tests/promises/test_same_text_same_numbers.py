"""Promise 3: the same text gives the same numbers, whatever carries it through the model.

What a text gives is what it gives alone, in one plain forward. Every other way to the same numbers
is one function, here or in ``ways``. The engine on Ray is held against the local one, also to 1e-5,
in ``tests/neoscope/export/test_ray_engine.py``, because a Ray session takes long to start; here its
worker does its work in this process.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from hypothesis import Phase, given, note, settings
from hypothesis import strategies as st

import neoscope as ns
from neoscope import analysis, organism, patching
from neoscope.export import FeatureSpec, extract
from tests.promises.random_cases import Case, case_of
from tests.promises.ways import LAYER, WAYS, Way

Array = npt.NDArray[Any]
LIMIT = 1e-5
"""Relative to the largest value, in float32."""


def assert_same(found: Any, expected: Any) -> None:
    found, expected = np.asarray(found, dtype=float), np.asarray(expected, dtype=float)
    assert found.shape == expected.shape
    error = np.abs(found - expected).max() / np.abs(expected).max()
    assert error <= LIMIT, f"{error:.2g}"


@pytest.fixture(scope="module")
def model() -> Iterator[ns.HookedGPTNeo]:
    with torch.no_grad():
        yield ns.load("organism")


@pytest.fixture(scope="module")
def texts() -> list[str]:
    """Of many lengths, in no order of them; each once."""
    drawn = {sentence.text for sentence in organism.sentences("filler", 40, seed=5)}
    drawn |= {one.text for one in organism.sentences("sentiment", 8, seed=5)}
    return random.Random(0).sample(sorted(drawn), 24)


# ---- a vector of each text: the stream after a layer, at the last token ------------------------


@pytest.fixture(scope="module")
def alone(model: ns.HookedGPTNeo, texts: list[str]) -> Array:
    runs = [model.run_with_cache(text, sites="resid_post", layers=LAYER)[1] for text in texts]
    return np.stack([cache["resid_post", LAYER][0, -1].numpy() for cache in runs])


@pytest.mark.parametrize("way", WAYS, ids=lambda way: way.__name__)
def test_the_same_vector(
    way: Way, model: ns.HookedGPTNeo, texts: list[str], alone: Array, tmp_path: Path
) -> None:
    assert_same(way(model, texts, tmp_path), alone)


# ---- what a text is worth: nats of all its tokens after the first -------------------------------


@pytest.fixture(scope="module")
def nats(model: ns.HookedGPTNeo, texts: list[str]) -> Array:
    losses = [model(text, return_type="loss", loss_per_token=True) for text in texts]
    return np.array([float(loss.double().sum()) for loss in losses])


def losses_of_a_padded_batch(model: ns.HookedGPTNeo, texts: list[str], at: Path) -> Any:
    tokens = model.tokenize(texts, padding_side="left")
    return model(tokens, return_type="loss", loss_per_token=True).double().sum(1)


def logits_in_pieces_with_a_kv_cache(model: ns.HookedGPTNeo, texts: list[str], at: Path) -> Any:
    found = []
    for row, text in enumerate(texts):
        ids, past = model.tokenize(text).ids, ns.KVCache()
        cuts = sorted(random.Random(row).sample(range(1, ids.shape[1]), 2))
        pieces = torch.tensor_split(ids, cuts, dim=1)
        logits = torch.cat([model(piece, past=past) for piece in pieces], dim=1)
        log_p = logits.double().log_softmax(-1)[0, :-1]
        found.append(-float(log_p.gather(1, ids[0, 1:, None]).sum()))
    return found


def losses_exported(model: ns.HookedGPTNeo, texts: list[str], at: Path) -> Any:
    found = extract(model, texts, FeatureSpec("loss", pool="mean"), progress=False)["loss_mean"]
    # The last token's loss is that of a word which is not there.
    return np.ravel(found) * [n - 1 for n in model.tokenize(texts).lengths]


def losses_of_tokens(model: ns.HookedGPTNeo, texts: list[str], at: Path) -> Any:
    found = analysis.token_losses(model, texts, batch_tokens=60, progress=False)
    # The surprisal of a text's first token is not a number.
    return np.bincount(found.text, np.nan_to_num(found.surprisal.astype(float)))


def likelihoods_of_an_evaluation(model: ns.HookedGPTNeo, texts: list[str], at: Path) -> Any:
    pytest.importorskip("lm_eval")
    from neoscope.evaluate.scoring import Request, Scorer

    ids = [model.tokenize(text).ids[0].tolist() for text in texts]
    requests = [Request(row[:1], row[1:]) for row in ids]
    return [-score for score, _ in Scorer(model, batch_tokens=70).score(requests)]


def a_lens_at_the_last_layer(model: ns.HookedGPTNeo, texts: list[str], at: Path) -> Any:
    _, cache = model.run_with_cache(model.tokenize(texts), sites="resid_post")
    found = analysis.logit_lens(cache, model, layers=[-1])
    return np.bincount(found.text, np.nan_to_num(found.cross_entropy[-1].astype(float)))


VALUES: list[Way] = [
    losses_of_a_padded_batch,
    logits_in_pieces_with_a_kv_cache,
    losses_exported,
    losses_of_tokens,
    likelihoods_of_an_evaluation,
    a_lens_at_the_last_layer,
]


@pytest.mark.parametrize("way", VALUES, ids=lambda way: way.__name__)
def test_the_same_nats(
    way: Way, model: ns.HookedGPTNeo, texts: list[str], nats: Array, tmp_path: Path
) -> None:
    assert_same(way(model, texts, tmp_path), nats)


def test_the_unpatched_runs_of_a_sweep(model: ns.HookedGPTNeo) -> None:
    pairs = organism.pairs("ioi", n=4)
    metric = patching.logit(pairs.answer)
    found = patching.sweep(
        model, pairs.clean, pairs.corrupted, metric, layers=[0], positions=[-1], progress=False
    )
    for run, prompts in ((found.clean, pairs.clean), (found.corrupted, pairs.corrupted)):
        expected = []
        for text, answer in zip(prompts, pairs.answer, strict=True):
            (token,) = model.tokenize(answer).ids[0].tolist()
            expected.append(float(model(text)[0, -1, token]))
        assert_same(run, expected)


def test_what_generation_says_of_its_tokens(model: ns.HookedGPTNeo, texts: list[str]) -> None:
    """Prompts of many lengths, continued together with a KV cache."""
    prompts = [" ".join(text.split()[: 2 + i % 3]) for i, text in enumerate(texts)]
    found = model.generate(prompts, max_new_tokens=5, return_type="result", progress=False)
    for prompt, tokens, log_probs in zip(prompts, found.tokens, found.log_probs, strict=True):
        ids = [*model.tokenize(prompt).ids[0].tolist(), *tokens]
        logits = model([ids])[0, -len(tokens) - 1 : -1].double()
        expected = logits.log_softmax(-1).gather(1, torch.tensor(tokens)[:, None])[:, 0]
        # A probability near one has a logarithm near zero: what was computed are logits.
        assert np.abs(np.asarray(log_probs) - expected.numpy()).max() <= LIMIT * logits.abs().max()


def test_a_pipeline(model: ns.HookedGPTNeo, texts: list[str]) -> None:
    extractor = ns.pipeline("feature-extraction", model=model)
    for text, found in zip(texts[:6], extractor(texts[:6]), strict=True):
        assert_same(found, model(text, return_type="hidden"))


# ---- random models ------------------------------------------------------------------------------


def test_of_random_models_too() -> None:
    """Rows of a batch in any padding, and rows run piece by piece with a KV cache."""

    @settings(max_examples=200, derandomize=True, deadline=None, phases=[Phase.generate])
    @given(data=st.data())
    def check(data: st.DataObject) -> None:
        case: Case = case_of(data.draw)
        note(str(case))
        model = case.model.float()
        together = model(case.ids, case.mask)
        # A KV cache begins with a token of every row.
        begun = max(columns[0] for columns in case.columns) + 1
        cuts = sorted(data.draw(st.sets(st.integers(begun, case.width))) - {case.width})
        past, pieces = ns.KVCache(), []
        for start, stop in zip([0, *cuts], [*cuts, case.width], strict=True):
            mask = None if case.mask is None else case.mask[:, :stop]
            pieces.append(model(case.ids[:, start:stop], mask, past=past))
        in_pieces = torch.cat(pieces, dim=1)
        for row, columns in enumerate(case.columns):
            at = list(columns)
            alone = model(case.ids[row : row + 1, at])[0]
            assert_same(together[row, at], alone)
            assert_same(in_pieces[row, at], alone)

    with torch.no_grad():
        check()
