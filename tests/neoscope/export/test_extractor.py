"""What the extractor gives is what one text at a time gives, in whatever company."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

import neoscope as ns
from neoscope.errors import SiteError, TokenizationError
from neoscope.export.extractor import Extractor
from neoscope.export.spec import FeatureSpec
from neoscope.sites import all_sites
from tests.neoscope.export.extracting import (
    EVERYTHING,
    MODEL,
    N_TOKENS,
    OF_PATTERNS,
    POOLS,
    hooked,
    whole,
)
from tests.neoscope.export.oracle import TEXTS, TINY, check, close, ids_of, run, same, tiny


def test_every_site_that_can_be_pooled_equals_the_oracle() -> None:
    model = tiny()
    model.set_use_attn_result(True)
    model.set_use_hook_mlp_in(True)
    sites = all_sites(model.config, model._switches_on())
    names = [ref.name for ref in sites if "key" not in ref.kind.axes]
    check(model, FeatureSpec(names, pool="weighted_mean"), TEXTS[:4], batch_tokens=40)


@pytest.mark.parametrize("switch", ["use_split_qkv_input", "use_attn_in"])
def test_split_inputs_equal_the_oracle_and_leave_no_single_layernorm(switch: str) -> None:
    model = tiny()
    getattr(model, f"set_{switch}")(True)
    names = {"use_attn_in": ["attn_in"]}.get(switch, ["q_input", "k_input", "v_input"])
    check(model, FeatureSpec([*names, "resid_post"], layers=1), TEXTS[:3])
    for name in ("ln1.scale", "ln1.normalized"):
        with pytest.raises(SiteError, match=f"several values while {switch} is on"):
            Extractor(model, FeatureSpec(name))
    check(model, FeatureSpec(["ln2.scale"]), TEXTS[:2])


def test_every_pool_equals_the_oracle() -> None:
    check(MODEL, EVERYTHING, TEXTS, batch_tokens=30)


def test_the_same_of_an_untied_model_with_a_wide_window() -> None:
    model = tiny(3, tie_word_embeddings=False, window_size=200, act_fn="relu", n_heads=4)
    check(model, EVERYTHING, TEXTS[:4], batch_tokens=30)


def test_summaries_of_attention_equal_the_oracle() -> None:
    spec = FeatureSpec((*OF_PATTERNS, "resid_mid"), pool=POOLS)
    check(MODEL, spec, TEXTS, batch_tokens=60)


def test_a_text_begun_by_bos_equals_the_oracle() -> None:
    spec = FeatureSpec(("resid_post", "surprisal", "loss"), pool=POOLS, prepend_bos=True)
    found = check(MODEL, spec, TEXTS[:4])
    assert found.filled["loss_mean"].all()  # bos alone predicts a first token


@given(
    batch_tokens=st.integers(1, 200),
    order=st.permutations(range(len(TEXTS))),
    n=st.integers(1, len(TEXTS)),
)
@settings(max_examples=12)
def test_company_changes_nothing(batch_tokens: int, order: list[int], n: int) -> None:
    rows = order[:n]
    some = run(MODEL, EVERYTHING, [TEXTS[i] for i in rows], batch_tokens=batch_tokens)
    same(whole(), some, rows)


@pytest.mark.parametrize("batch_tokens", [1, 50, 10_000])
def test_the_padded_path_gives_the_same(batch_tokens: int) -> None:
    same(whole(), run(hooked(), EVERYTHING, TEXTS, batch_tokens=batch_tokens))


def test_padded_and_packed_paths_are_both_taken(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    shapes: list[tuple[int, ...]] = []
    forward = ns.HookedGPTNeo.forward

    def spy(self: Any, ids: Tensor, *args: Any, **options: Any) -> Any:
        shapes.append(tuple(ids.shape))
        return forward(self, ids, *args, **options)

    monkeypatch.setattr(ns.HookedGPTNeo, "forward", spy)
    spec = FeatureSpec(layers=0)
    longest = max(len(ids_of(text, spec)) for text in TEXTS)
    run(MODEL, spec, TEXTS, batch_tokens=10_000)
    run(hooked(), spec, TEXTS, batch_tokens=10_000)
    run(MODEL, FeatureSpec("attn_entropy"), TEXTS, batch_tokens=10_000)
    assert shapes == [(1, N_TOKENS), (len(TEXTS), longest), (len(TEXTS), longest)]


def test_edits_in_force_are_what_is_extracted() -> None:
    spec = FeatureSpec("resid_post", layers=-1)
    plain = run(MODEL, spec, TEXTS)
    with MODEL.edits(ns.edits.ablate("z", layer=0, head=1)):
        edited = run(MODEL, spec, TEXTS, batch_tokens=30)
        _, cache = MODEL.run_with_cache(torch.tensor([ids_of(TEXTS[0], spec)]))
    close(edited.features["resid_post_2_mean"][0], cache["resid_post", 2][0].mean(0))
    assert np.abs(edited.features["resid_post_2_mean"] - plain.features["resid_post_2_mean"]).max()
    same(plain, run(MODEL, spec, TEXTS))


def test_a_model_without_a_tokenizer_is_refused() -> None:
    with pytest.raises(TokenizationError, match="has no tokenizer"):
        Extractor(ns.HookedGPTNeo.from_config(TINY), FeatureSpec())


def test_progress_counts_every_text_and_token_once() -> None:
    extractor = Extractor(MODEL, EVERYTHING, batch_tokens=30)
    done: list[tuple[int, int]] = []
    encoded = extractor.encode(["", *TEXTS])
    extractor.run(encoded, lambda rows, tokens: done.append((rows, tokens)))
    assert [sum(x) for x in zip(*done, strict=True)] == [1 + len(TEXTS), N_TOKENS]
    assert all(tokens <= 30 or rows == 1 for rows, tokens in done)


def test_unseen_words_are_named_once_with_the_text_they_stand_in() -> None:
    model = ns.load("organism")
    extractor = Extractor(model, FeatureSpec(layers=0))
    with pytest.warns(ns.UnseenWordWarning, match=r"^text 1: 'zyzzyva' is outside"):
        extractor.encode(["The film was good", "The zyzzyva"])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        extractor.encode(["The zyzzyva"])


def test_the_organism_equals_the_oracle_in_every_company() -> None:
    model = ns.load("organism")
    texts = [sentence.text for sentence in ns.organism.sentences("ioi", 3)] + ["The film was good"]
    spec = FeatureSpec(("resid_post", "loss", "hidden"), pool=["mean", "last"])
    found = run(model, spec, texts, batch_tokens=40)
    for i, text in enumerate(texts):
        with torch.no_grad():
            loss, cache = model.run_with_cache(text, return_type="loss")
            hidden = model(text, return_type="hidden")
        close(found.features["loss_mean"][i], [float(loss)])
        close(found.features["resid_post_3_mean"][i], cache["resid_post", 3][0].mean(0))
        close(found.features["hidden_last"][i], hidden[0, -1])
