"""Losses of texts are those that the model gives each text by itself, however many there are."""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

import neoscope as ns
from neoscope import analysis
from neoscope.analysis.losses import reading as loss_reading
from neoscope.analysis.losses.result import TokenLosses
from neoscope.edits import ablate
from neoscope.errors import AnalysisError, TokenizationError
from neoscope.export.derived import of_logits
from neoscope.model import HookedGPTNeo
from neoscope.tokens import Side

TEXTS = [s.text for s in ns.organism.sentences("filler", 30, seed=4)]


def losses(model: HookedGPTNeo, *args: object, **options: object) -> TokenLosses:
    return analysis.token_losses(model, *args, progress=False, **options)  # type: ignore[arg-type]


def same(found: TokenLosses, expected: TokenLosses) -> None:
    for name in ("text", "position", "ids", "rank", "n_words", "n_bytes"):
        assert np.array_equal(getattr(found, name), getattr(expected, name))
    for name in ("surprisal", "entropy", "top_probability"):
        np.testing.assert_allclose(getattr(found, name), getattr(expected, name), atol=1e-5)
    assert found.tokens == expected.tokens
    assert found.top_tokens == expected.top_tokens


def test_every_token_has_what_the_model_says_of_it(model: HookedGPTNeo) -> None:
    found = losses(model, TEXTS, batch_tokens=64)
    for i, text in enumerate(TEXTS):
        tokens = model.tokenize(text)
        with torch.no_grad():
            log_p = model(tokens)[0].double().log_softmax(-1)
        mine = found.text == i
        assert found.tokens[int(mine.argmax())] == tokens.strings[0][0]
        target = tokens.ids[0, 1:]
        expected = -log_p[:-1].gather(1, target[:, None])[:, 0]
        np.testing.assert_allclose(found.surprisal[mine][1:], expected, atol=1e-5)
        above = (log_p[:-1] > -expected[:, None]).sum(1) + 1
        assert np.array_equal(found.rank[mine][1:], above)
        entropy = -(log_p.exp() * log_p).sum(1)[:-1]
        np.testing.assert_allclose(found.entropy[mine][1:], entropy, atol=1e-5)
        top = log_p[:-1].max(1)
        np.testing.assert_allclose(found.top_probability[mine][1:], top.values.exp(), atol=1e-5)
        assert np.isnan(found.surprisal[mine][0])
        assert found.rank[mine][0] == 0


def test_perplexity_is_over_all_texts_together(model: HookedGPTNeo) -> None:
    found = losses(model, TEXTS)
    with torch.no_grad():
        each = [model(t, return_type="loss", loss_per_token=True)[0] for t in TEXTS]
    total, n = sum(float(x.double().sum()) for x in each), sum(map(len, each))
    assert found.loss == pytest.approx(total / n, rel=1e-6)
    assert found.perplexity == pytest.approx(math.exp(total / n), rel=1e-5)
    words = sum(len(re.split(r"\s+", t)) for t in TEXTS)
    assert found.word_perplexity == pytest.approx(math.exp(total / words), rel=1e-5)
    size = sum(len(t.encode()) for t in TEXTS)
    assert found.bits_per_byte == pytest.approx(total / math.log(2) / size, rel=1e-5)


def test_it_agrees_with_what_an_export_derives(model: HookedGPTNeo) -> None:
    tokens = model.tokenize(TEXTS[0])
    with torch.no_grad():
        hidden = model(tokens, return_type="hidden")[0]
        said = of_logits(hidden[:-1], tokens.ids[0, 1:], model.unembed)
    found = losses(model, TEXTS[0])
    np.testing.assert_allclose(found.surprisal[1:], said["loss"], atol=1e-5)
    np.testing.assert_allclose(found.entropy[1:], said["entropy"], atol=1e-5)


