"""top_activations finds what was planted, equals brute force, and loses nothing."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import neoscope as ns
from neoscope import analysis
from neoscope.analysis import neuron_reading
from neoscope.edits import ablate, replace
from neoscope.errors import AnalysisError
from neoscope.model import HookedGPTNeo
from neoscope.organism.compiled import (
    DIRECTION_TRUTH,
    FACT_TRUTH,
    GATES_TRUTH,
    direction_prompts,
    fact_prompts,
    gate_prompts,
)

TEXTS = [
    sentence.text
    for task in ("ioi", "agreement", "facts")
    for sentence in ns.organism.sentences(task, 12)
]


@pytest.fixture(scope="module")
def model() -> HookedGPTNeo:
    return ns.load("organism")


def find(model: HookedGPTNeo, texts: Any = TEXTS, **options: Any) -> Any:
    return analysis.top_activations(model, texts, **{"progress": False, **options})


def spelled(model: HookedGPTNeo, ids: torch.Tensor) -> list[str]:
    assert model.tokenizer is not None
    return [str(model.tokenizer.decode(row)) for row in ids.tolist()]


def everything(model: HookedGPTNeo, site: str, layer: int) -> tuple[Any, list[tuple[int, int]]]:
    """Activations at every token, one text at a time, and where each stands."""
    rows, places = [], []
    for i, text in enumerate(TEXTS):
        _, cache = model.run_with_cache(text, sites=site, layers=layer, return_type=None)
        x = cache[site, layer][0].flatten(1)
        rows.append(x)
        places += [(i, position) for position in range(len(x))]
    return torch.cat(rows).float().numpy(), places


def same_places(found: Any, values: Any, places: Any, k: int, sign: int) -> None:
    end = "top" if sign > 0 else "bottom"
    for row, unit in enumerate(found.units):
        x = sign * values[:, int(unit)]
        expected = np.sort(x)[::-1][:k]
        got = getattr(found, f"{end}_value")[row]
        np.testing.assert_allclose(sign * got, expected, atol=1e-5)
        table = found.places(unit, end)
        at = dict(zip(places, x, strict=True))
        for value, text, position in zip(got, table.text, table.position, strict=True):
            assert at[text, position] == pytest.approx(sign * value, abs=1e-5)


# ---- exactness --------------------------------------------------------------------------------


@pytest.mark.parametrize("site", ["post", "pre", "z", "resid_post"])
def test_top_and_bottom_equal_a_sort_over_all_activations(model: HookedGPTNeo, site: str) -> None:
    values, places = everything(model, site, 2)
    found = find(model, site=site, layer=2, k=7, batch_tokens=60)
    assert len(found.units) == values.shape[1]
    numbered = dataclasses.replace(found, units=tuple(map(str, range(len(found.units)))))
    same_places(numbered, values, places, 7, 1)
    same_places(numbered, values, places, 7, -1)
    np.testing.assert_allclose(found.mean, values.mean(0), atol=1e-5)
    np.testing.assert_allclose(found.sd, values.std(0), atol=1e-5)
    np.testing.assert_allclose(found.share_positive, (values > 0).mean(0), atol=2e-3)
    assert (found.counts.sum(1) == len(values)).all()
    assert found.n_tokens == len(values)
    assert found.n_texts == len(TEXTS)
    assert found.complete


def test_batches_padding_and_edits_change_nothing(model: HookedGPTNeo) -> None:
    alone = find(model, layer=1, unit=range(40), k=5, batch_tokens=1)
    with model.edits(ablate("z", layer=3, head=0)):  # edits are run in padded batches
        padded = find(model, layer=1, unit=range(40), k=5)
    for other in (find(model, layer=1, unit=range(40), k=5, batch_tokens=200), padded):
        np.testing.assert_allclose(other.top_value, alone.top_value, atol=1e-5)
        np.testing.assert_allclose(other.bottom_value, alone.bottom_value, atol=1e-5)
        np.testing.assert_allclose(other.sd, alone.sd, atol=1e-5)


@pytest.mark.parametrize("unique", [None, "token", "context"])
def test_ties_stand_in_the_order_of_the_corpus_whatever_the_batches(unique: str | None) -> None:
    model = ns.load("gates")
    prompts = spelled(model, torch.cat([gate_prompts("or"), gate_prompts("and")]))
    texts = [*prompts, prompts[0].rsplit(" ", 1)[0], *prompts]
    results = [
        find(model, texts, layer=0, k=40, unique=unique, batch_tokens=size)
        for size in (1, 8, 13, 1000)
    ]
    for found in results:
        for field in dataclasses.fields(found):
            a, b = getattr(found, field.name), getattr(results[0], field.name)
            if isinstance(a, np.ndarray) and a.dtype.kind == "f":
                np.testing.assert_allclose(a, b, atol=1e-5, err_msg=field.name)
            else:
                np.testing.assert_array_equal(a, b, err_msg=field.name)
    table = results[0].places(3)  # a dead neuron: all places tie
    where = list(zip(table.text, table.position, strict=True))
    assert where == sorted(where)
    if unique is None:
        assert (
            where == [(i, p) for i, text in enumerate(texts) for p in range(len(text.split()))][:40]
        )
    if unique == "token":
        assert sorted(table.token) == sorted({word for text in texts for word in text.split()})
    if unique == "context":
        seen = {" ".join(text.split()[: p + 1]) for text in texts for p in range(4)}
        assert len(where) == len(seen)


def test_a_unit_seen_alone_or_among_all_is_the_same(model: HookedGPTNeo) -> None:
    among, alone = find(model, layer=2), find(model, layer=-2, unit=17)
    assert alone.units == ("17",)
    np.testing.assert_array_equal(alone.top_value[0], among.top_value[17])
    assert alone.places().equals(among.places(17))
    assert alone.histogram()["tokens"].sum() == among.n_tokens


def test_corpora_of_every_kind_are_read_alike(model: HookedGPTNeo, tmp_path: Path) -> None:
    import pandas as pd

    expected = find(model, layer=0, unit=[3, 5])
    (tmp_path / "corpus.txt").write_text("\n".join(TEXTS) + "\n")
    rows = [json.dumps({"id": f"t{i}", "said": text}) for i, text in enumerate(TEXTS)]
    (tmp_path / "corpus.jsonl").write_text("\n".join(rows))
    named = tmp_path / "corpus.jsonl"
    for texts, options in (
        (tmp_path / "corpus.txt", {}),
        (str(named), {"text_column": "said"}),
        (pd.DataFrame({"said": TEXTS}), {"text_column": "said"}),
        ((text for text in TEXTS), {}),
    ):
        found = find(model, texts, layer=0, unit=[3, 5], **options)
        np.testing.assert_array_equal(found.top_value, expected.top_value)
        assert found.before == expected.before
    assert find(model, named, layer=0, unit=3, text_column="said").text[0].startswith("t")


def test_parts_of_a_corpus_are_one_corpus(
    model: HookedGPTNeo, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = find(model, layer=1, unit=[0, 9], unique="context")
    monkeypatch.setattr(neuron_reading, "_TEXTS_AT_ONCE", 5)
    found = find(model, layer=1, unit=[0, 9], unique="context")
    np.testing.assert_allclose(found.top_value, expected.top_value, atol=1e-5)
    assert found.piece == expected.piece
    assert found.after == expected.after
    assert found.text == expected.text


# ---- what was planted -------------------------------------------------------------------------


def test_planted_neurons_fire_at_their_subjects_alone() -> None:
    model = ns.load("facts")
    prompts = fact_prompts()
    found = find(model, spelled(model, prompts.tokens), layer=FACT_TRUTH.recall_layer, k=40)
    for subject, neuron in zip(FACT_TRUTH.subjects, FACT_TRUTH.neurons, strict=True):
        top = found.places(neuron)
        fires = top[top.value > 1]
        assert set(fires.token.str.strip()) == {FACT_TRUTH.words[subject]}
        assert len(fires) == int((prompts.tokens == subject).sum())
        np.testing.assert_allclose(fires.value, FACT_TRUTH.on, rtol=1e-4)


def test_a_gate_is_on_where_the_truth_says_and_raises_its_answer() -> None:
    model = ns.load("gates")
    truth = GATES_TRUTH.both
    found = find(model, spelled(model, gate_prompts("and")), layer=0, unit=truth.neurons[0], k=1)
    assert found.places().context[0] == "<|endoftext|> on on «and»"
    on = max(state.post[truth.neurons[0]] for state in truth.states)
    assert found.top_value[0, 0] == pytest.approx(on, rel=1e-4)
    effect = found.logit_effect()
    assert effect[effect.end == "promoted"].token.iloc[0].strip() == "true"
    assert effect[effect.end == "suppressed"].token.iloc[0].strip() == "false"
    # The layer norm divides by its scale: what the neuron writes is what the truth says it does.
    state = truth.states[3]
    logits = float(effect.effect.max() - effect.effect.min()) * on
    _, cache = model.run_with_cache(gate_prompts("and")[3:], sites="ln_final.scale")
    scale = float(cache["ln_final.scale"][0, -1, 0])
    assert logits / scale == pytest.approx(state.direct_neurons[truth.neurons[0]], rel=1e-4)


def test_a_planted_direction_parts_the_classes() -> None:
    model = ns.load("direction")
    prompts = direction_prompts(64)
    found = find(
        model,
        spelled(model, prompts.tokens),
        site=DIRECTION_TRUTH.site,
        layer=DIRECTION_TRUTH.layer,
        direction=DIRECTION_TRUTH.direction,
        k=32,
    )
    assert found.units == ("direction 0",)
    size = DIRECTION_TRUTH.projection
    np.testing.assert_allclose(found.top_value[0], size, atol=1e-4)
    np.testing.assert_allclose(found.bottom_value[0], -size, atol=1e-4)
    last = prompts.tokens.shape[1] - 1
    for end, positive in (("top", True), ("bottom", False)):
        table = found.places(0, end)
        assert (table.position == last).all()
        assert all(bool(prompts.label[i]) is positive for i in table.text)


def test_a_stack_of_directions_is_each_of_them(model: HookedGPTNeo) -> None:
    stack = torch.randn(3, 128, generator=torch.Generator().manual_seed(0))
    found = find(model, layer=1, direction=stack)
    assert found.site.endswith("hook_resid_post")
    for i in range(3):
        one = find(model, layer=1, direction=stack[i].double().numpy())
        np.testing.assert_allclose(found.top_value[i], one.top_value[0], atol=1e-5)
        assert found.promoted[i] == one.promoted[0]
        assert found.places(i)["context"].tolist() == one.places()["context"].tolist()


@pytest.mark.parametrize(("site", "direct"), [("post", True), ("z", True), ("q", False)])
def test_logit_effect_is_what_writing_does(model: HookedGPTNeo, site: str, direct: bool) -> None:
    unit, d_head = 9, model.config.d_head
    found = find(model, site=site, layer=3, unit=unit, n_logits=5)
    if not direct:
        assert found.promoted_id.shape == (1, 0)
        assert len(found.logit_effect()) == 0
        return
    block = model.blocks[3]
    w = block.mlp.W_out[unit] if site == "post" else block.attn.W_O[unit // d_head, unit % d_head]
    rows = model.unembed.rows.double()
    read = (w.double() - w.double().mean()) * model.ln_final.w.double()
    expected = (rows - rows.mean(0)) @ read
    order = expected.argsort(descending=True)
    assert found.promoted_id[0].tolist() == order[:5].tolist()
    assert found.suppressed_id[0].tolist() == order.flip(0)[:5].tolist()
    np.testing.assert_allclose(
        found.promoted_effect[0], expected[order[:5]].detach().numpy(), atol=1e-5
    )


# ---- contexts ---------------------------------------------------------------------------------


def test_the_token_is_marked_in_its_context(model: HookedGPTNeo) -> None:
    texts = ["The keys to the cabinet are on the table."]
    found = find(model, texts, layer=0, unit=0, k=50, context=2)
    contexts = dict(zip(*(found.places()[x] for x in ("position", "context")), strict=True))
    assert contexts[0] == "«The» keys to"
    assert contexts[4] == "to the «cabinet» are on"
    assert contexts[9] == "the table«.»"
    none = find(model, texts, layer=0, unit=0, context=0).places().context
    words = ["The", "keys", "to", "the", "cabinet", "are", "on", "table", "."]
    assert set(none) == {f"«{word}»" for word in words}


def test_an_added_first_token_counts_and_shows(model: HookedGPTNeo) -> None:
    found = find(model, ["The keys"], layer=0, unit=0, prepend_bos=True, k=5)
    contexts = dict(zip(*(found.places()[x] for x in ("position", "context")), strict=True))
    assert contexts == {
        0: "«<|endoftext|>»The keys",
        1: "<|endoftext|>«The» keys",
        2: "<|endoftext|>The «keys»",
    }


def test_long_texts_are_read_in_windows_each_token_once(model: HookedGPTNeo) -> None:
    text = " ".join(["The keys to the cabinet are on the table."] * 60)
    n = 10 * 60
    assert n > model.config.n_ctx
    found = find(model, [text], layer=0, unit=0, k=3)
    assert found.n_tokens == n
    assert find(model, [text], layer=0, unit=0, truncation="truncate").n_tokens < n
    with pytest.raises(AnalysisError, match=f"row 0: the text has {n} tokens"):
        find(model, [text], layer=0, unit=0, truncation="error")


# ---- results ----------------------------------------------------------------------------------


def test_result_is_a_table_is_kept_and_is_escaped(model: HookedGPTNeo, tmp_path: Path) -> None:
    texts = [*TEXTS, "<b>The keys</b>"]
    with pytest.warns(UserWarning, match="outside the vocabulary"):
        found = find(model, texts, layer=2, unit=[17, 4], k=200)
    assert len(found.to_dataframe()) == 2 * 2 * 200
    shown = find(model, TEXTS[:1], layer=2, unit=4)._repr_html_()
    assert "<mark>" in shown
    assert "<b>" not in found._repr_html_()
    assert "17" in str(found)
    assert list(found.statistics().unit) == ["17", "4"]
    for suffix in ("json", "safetensors"):
        again: Any = analysis.load(found.save(tmp_path / f"x.{suffix}"))
        for field in dataclasses.fields(found):
            np.testing.assert_array_equal(getattr(again, field.name), getattr(found, field.name))
        assert again.to_dataframe().equals(found.to_dataframe())
    with pytest.raises(AnalysisError, match="unit 18 was not asked for"):
        found.places(18)
    with pytest.raises(AnalysisError, match="there are 2 units: say which"):
        found.histogram()
    with pytest.raises(AnalysisError, match="end='middle'"):
        found.places(17, "middle")


def test_fixed_bins_are_the_callers(model: HookedGPTNeo) -> None:
    found = find(model, layer=2, unit=17, bins=[0, 1])
    table = found.histogram()
    assert table.low.tolist() == [-np.inf, 0, 1]
    assert table.tokens.sum() == found.n_tokens
    assert table.tokens.iloc[1:].sum() >= round(found.share_positive[0] * found.n_tokens)


def test_half_precision_is_read(model: HookedGPTNeo) -> None:
    half = ns.load("organism", dtype=torch.bfloat16)
    found, full = (find(m, layer=2, unit=17, k=3) for m in (half, model))
    np.testing.assert_allclose(found.top_value, full.top_value, rtol=0.1, atol=0.1)


# ---- interruption and bad input ---------------------------------------------------------------


def test_interruption_returns_what_was_seen(model: HookedGPTNeo) -> None:
    seen: list[tuple[int, int]] = []

    def press(done: int, total: int) -> None:
        seen.append((done, total))
        if len(seen) == 3:
            raise KeyboardInterrupt

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
        ({"k": 0}, "k=0; expected a whole number, at least 1"),
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


# ---- token ids ---------------------------------------------------------------------------------


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
