"""Ways to one vector of each text: the stream after a layer, at the text's last token."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

import neoscope as ns
import probes
from neoscope.corpus import cache_texts
from neoscope.export import FeatureSpec, Featurizer, LocalEngine, extract, to_store
from neoscope.store import FeatureStore

LAYER = 2
SITE = f"resid_post_{LAYER}_last"

Way = Callable[[ns.HookedGPTNeo, list[str], Path], Any]


def _cached(model: ns.HookedGPTNeo, texts: list[str], side: Any) -> ns.ActivationCache:
    tokens = model.tokenize(texts, padding_side=side)
    return model.run_with_cache(tokens, sites="resid_post", layers=LAYER, positions=-1)[1]


def one_batch_padded_on_the_right(model: ns.HookedGPTNeo, texts: list[str], at: Path) -> Any:
    return _cached(model, texts, "right")["resid_post", LAYER][:, 0]


def one_batch_padded_on_the_left(model: ns.HookedGPTNeo, texts: list[str], at: Path) -> Any:
    return _cached(model, texts, "left")["resid_post", LAYER][:, 0]


def batches_in_other_company(model: ns.HookedGPTNeo, texts: list[str], at: Path) -> Any:
    order = random.Random(1).sample(range(len(texts)), len(texts))
    found: dict[int, Tensor] = {}
    for start in range(0, len(order), 5):
        rows = order[start : start + 5]
        cache = _cached(model, [texts[i] for i in rows], "right")
        found |= dict(zip(rows, cache["resid_post", LAYER][:, 0], strict=True))
    return torch.stack([found[i] for i in range(len(texts))])


def with_every_site_looked_at(model: ns.HookedGPTNeo, texts: list[str], at: Path) -> Any:
    return torch.stack(
        [model.run_with_cache(text)[1]["resid_post", LAYER][0, -1] for text in texts]
    )


def token_by_token_with_a_kv_cache(model: ns.HookedGPTNeo, texts: list[str], at: Path) -> Any:
    found = []
    for text in texts:
        past = ns.KVCache()
        for token in model.tokenize(text).ids[0]:
            _, cache = model.run_with_cache(
                token.view(1, 1), sites="resid_post", layers=LAYER, past=past
            )
        found.append(cache["resid_post", LAYER][0, -1])
    return torch.stack(found)


def stopped_and_started_in_the_middle(model: ns.HookedGPTNeo, texts: list[str], at: Path) -> Any:
    middle = [model(text, stop_at_layer=1) for text in texts]
    return torch.stack([model(x, start_at_layer=1, stop_at_layer=LAYER + 1)[0, -1] for x in middle])


def a_cache_of_a_corpus(model: ns.HookedGPTNeo, texts: list[str], at: Path) -> Any:
    tokens = model.tokenize(texts)
    cache = cache_texts(model, tokens, sites=["resid_post"], positions=-1, batch_tokens=40)
    return cache["resid_post", LAYER][:, 0]


def a_cache_from_disk(model: ns.HookedGPTNeo, texts: list[str], at: Path) -> Any:
    _cached(model, texts, "left").save(at / "run.safetensors")
    return ns.ActivationCache.load(at / "run.safetensors")["resid_post", LAYER][:, 0]


def what_generation_returns(model: ns.HookedGPTNeo, texts: list[str], at: Path) -> Any:
    _, cache = model.generate(
        texts, max_new_tokens=3, return_cache=True, sites="resid_post", layers=LAYER, progress=False
    )
    ends = [n - 1 for n in model.tokenize(texts).lengths]  # padded on the right: columns count
    return cache["resid_post", LAYER][torch.arange(len(texts)), ends]


def extracted_in_memory(model: ns.HookedGPTNeo, texts: list[str], at: Path) -> Any:
    spec = FeatureSpec("resid_post", layers=[LAYER], pool="last")
    return extract(model, texts, spec, batch_tokens=30, progress=False)[SITE]


def _stored(model: ns.HookedGPTNeo, texts: list[str], at: Path, **options: Any) -> FeatureStore:
    spec = FeatureSpec("resid_post", layers=[LAYER], pool="last")
    to_store(model, texts, at / "store", spec, shard_rows=7, progress=False, **options)
    return FeatureStore.open(at / "store")


def stored_as_parquet(model: ns.HookedGPTNeo, texts: list[str], at: Path) -> Any:
    return _stored(model, texts, at, engine=LocalEngine()).to_numpy(SITE)


def stored_as_npy(model: ns.HookedGPTNeo, texts: list[str], at: Path) -> Any:
    return _stored(model, texts, at, file_format="npy").to_numpy(SITE, mmap=True)


def stored_as_safetensors(model: ns.HookedGPTNeo, texts: list[str], at: Path) -> Any:
    store = _stored(model, texts, at, file_format="safetensors")
    return np.concatenate([batch[SITE] for batch in store.iter_batches(batch_size=5)])


def featurized(model: ns.HookedGPTNeo, texts: list[str], at: Path) -> Any:
    return Featurizer(model, layer=LAYER, pool="last").fit_transform(texts)


def data_of_probes(model: ns.HookedGPTNeo, texts: list[str], at: Path) -> Any:
    labels = [i % 2 for i in range(len(texts))]
    data = probes.ProbeData.from_texts(model, texts, labels, layers=[LAYER], pool="last")
    return data.matrix(data.places[0])


def data_of_probes_from_a_store(model: ns.HookedGPTNeo, texts: list[str], at: Path) -> Any:
    store = _stored(model, [{"text": t, "label": str(i % 2)} for i, t in enumerate(texts)], at)
    data = probes.ProbeData.from_store(store, "label", pool="last")
    return data.matrix(data.places[0])


def data_of_probes_from_a_cache(model: ns.HookedGPTNeo, texts: list[str], at: Path) -> Any:
    labels = [i % 2 for i in range(len(texts))]
    data = probes.ProbeData.from_cache(_cached(model, texts, "right"), labels, pool="last")
    return data.matrix(data.places[0])


def a_worker_of_ray(model: ns.HookedGPTNeo, texts: list[str], at: Path) -> Any:
    pytest.importorskip("ray")
    from neoscope.export.engines import Work
    from neoscope.export.extractor import Extractor
    from neoscope.export.ray_engine.worker import recipe

    spec = FeatureSpec("resid_post", layers=[LAYER], pool="last")
    work = Work(Extractor(model, spec, batch_tokens=50), "fail", "text")
    there = recipe(work, device=None, threads=1, send=None).work().extractor
    return there.run(there.encode(texts)).features[SITE]


WAYS: list[Way] = [
    one_batch_padded_on_the_right,
    one_batch_padded_on_the_left,
    batches_in_other_company,
    with_every_site_looked_at,
    token_by_token_with_a_kv_cache,
    stopped_and_started_in_the_middle,
    a_cache_of_a_corpus,
    a_cache_from_disk,
    what_generation_returns,
    extracted_in_memory,
    stored_as_parquet,
    stored_as_npy,
    stored_as_safetensors,
    featurized,
    data_of_probes,
    data_of_probes_from_a_store,
    data_of_probes_from_a_cache,
    a_worker_of_ray,
]
