"""Long texts in overlapping windows: every token is pooled once, from the window that owns it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import neoscope as ns
from neoscope.export.extractor import Extractor
from neoscope.export.spec import FeatureSpec
from tests.neoscope.export.oracle import (
    TEXTS,
    TINY,
    check,
    close,
    ids_of,
    run,
    same,
    tiny,
    tokenizer,
)

MODEL = tiny()
POOLS = ("mean", "weighted_mean", "last", "first", "max")
LONG = "the film was good, the film was not good at all. é😀 " * 4
SITES = ("resid_post", "hidden", "loss", "surprisal", "entropy")


def strided(sites: Any = SITES, pool: Any = POOLS, **options: Any) -> FeatureSpec:
    options = {"layers": 1, **options}
    return FeatureSpec(sites, pool=pool, truncation="stride", **options)


@pytest.mark.parametrize(("room", "overlap"), [(8, 1), (8, 3), (8, 7), (2, 1), (33, None), (5, 4)])
def test_every_pool_in_windows_equals_the_oracle(room: int, overlap: int | None) -> None:
    check(MODEL, strided(max_length=room, overlap=overlap), TEXTS[:3], batch_tokens=40)


def test_windows_are_as_long_as_the_context_unless_told() -> None:
    check(MODEL, strided(), [LONG, "a"], batch_tokens=100)


def test_attention_in_windows_equals_the_oracle() -> None:
    sites = ("attn_to_first", "attn_to_previous", "attn_entropy")
    check(MODEL, strided(sites, max_length=8, overlap=3), TEXTS[:3], batch_tokens=40)


def test_positions_are_those_of_the_text_not_of_a_window() -> None:
    for positions in (slice(3, None, 4), [0, 9, -1], -2):
        check(MODEL, strided(positions=positions, max_length=6, overlap=2), [TEXTS[0], LONG])


@given(n=st.integers(1, 60), room=st.integers(2, 20), overlap=st.integers(1, 19))
@settings(max_examples=60)
def test_windows_own_every_token_once_with_context_before_it(
    n: int, room: int, overlap: int
) -> None:
    overlap = min(overlap, room - 1)
    extractor = Extractor(MODEL, strided("embed", max_length=room, overlap=overlap))
    windows = extractor.encode(["x" * n]).windows
    owned = [t for _, _, stop, first in windows.tolist() for t in range(first, stop)]
    assert owned == list(range(n))
    for i, (_, start, stop, first) in enumerate(windows.tolist()):
        assert 0 <= start <= first < stop <= n
        assert stop - start <= room
        assert first - start == (overlap if i else 0)


@pytest.mark.parametrize("overlap", [1, 4, 7])
def test_the_strided_mean_of_what_needs_no_context_is_the_mean_of_the_whole_text(
    overlap: int,
) -> None:
    # Neither positions nor neighbours matter: windows make no difference, nor does a context limit.
    shape = {"window_size": 1, "n_ctx": 400}
    whole = tiny(**shape, attention_layers=("local",) * 3)
    short = tiny(window_size=1, n_ctx=8, attention_layers=("local",) * 3)
    weights = {k: v for k, v in whole.state_dict().items() if k != "pos_embed.W_pos"}
    short.load_state_dict(weights, strict=False)
    with torch.no_grad():
        whole.pos_embed.W_pos.zero_()
        short.pos_embed.W_pos.zero_()
    sites = ("resid_post", "mlp_out", "entropy", "loss", "surprisal")
    found = run(short, strided(sites, overlap=overlap), [LONG, "ab"], batch_tokens=30)
    same(found, run(whole, FeatureSpec(sites, layers=1, pool=POOLS), [LONG, "ab"]))


def test_embeddings_do_not_know_of_windows() -> None:
    found = run(MODEL, strided("embed", max_length=7, overlap=2), [LONG])
    x = MODEL.embed.W_E[torch.tensor(ids_of(LONG, FeatureSpec()))].detach().double()
    weights = torch.arange(1, len(x) + 1).double()[:, None]
    close(found.features["embed_mean"][0], x.mean(0))
    close(found.features["embed_weighted_mean"][0], (weights * x).sum(0) / weights.sum())
    close(found.features["embed_max"][0], x.amax(0))
    close(found.features["embed_last"][0], x[-1])
    close(found.features["embed_first"][0], x[0])


def test_loss_and_surprisal_at_a_boundary_are_of_the_window_that_owns_the_token() -> None:
    text, room, overlap = "abcdefghijkl", 5, 2
    ids = torch.tensor(ids_of(text, FeatureSpec()))
    spec = strided(("loss", "surprisal"), pool="none", max_length=room, overlap=overlap)
    found = run(MODEL, spec, [text])
    log_p = [
        MODEL(ids[None, start : start + room]).detach()[0].log_softmax(-1) for start in (0, 3, 6, 9)
    ]
    loss, surprisal = found.features["loss"][:, 0], found.features["surprisal"][:, 0]
    # Token 4 is the last of the first window, whose logits foretell token 5 ...
    close(loss[4], -log_p[0][4, ids[5]])
    # ... which itself is read in the second window, after two tokens of context.
    close(surprisal[5], -log_p[1][1, ids[5]])
    close(loss[5], -log_p[1][2, ids[6]])
    close(surprisal[8], -log_p[2][1, ids[8]])
    close(surprisal[11], -log_p[3][1, ids[11]])
    assert np.isnan(surprisal[0])
    assert np.isnan(loss[11])


def test_a_text_of_one_window_is_read_as_ever() -> None:
    same(run(MODEL, strided(), TEXTS), run(MODEL, FeatureSpec(SITES, layers=1, pool=POOLS), TEXTS))
    assert len(run(MODEL, strided(max_length=3, overlap=1), ["abc"]).encoded.windows) == 1
    assert len(run(MODEL, strided(max_length=3, overlap=1), ["abcd"]).encoded.windows) == 2


@pytest.mark.parametrize("batch_tokens", [1, 9, 37, 10_000])
def test_company_changes_nothing(batch_tokens: int) -> None:
    spec = strided(max_length=8, overlap=3)
    alone = run(MODEL, spec, [LONG[:60], *TEXTS], batch_tokens=1)
    same(alone, run(MODEL, spec, [LONG[:60], *TEXTS], batch_tokens=batch_tokens))
    rows = [3, 0, 1]
    texts = [[LONG[:60], *TEXTS][i] for i in rows]
    same(alone, run(MODEL, spec, texts, batch_tokens=batch_tokens), rows)


def test_padded_windows_give_the_same() -> None:
    model, spec = tiny(), strided(max_length=8, overlap=3)
    model.blocks[0].hook_resid_pre.add_hook(lambda x, hook: x)
    same(run(MODEL, spec, [LONG, *TEXTS]), run(model, spec, [LONG, *TEXTS], batch_tokens=60))


def test_progress_ends_a_text_with_its_last_window() -> None:
    extractor = Extractor(MODEL, strided(max_length=8, overlap=3), batch_tokens=20)
    done: list[int] = []
    extractor.run(extractor.encode([LONG, *TEXTS]), lambda rows, tokens: done.append(rows))
    assert sum(done) == 1 + len(TEXTS)


def test_nothing_is_cut() -> None:
    encoded = run(MODEL, strided(max_length=8), [LONG]).encoded
    assert not encoded.cut
    assert len(encoded.ids) == len(ids_of(LONG, FeatureSpec()))


def test_a_million_characters_in_windows() -> None:
    text = "the film " * 20_000
    model = ns.HookedGPTNeo.from_config(
        ns.NeoConfig(n_layers=1, d_model=4, n_heads=1, n_ctx=512, d_vocab=270),
        tokenizer=tokenizer(),
    )
    found = run(model, strided("resid_post", pool=("mean", "last"), layers=0), [text])
    n = len(tokenizer()(text, verbose=False)["input_ids"])
    assert len(found.encoded.ids) == n > 50 * TINY.n_ctx
    assert np.isfinite(found.features["resid_post_0_mean"]).all()
