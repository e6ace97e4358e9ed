"""Probes against scikit-learn's searches over strengths, and LEACE against concept-erasure."""

from __future__ import annotations

import importlib.util
import tempfile
import time
import warnings
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

import probes
from neoscope import organism
from probes.erasure import fit_leace_layers
from tests.benchmarks import checkpoint, probes_peers, texts
from tests.benchmarks.harness import Contest, Figure, Settings

Array = NDArray[Any]
_ROWS, _TOKENS, _FOLDS = 8_000, 50_000, 5
_STRENGTHS = np.logspace(-4, 4, 10)
_PENALTIES = np.logspace(-2, 6, 20)
_PEER_LAYERS = (2, 10)
"""scikit-learn takes minutes for all layers: it runs these, and its time is scaled up."""
_ERASED_LAYERS = 13


def rows(settings: Settings) -> Iterator[Contest | Figure]:
    """Yield every row; features are hidden states, labels are made of word types and noise."""
    layers, types = _states(settings, 400 if settings.quick else _ROWS)
    peer = [layers[i % len(layers)] for i in _PEER_LAYERS]
    part = len(layers) / len(peer)
    # Of 0.002 of a score: among few rows a single one is more.
    tolerance = 10.0 if settings.quick else 1.0
    folds = probes_peers.folds(len(types), _FOLDS)
    for classes, name in ((4, "4 classes"), (2, "binary")):
        y = _labels(types, classes)
        ours = partial(_logistic, layers, y, folds)
        yield Contest(
            f"logistic, {name}",
            f"{len(layers)} layers x {len(_STRENGTHS)} strengths x {_FOLDS} folds, {len(y)} rows",
            ours,
            {"LogisticRegressionCV": partial(probes_peers.logistic, peer, y, folds, _STRENGTHS)},
            partial(probes_peers.logistic_error, peer, y, folds, _STRENGTHS),
            tolerance,
            rounds=2,
            folds={"LogisticRegressionCV": part},
        )
    target = layers[-1][:, :8].sum(1) + np.random.default_rng(1).normal(size=len(types))
    yield Contest(
        "ridge",
        f"{len(layers)} layers x {len(_PENALTIES)} strengths x {_FOLDS} folds, {len(types)} rows",
        partial(_ridge, layers, target, folds),
        {"RidgeCV": partial(probes_peers.ridge, peer, target, folds, _PENALTIES)},
        partial(probes_peers.ridge_error, peer, target, folds, _PENALTIES),
        1e-4,
        rounds=2,
        folds={"RidgeCV": part},
    )
    yield from _leace_rows(settings)
    missing = settings.treebank is None and not settings.quick
    yield Figure(
        "part-of-speech sweep",
        "s" if settings.treebank is None else f"s, {settings.treebank.name}",
        partial(_part_of_speech, settings),
        slow=not settings.quick,
        needs="--treebank" * missing,
    )


def _leace_rows(settings: Settings) -> Iterator[Contest]:
    n, d = (500, 32) if settings.quick else (_TOKENS, 768)
    generator = torch.Generator().manual_seed(0)
    mix = torch.randn(d, d, generator=generator) / d**0.5
    states = [torch.randn(n, d, generator=generator) @ mix for _ in range(_ERASED_LAYERS)]
    y = np.random.default_rng(0).integers(0, 17, n)
    for x in states:
        x[:, :17] += torch.nn.functional.one_hot(torch.as_tensor(y), 17)
    arrays = [x.numpy() for x in states]
    missing = importlib.util.find_spec("concept_erasure") is None
    yield Contest(
        "LEACE",
        f"{len(states)} layers, {n} rows x {d}, 17 classes",
        partial(fit_leace_layers, arrays, y, progress=False),
        {
            "concept-erasure, float64": partial(probes_peers.leace, states, y),
            "concept-erasure, float32": partial(probes_peers.leace, states, y, torch.float32),
        },
        partial(probes_peers.leace_error, states[0], y),
        1e-4,
        rounds=3,
        needs="pip install concept-erasure" * missing,
    )


def _logistic(layers: list[Array], y: Array, folds: Any) -> list[Any]:
    probe = probes.LogisticProbe(standardize=False)
    return [probe.fit_folds(X, y, [train for train, _ in folds], _STRENGTHS) for X in layers]


def _ridge(layers: list[Array], y: Array, folds: Any) -> list[Any]:
    probe = probes.RidgeProbe(standardize=False)
    return [probe.fit_folds(X, y, [train for train, _ in folds], _PENALTIES) for X in layers]


def _states(settings: Settings, n: int) -> tuple[list[Array], Array]:
    """Return the standardised states of n tokens, the embeddings first, and the tokens' ids."""
    with checkpoint.random_checkpoint(settings) as folder:
        corpus = texts.corpus(settings, folder, n // 8)
        model = checkpoint.load_ours(folder, settings)
        sites = [
            "blocks.0.hook_resid_pre",
            *(f"blocks.{i}.hook_resid_post" for i in range(model.config.n_layers)),
        ]
        kept: list[list[Array]] = [[] for _ in sites]
        ids: list[int] = []
        for text in corpus:
            tokens = model.tokenize(text, truncate=True)
            _, cache = model.run_with_cache(text, sites=sites, return_type=None)
            ids += tokens.ids[0].tolist()
            for place, site in enumerate(sites):
                kept[place].append(cache[site][0].cpu().numpy())
            if len(ids) >= n:
                break
    states = [np.concatenate(part)[:n] for part in kept]
    return [(x - x.mean(0)) / (x.std(0) + 1e-9) for x in states], np.array(ids[:n])


def _labels(types: Array, classes: int) -> Array:
    """A class for each word type; one row in five has any class."""
    rng = np.random.default_rng(0)
    by_type = rng.integers(0, classes, int(types.max()) + 1)[types]
    return np.where(rng.random(len(types)) < 0.2, rng.integers(0, classes, len(types)), by_type)


def _part_of_speech(settings: Settings) -> float:
    """Time the whole sweep of a treebank from its file: features on disk, control, code, twin."""
    with checkpoint.random_checkpoint(settings) as folder, tempfile.TemporaryDirectory() as kept:
        texts.corpus(settings, folder, 1)
        model = checkpoint.load_ours(folder, settings)
        start = time.perf_counter()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            data = _treebank(settings, model, Path(kept))
            probes.sweep(data, controls=True, mdl=True)
        return time.perf_counter() - start


def _treebank(settings: Settings, model: Any, kept: Path) -> probes.ProbeData:
    if settings.treebank is not None:
        return probes.ProbeData.from_conllu(model, settings.treebank, label="upos", folder=kept)
    sentences = organism.sentences("filler", 20, seed=0)
    return probes.ProbeData.from_language(model, sentences, label="pos", folder=kept)