def test_blocks_and_batches_show_nowhere(
    model: HookedGPTNeo, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = losses(model, TEXTS)
    monkeypatch.setattr(loss_reading, "_BLOCK", 7)
    same(losses(model, TEXTS, batch_tokens=20), whole)


@pytest.mark.parametrize("side", ["left", "right"])
def test_ids_and_padding(model: HookedGPTNeo, side: Side) -> None:
    tokens = model.tokenize(TEXTS, padding_side=side)
    whole = losses(model, TEXTS)
    same(losses(model, tokens), whole)
    by_ids = losses(model, tokens.ids, tokens.mask)
    np.testing.assert_allclose(by_ids.surprisal, whole.surprisal, atol=1e-5)
    with pytest.raises(AnalysisError, match="needs texts; token ids were given"):
        _ = by_ids.word_perplexity


def test_edits_in_force_act(model: HookedGPTNeo) -> None:
    clean = losses(model, TEXTS)
    with model.edits(ablate("z", layer=2, head=0)):
        edited = losses(model, TEXTS)
        expected = [model(t, return_type="loss", loss_per_token=True)[0] for t in TEXTS]
    assert np.nanmax(np.abs(edited.surprisal - clean.surprisal)) > 0.01
    wanted = torch.cat(expected).detach()
    np.testing.assert_allclose(edited.surprisal[edited.position > 0], wanted, atol=1e-5)


def test_half_precision_is_near(model: HookedGPTNeo) -> None:
    half = ns.load("organism", dtype="bfloat16")
    found, exact = losses(half, TEXTS), losses(model, TEXTS)
    assert found.surprisal.dtype == np.float32
    assert found.loss == pytest.approx(exact.loss, rel=0.02)


def test_it_is_kept_and_prints_itself(model: HookedGPTNeo, tmp_path: Path) -> None:
    found = losses(model, TEXTS[:3])
    for suffix in ("json", "safetensors"):
        again = analysis.load(found.save(tmp_path / f"losses.{suffix}"))
        assert isinstance(again, TokenLosses)
        same(again, found)
    table = found.to_dataframe()
    np.testing.assert_allclose(table.bits[1:3] * math.log(2), table.surprisal[1:3])
    assert "perplexity" in str(found)
    assert max(map(len, str(found).splitlines())) <= 80
    shown = [line.split() for line in str(found).splitlines()]
    assert shown[[row[:1] for row in shown].index(["text"]) + 1][0] == str(
        int(table.loc[table.surprisal.idxmax()].text)
    )


def test_interrupt_keeps_the_texts_that_are_done(
    model: HookedGPTNeo, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loss_reading, "_BLOCK", 10)

    def stop(done: int, total: int) -> None:
        if done >= 20:
            raise KeyboardInterrupt

    run: Callable[..., TokenLosses] = analysis.token_losses
    with pytest.warns(UserWarning, match="interrupted: 10 of 30 texts are done"):
        found = run(model, TEXTS, progress=stop)
    assert not found.complete
    assert "interrupted" in found.heading()
    same(found, losses(model, TEXTS[:10]))


def test_bad_texts_are_named(model: HookedGPTNeo, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(AnalysisError, match="there are no texts"):
        losses(model, [])
    monkeypatch.setattr(loss_reading, "_BLOCK", 10)
    with pytest.raises(TokenizationError, match=r"^text 12 is empty"):
        losses(model, [*TEXTS[:12], "", *TEXTS])


def test_words_and_bytes_are_those_of_what_was_kept(model: HookedGPTNeo) -> None:
    """A loss of the tokens that were kept is not spread over words that were cut."""
    long, n = "the film " * 100, model.config.n_ctx
    found = losses(model, ["The keys", long], truncate=True)
    kept = long[: model.tokenize(long, truncate=True).offsets[0][-1][1]]
    whole = losses(model, ["The keys", kept])
    assert int((found.text == 1).sum()) == n
    assert found.n_words.tolist() == [2, n]
    assert found.n_bytes.tolist() == [8, len(kept)]
    assert found.word_perplexity == pytest.approx(whole.word_perplexity, rel=1e-6)
    assert found.bits_per_byte == pytest.approx(whole.bits_per_byte, rel=1e-6)
    tokens = model.tokenize(["The keys", long], truncate=True, prepend_bos=True)
    assert losses(model, tokens).n_words.tolist() == [2, n - 1]
    blind = dataclasses.replace(tokens, offsets=())
    assert losses(model, blind).n_words.tolist() == [2, n - 1]


def test_figures_are_all_plain_numbers(model: HookedGPTNeo) -> None:
    found = losses(model, TEXTS[:2])
    for name in ("loss", "perplexity", "word_perplexity", "bits_per_byte"):
        assert isinstance(getattr(found, name), float)
    nothing = losses(model, [[1], [2]])
    for name in ("loss", "perplexity"):
        with pytest.raises(AnalysisError, match="every text is a single token"):
            getattr(nothing, name)


@pytest.mark.parametrize("texts", [5, None, b"text", {"text": "a"}])
def test_what_is_no_text(model: HookedGPTNeo, texts: object) -> None:
    with pytest.raises(AnalysisError, match=f"reads one text or .* {type(texts).__name__}"):
        losses(model, texts)


def test_what_is_no_model_or_no_progress(model: HookedGPTNeo) -> None:
    with pytest.raises(AnalysisError, match=r"takes a model, as neoscope.load\('organism'\)"):
        analysis.token_losses("organism", TEXTS)
    with pytest.raises(AnalysisError, match="progress='yes'"):
        analysis.token_losses(model, TEXTS, progress="yes")
