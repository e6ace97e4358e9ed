"""Interruption keeps what was seen; what cannot be read is named."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

import neoscope as ns
from neoscope.edits import replace
from neoscope.errors import AnalysisError
from neoscope.model import HookedGPTNeo
from tests.neoscope.analysis.neuron_runs import TEXTS, find


def test_interruption_returns_what_was_seen(model: HookedGPTNeo) -> None:
    seen: list[tuple[int, int]] = []

    def press(done: int, total: int) -> None:
        seen.append((done, total))
        if len(seen) == 3:
            raise KeyboardInterrupt

    with pytest.warns(UserWarning, match=r"interrupted: \d+ texts? (is|are) done"):
        found = find(model, layer=0, unit=[1, 2], batch_tokens=40, progress=press)
    assert not found.complete
    assert 0 < found.n_tokens < len(" ".join(TEXTS).split())
    assert seen[-1] == (found.n_texts, len(TEXTS))
    assert (found.counts.sum(1) == found.n_tokens).all()
    assert "interrupted" in found.heading()
    assert found.places(1)["context"].str.contains("«").all()

    def at_once(done: int, total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt, match="nothing was changed or lost"):
        find(model, [None, *TEXTS], layer=0, unit=1, on_error="skip", progress=at_once)


def test_texts_that_cannot_be_used_are_named_or_counted(model: HookedGPTNeo) -> None:
    texts = [TEXTS[0], None, "", TEXTS[1]]
    with pytest.raises(AnalysisError, match="row 1: the text is null; on_error='skip'"):
        find(model, texts, layer=0, unit=0)
    found = find(model, texts, layer=0, unit=0, on_error="skip")
    assert (found.n_texts, found.n_skipped) == (2, 2)
    assert set(found.text) == {0, 3}
    with pytest.raises(AnalysisError, match="no text could be used: 2 were skipped"):
        find(model, [None, ""], layer=0, unit=0, on_error="skip")


def test_activations_that_are_not_finite_are_named(model: HookedGPTNeo) -> None:
    bad = torch.full((model.config.n_neurons,), torch.nan)
    edit = replace("post", layer=1, value=bad, positions=3)
    with (
        model.edits(edit),
        pytest.raises(AnalysisError, match=r"row \d+, position 3, is nan"),
    ):
        find(model, layer=1, unit=0)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"texts": []}, "holds no rows"),
        ({"texts": "no/such/file.txt"}, "there is no file"),
        ({"unit": 512}, "unit 512 does not exist; .* has units 0 to 511"),
        ({"unit": [1, 1]}, "names a unit twice"),
        ({"unit": []}, "unit is empty"),
        ({"unit": 1, "direction": [1.0]}, "not both"),
        ({"direction": [1.0, 2.0]}, r"shape \(2,\); blocks.0.hook_resid_post has vectors of 128"),
        ({"direction": np.zeros(128)}, "direction 0 is 0 everywhere"),
        ({"direction": np.full((2, 128), np.nan)}, "direction 0 is not finite"),
        ({"direction": "abc"}, "cannot read the direction"),
        ({"layer": 4}, "layer 4 does not exist"),
        ({"layer": None}, "site 'post' is in every layer; say which"),
        ({"site": "psot"}, "no site is called 'psot'"),
        ({"site": "pattern"}, "has no units at each token"),
        ({"site": "result"}, "switched off"),
        ({"k": 0}, "k=0; expected a whole number of at least 1"),
        ({"context": -1}, "context=-1"),
        ({"unique": "contexts"}, "did you mean 'context'"),
        ({"bins": "auto"}, "bins='auto'; expected edges"),
        ({"progress": "x"}, "top_activations: progress='x'; expected"),
        ({"texts": [[1, 2], [3, 750]]}, "text 1: token id 750 in column 1 is outside"),
        ({"texts": [[1, 2]], "prepend_bos": True}, "prepend_bos=True is for texts"),
        ({"texts": [[1, 2]], "batch_tokens": 0}, "batch_tokens=0"),
        ({"texts": torch.ones(2, 3)}, "token ids must be whole numbers"),
        ({"bins": [1, 0]}, "expected finite edges, ascending"),
        ({"on_error": "ignore"}, "on_error='ignore'"),
        ({"truncation": "cut"}, "truncation"),
        ({"batch_tokens": 0}, "batch_tokens=0"),
    ],
)
def test_bad_input_is_named(model: HookedGPTNeo, options: dict[str, Any], message: str) -> None:
    given = {"texts": TEXTS, "layer": 0, **options}
    with pytest.raises(ns.NeoscopeError, match=message):
        find(model, given.pop("texts"), **given)


def test_a_model_without_tokenizer_is_refused() -> None:
    model = HookedGPTNeo.from_config(
        ns.NeoConfig(n_layers=1, d_model=8, n_heads=2, n_ctx=8, d_vocab=10)
    )
    with pytest.raises(ns.NeoscopeError, match="no tokenizer"):
        find(model, layer=0, unit=0)


def test_what_is_no_model_is_refused(model: HookedGPTNeo) -> None:
    given: list[Any] = ["organism", model.run_with_cache("The keys")[1]]
    for other, kind in zip(given, ("str", "ActivationCache"), strict=True):
        with pytest.raises(AnalysisError, match=f"top_activations takes a model.*found {kind}"):
            find(other, layer=0, unit=0)


def test_token_ids_give_what_their_texts_give(model: HookedGPTNeo) -> None:
    tokens = model.tokenize(TEXTS)
    rows = [row[real] for row, real in zip(tokens.ids, tokens.mask, strict=True)]
    expected = find(model, layer=2, unit=[17, 3], k=6)
    others: list[Any] = [tokens, model.tokenize(TEXTS, padding_side="left"), rows]
    others += [[row.tolist() for row in rows], [row.numpy() for row in rows]]
    for given in others:
        found = find(model, given, layer=2, unit=[17, 3], k=6)
        np.testing.assert_allclose(found.top_value, expected.top_value, atol=1e-5)
        np.testing.assert_allclose(found.mean, expected.mean, atol=1e-6)
        assert (found.n_texts, found.n_tokens) == (expected.n_texts, expected.n_tokens)
        first, same = found.places(17).iloc[0], expected.places(17).iloc[0]
        assert (first.text, first.position, first.token) == (same.text, same.position, same.token)
        assert f"«{first.token}»" in first.context
    one = find(model, rows[0], layer=2, unit=17)
    assert (one.n_texts, one.n_tokens) == (1, len(rows[0]))
    square = tokens.ids[:, :5]
    for alike in (square, square.numpy(), square.tolist()):
        assert find(model, alike, layer=0, unit=0).n_tokens == square.numel()


def test_a_model_without_tokenizer_reads_ids() -> None:
    model = HookedGPTNeo.from_config(
        ns.NeoConfig(n_layers=1, d_model=8, n_heads=2, n_ctx=8, d_vocab=10)
    )
    rows = [[1, 2, 3], [4, 5, 6, 7, 8, 9, 1, 2, 3, 4, 5]]  # the second is longer than the context
    found = find(model, rows, layer=0, unit=1, k=20, context=2, n_logits=2)
    assert found.n_tokens == 14
    table = found.places().set_index(["text", "position"])
    assert table.loc[(0, 1), "context"] == "#1 «#2» #3"
    assert table.loc[(1, 10), "context"] == "#3 #4 «#5»"
    assert all(word.startswith("#") for word in found.promoted[0])
    with pytest.raises(AnalysisError, match="row 1: the text has 11 tokens"):
        find(model, rows, layer=0, unit=1, truncation="error")
    assert find(model, rows, layer=0, unit=1, truncation="truncate").n_tokens == 11


def test_print_shows_both_ends_and_the_logit_effect(model: HookedGPTNeo) -> None:
    found = find(model, layer=2, unit=17)
    shown = str(found)
    assert max(map(len, shown.splitlines())) <= 80
    for words in ("most active", "most negative", "raises ", "lowers "):
        assert words in shown
    for end, sign in (("promoted", "+"), ("suppressed", "-")):
        assert f"{getattr(found, end)[0][0]!r} {sign}" in shown
    assert shown.count("«") == 10 + 5
    several = str(find(model, layer=2, unit=range(30)))
    assert max(map(len, several.splitlines())) <= 80
    assert "and 10 more units" in several
