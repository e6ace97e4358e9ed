"""Attention figures: the cache's own numbers, who cannot be seen, labels, bad input, escaping."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import plotly.graph_objects as go
import pytest
import torch

import neoscope as ns
from neoscope import analysis, views
from neoscope.cache import ActivationCache
from neoscope.edits import transform
from neoscope.errors import SiteError, ViewError
from neoscope.model import HookedGPTNeo

HEBREW = "שלום"
TEXTS = ["The keys near the cabinet", "The film"]


def config(**changes: Any) -> ns.NeoConfig:
    shape = {"n_layers": 2, "d_model": 16, "n_heads": 4, "n_ctx": 64, "d_vocab": 40}
    return ns.NeoConfig(**(shape | {"window_size": 4, "init_range": 0.4} | changes))


def ids_cache(n: int, **changes: Any) -> ActivationCache:
    model = HookedGPTNeo.from_config(config(**changes), seed=1)
    ids = torch.arange(n)[None] % 40
    return model.run_with_cache(ids, sites="pattern")[1]


@pytest.fixture(scope="module")
def organism() -> HookedGPTNeo:
    return ns.load("organism")


@pytest.fixture(scope="module")
def cache(organism: HookedGPTNeo) -> ActivationCache:
    return organism.run_with_cache(TEXTS, sites="pattern")[1]


def drawn(figure: go.Figure) -> np.ndarray:
    return np.asarray(figure.data[0].z)


def title(figure: go.Figure) -> str:
    return str(figure.layout.title.text)


def below(figure: go.Figure) -> str:
    return str(figure.layout.title.subtitle.text)


def test_cells_are_the_cached_pattern_and_the_future_is_blank(cache: ActivationCache) -> None:
    figure = views.attention(cache, layer=2, head=1)
    pattern = cache["pattern", 2][0, 1].numpy()
    lower = np.tril_indices(5)
    assert np.array_equal(drawn(figure)[lower], pattern[lower])
    assert np.isnan(drawn(figure)[np.triu_indices(5, 1)]).all()
    assert title(figure) == "Attention of head 2.1 (global)"
    assert "organism, text 0 of 2, 5 tokens" in below(figure)


def test_both_axes_name_every_token_once(cache: ActivationCache) -> None:
    trace = views.attention(cache, layer=0, head=0).data[0]
    assert trace.x == trace.y == ("0 ·The", "1 ·keys", "2 ·near", "3 ·the", "4 ·cabinet")
    assert "from %{y}<br>to %{x}<br><b>%{z:.4g}</b> share of attention" in trace.hovertemplate


def test_window_is_named_edged_and_told_from_the_future() -> None:
    figure = views.attention(ids_cache(7), layer=1, head=0)
    assert title(figure) == "Attention of head 1.0 (local, window 4)"
    back = np.arange(7)[:, None] - np.arange(7)
    assert np.array_equal(np.isfinite(drawn(figure)), (back >= 0) & (back < 4))
    grey = figure.data[1]
    assert np.array_equal(np.isfinite(np.asarray(grey.z)), back >= 4)
    assert "cannot" in grey.hovertemplate and "window of 4 keys" in grey.hovertemplate
    path = figure.layout.shapes[0].path
    # From the fifth query on, one key more is hidden in each row.
    assert path == "M -0.5,3.5 L 0.5,3.5 L 0.5,4.5 L 1.5,4.5 L 1.5,5.5 L 2.5,5.5 L 2.5,6.5"


def test_text_inside_the_window_has_no_edge() -> None:
    figure = views.attention(ids_cache(4), layer=1, head=0)
    assert len(figure.data) == 1 and not figure.layout.shapes


@pytest.mark.parametrize("side", ["left", "right"])
def test_padding_is_left_out_on_either_side(organism: HookedGPTNeo, side: str) -> None:
    alone = organism.run_with_cache(TEXTS[1], sites="pattern")[1]
    tokens = organism.tokenize(TEXTS, padding_side=side)
    padded = organism.run_with_cache(tokens, sites="pattern")[1]
    figure = views.attention(padded, layer=2, head=0, text=1)
    assert figure.data[0].x == ("0 ·The", "1 ·film")
    expected = drawn(views.attention(alone, layer=2, head=0))
    assert np.allclose(drawn(figure), expected, atol=1e-6, equal_nan=True)


def test_cache_without_its_batch_axis_and_one_from_a_file_draw_the_same(
    organism: HookedGPTNeo, tmp_path: Path
) -> None:
    whole = organism.run_with_cache(TEXTS[0], sites="pattern")[1]
    whole.save(tmp_path / "run.safetensors")
    expected = views.attention(whole, layer=1, head=2).to_dict()
    for other in (whole.remove_batch_dim(), ActivationCache.load(tmp_path / "run.safetensors")):
        found = views.attention(other, layer=1, head=2).to_dict()
        assert json.dumps(found, default=str) == json.dumps(expected, default=str)


def test_queries_cut_by_positions_stand_at_their_own_tokens(organism: HookedGPTNeo) -> None:
    cut = organism.run_with_cache(TEXTS, sites="pattern", positions=[-1, 0])[1]
    figure = views.attention(cut, layer=0, head=0, text=1)
    assert figure.data[0].y == ("1 ·film", "0 ·The")
    assert np.isnan(drawn(figure)[1, 1]) and np.isfinite(drawn(figure)[0]).all()
    assert "attention of 2" not in below(figure)
    assert "attention of 2 of them kept" in below(views.attention(cut, layer=0, head=0, text=0))


def test_keys_that_a_kv_cache_held_have_no_name_but_a_place(organism: HookedGPTNeo) -> None:
    past = ns.KVCache()
    organism("The keys near", past=past)
    cache = organism.run_with_cache(" the cabinet", past=past, sites="pattern")[1]
    trace = views.attention(cache, layer=0, head=0).data[0]
    assert trace.x == ("0 ?", "1 ?", "2 ?", "3 ·the", "4 ·cabinet")
    assert trace.y == ("3 ·the", "4 ·cabinet")


def test_one_token_is_one_cell(organism: HookedGPTNeo) -> None:
    figure = views.attention(organism.run_with_cache("The")[1], layer=0, head=0)
    assert drawn(figure).tolist() == [[1.0]] and "1 token" in below(figure)


def test_long_text_is_drawn_in_blocks_that_keep_the_largest_value() -> None:
    cache = ids_cache(2048, n_ctx=2048, window_size=256)
    figure = views.attention(cache, layer=1, head=0)
    values = drawn(figure)
    assert values.size <= 250_000
    assert "2,048 × 2,048 cells, drawn in blocks of 5 × 5" in below(figure).replace("<br>", " ")
    pattern = cache["pattern", 1][0, 0].numpy()
    assert values[1, 1] == pattern[5:10, 5:10].max()
    assert len(figure.layout.xaxis.ticktext) <= 40
    assert " … " in figure.data[0].x[0]
    grey = np.isfinite(np.asarray(figure.data[1].z))
    assert not (grey & np.isfinite(values)).any() and grey[400, 0]


def test_markup_direction_and_emoji_are_shown_letter_by_letter(organism: HookedGPTNeo) -> None:
    odd = "<script>alert(1)</script> <b>x</b> שלום 👩‍🚀"
    with pytest.warns(ns.UnseenWordWarning):
        cache = organism.run_with_cache(odd, sites="pattern")[1]
    strings = ("<script>", "<b>bold</b>", HEBREW, "👩\u200d🚀", "\n")
    mask = torch.zeros_like(cache.tokens.mask)  # type: ignore[union-attr]
    mask[:, :5] = True
    tokens = dataclasses.replace(cache.tokens, strings=(strings,), mask=mask)  # type: ignore[type-var]
    named = ActivationCache(dict(cache), cache.config, tokens=tokens)
    for figure in (views.attention(named, layer=0, head=0), views.attention_heads(named)):
        text = json.dumps(figure.to_dict(), default=str, ensure_ascii=False)
        assert "<script>" not in text and "<b>bold" not in text
        assert "&lt;script&gt;" in text and f"\u2068{HEBREW}\u2069" in text and "4 ⏎" in text


def test_bytes_of_a_letter_are_spelled(organism: HookedGPTNeo) -> None:
    with pytest.warns(ns.UnseenWordWarning):
        cache = organism.run_with_cache("é", sites="pattern")[1]
    assert "\ufffd" not in "".join(views.attention(cache, layer=0, head=0).data[0].x)


def test_numbers_that_are_missing_are_counted_and_told_from_the_future(
    cache: ActivationCache,
) -> None:
    broken = {name: x.clone() for name, x in cache.items()}
    broken[cache.name(("pattern", 0))][0, 0, 3, 1] = float("nan")
    figure = views.attention(
        ActivationCache(broken, cache.config, tokens=cache.tokens), layer=0, head=0
    )
    assert "1 of 25 cells hold no number (the model gave no number)" in below(figure)


def test_edited_patterns_are_not_cut_off_at_the_scale(organism: HookedGPTNeo) -> None:
    edits = [transform("pattern", 0, lambda x: x * 3)]
    with organism.edits(*edits):
        cache = organism.run_with_cache(TEXTS[0], sites="pattern")[1]
    axis = views.attention(cache, layer=0, head=0).layout.coloraxis
    assert axis.cmax == pytest.approx(3.0)
    assert views.attention_heads(cache).layout.coloraxis.cmax == pytest.approx(3.0)


@pytest.mark.parametrize(
    ("options", "error", "said"),
    [
        ({"layer": 9, "head": 0}, SiteError, "layers 0 to 3"),
        ({"layer": 0, "head": 4}, SiteError, "heads 0 to 3"),
        ({"layer": 0, "head": "a"}, SiteError, "heads 0 to 3"),
        ({"layer": 0, "head": 0, "text": 2}, ViewError, "texts 0 to 1"),
    ],
)
def test_what_is_not_there_is_refused(
    cache: ActivationCache, options: Any, error: type[Exception], said: str
) -> None:
    with pytest.raises(error, match=said):
        views.attention(cache, **options)


def test_cache_without_the_pattern_says_what_it_holds_and_how_to_make_it(
    organism: HookedGPTNeo,
) -> None:
    some = organism.run_with_cache("The film", sites="pattern", layers=[0, 2])[1]
    with pytest.raises(ViewError, match=r"holds those of layers 0, 2: .*layers=\[1\]"):
        views.attention(some, layer=1, head=0)
    with pytest.raises(ViewError, match=r"holds none \(it holds z\).*sites='pattern'"):
        views.attention(organism.run_with_cache("The", sites="z")[1], layer=0, head=0)
    with pytest.raises(ViewError, match="takes a cache"):
        views.attention(organism, layer=0, head=0)


def test_panels_of_a_layer_share_one_scale_and_hold_every_head(cache: ActivationCache) -> None:
    figure = views.attention_heads(cache, layer=2)
    for head, trace in enumerate(figure.data):
        lower = np.tril_indices(5)
        assert np.array_equal(np.asarray(trace.z)[lower], cache["pattern", 2][0, head][lower])
        assert trace.coloraxis == "coloraxis" and trace.name == f"head 2.{head}"
    said = [one.text for one in figure.layout.annotations]
    assert said == ["head 2.0", "head 2.1", "head 2.2", "head 2.3"]


def test_whole_model_is_one_table_with_every_head_in_its_place(cache: ActivationCache) -> None:
    figure = views.attention_heads(cache)
    table = drawn(figure)
    assert table.shape == (4 * 5, 4 * 5) and len(figure.data) == 1
    lower = np.tril_indices(5)
    for layer in range(4):
        for head in range(4):
            part = table[5 * layer : 5 * layer + 5, 5 * head : 5 * head + 5]
            assert np.array_equal(part[lower], cache["pattern", layer][0, head][lower])
    trace = figure.data[0]
    assert trace.y[2 * 5 + 3] == "layer 2, from 3 ·the" and trace.x[5] == "head 1, to 0 ·The"
    assert len(set(trace.x)) == 20
    assert figure.layout.yaxis.ticktext == ("0 global", "1 local", "2 global", "3 local")


def test_grid_of_some_layers_draws_those(organism: HookedGPTNeo) -> None:
    some = organism.run_with_cache("The film", sites="pattern", layers=[1, 3])[1]
    figure = views.attention_heads(some)
    assert figure.layout.yaxis.ticktext == ("1 local", "3 local")
    assert drawn(figure).shape == (4, 8)


@pytest.mark.parametrize("n", [1, 256, 500])
def test_grid_of_many_heads_stays_light_and_says_what_was_merged(n: int) -> None:
    cache = ids_cache(n, n_layers=12, d_model=24, n_heads=12, n_ctx=512, window_size=256)
    figure = views.attention_heads(cache)
    assert drawn(figure).size <= 250_000
    assert len(figure.to_json()) < 2_000_000
    merged = f"{n} × {n} cells a head, drawn in blocks of"
    assert (merged in below(figure).replace("<br>", " ")) == (n > 41)
    shaded = [one for one in figure.layout.shapes if one.fillcolor]
    assert len(shaded) == (6 if n == 500 else 0)
    per_layer = views.attention_heads(cache, layer=1)
    assert sum(np.asarray(trace.z).size for trace in per_layer.data) <= 2 * 250_000


def test_bytes_of_a_letter_are_spelled_alike_in_every_view(organism: HookedGPTNeo) -> None:
    with pytest.warns(UserWarning, match="outside the vocabulary"):
        _, cache = organism.run_with_cache("The \u05d7 keys")
    columns = views.attention_heads(cache, layer=0).data[0].x
    assert any(r"\xd7" in name for name in columns)
    read = analysis.logit_lens(cache).tokens
    assert [name.split(" ", 1)[1].replace("·", " ") for name in columns] == list(read)


@pytest.mark.parametrize("n", [1, 8])
def test_panels_of_heads_are_square(organism: HookedGPTNeo, n: int) -> None:
    _, cache = organism.run_with_cache(organism.tokenize(" the" * n))
    figure = views.attention_heads(cache, layer=1)
    assert figure.layout.yaxis2.scaleanchor == "x2"
    assert (figure.layout.height < 600) == (n == 1)
