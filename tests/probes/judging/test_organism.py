from __future__ import annotations

import numpy as np
import pytest

import neoscope as ns
from neoscope.organism import sentences
from probes.judging import (
    control_labels,
    online_codelength,
    permuted_labels,
    selectivity,
    variational_codelength,
)
from probes.linear.logistic import LogisticProbe

N_SENTENCES = 60


def features(model: ns.HookedGPTNeo) -> np.ndarray:
    """The residual stream after the second layer, one row a token."""
    texts = [s.text for s in sentences("filler", N_SENTENCES)]
    model.tokenizer = ns.load("organism").tokenizer
    read = model.tokenize(texts)
    _, cache = model.run_with_cache(read)
    return cache["resid_post", 1][read.mask].numpy().astype(np.float64)


@pytest.fixture(scope="module")
def tokens() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Part of speech, word and sentence of each token."""
    items = sentences("filler", N_SENTENCES)
    groups = np.repeat(np.arange(len(items)), [len(s.words) for s in items])
    labels = np.concatenate([s.labels["pos"] for s in items])
    return labels, np.concatenate([s.words for s in items]), groups


@pytest.fixture(scope="module")
def trained() -> np.ndarray:
    return features(ns.load("organism"))


@pytest.fixture(scope="module")
def untrained() -> np.ndarray:
    return features(ns.HookedGPTNeo.from_config(ns.load("organism").config))


def test_the_trained_model_has_the_shorter_code(
    tokens: tuple[np.ndarray, np.ndarray, np.ndarray], trained: np.ndarray, untrained: np.ndarray
) -> None:
    y, _, groups = tokens
    shuffled = permuted_labels(y, groups)[0]
    given = ((trained, y), (untrained, y), (trained, shuffled))
    online = [online_codelength(LogisticProbe(), X, t, groups).compression for X, t in given]
    assert online[0] > online[1] > online[2]
    variational = [variational_codelength(X, t, max_iter=30).compression for X, t in given]
    assert variational[0] > variational[1] > variational[2]


def test_part_of_speech_is_told_better_than_its_control(
    tokens: tuple[np.ndarray, np.ndarray, np.ndarray], trained: np.ndarray
) -> None:
    y, words, groups = tokens
    test = groups % 4 == 0
    control = control_labels(words, y)
    task, other = (
        float(LogisticProbe().fit(trained[~test], t[~test]).score(trained[test], t[test]))
        for t in (y, control)
    )
    assert task > 0.95
    assert selectivity(task, other).value > 0.1
