"""Loss, surprisal, entropy and summaries of attention, against their definitions."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from neoscope.analysis import readout
from neoscope.export.derived import DERIVED, of_logits, of_pattern
from neoscope.export.spec import FeatureSpec
from tests.neoscope.export.oracle import TINY, close, ids_of, run, tiny

MODEL = tiny()
TEXT = "the film was good"
IDS = torch.tensor(ids_of(TEXT, FeatureSpec()))


def test_loss_is_the_models_own() -> None:
    found = run(MODEL, FeatureSpec("loss"), [TEXT]).features["loss_mean"]
    close(found[0], [MODEL(IDS, return_type="loss").item()])
    tokens = run(MODEL, FeatureSpec("loss", pool="none"), [TEXT]).features["loss"][:-1, 0]
    with torch.no_grad():
        close(tokens, MODEL(IDS, return_type="loss", loss_per_token=True)[0])


def test_surprisal_is_the_loss_one_token_later() -> None:
    found = run(MODEL, FeatureSpec(("loss", "surprisal"), pool="none"), [TEXT, "the film"])
    loss, surprisal = found.features["loss"][:, 0], found.features["surprisal"][:, 0]
    at = 0
    for n in found.encoded.lengths.tolist():
        close(surprisal[at + 1 : at + n], loss[at : at + n - 1])
        assert np.isnan(surprisal[at])
        assert np.isnan(loss[at + n - 1])
        at += n


def test_means_of_loss_and_surprisal_agree_and_weighted_ones_do_not() -> None:
    spec = FeatureSpec(("loss", "surprisal"), pool=["mean", "weighted_mean"])
    found = run(MODEL, spec, [TEXT]).features
    close(found["loss_mean"], found["surprisal_mean"])
    assert abs(found["loss_weighted_mean"] - found["surprisal_weighted_mean"]) > 1e-3


def test_entropy_lies_between_nothing_and_the_uniform() -> None:
    found = run(MODEL, FeatureSpec("entropy", pool="none"), [TEXT]).features["entropy"]
    assert (found > 0).all()
    assert (found <= np.log(TINY.d_vocab)).all()
    model = tiny()
    with torch.no_grad():
        model.ln_final.w.zero_()
        model.ln_final.b.zero_()
    uniform = run(model, FeatureSpec(("entropy", "loss")), [TEXT]).features
    close(uniform["entropy_mean"], [[np.log(TINY.d_vocab)]])
    close(uniform["loss_mean"], [[np.log(TINY.d_vocab)]])


@pytest.mark.parametrize("at_once", [1, 270 * 3, 2**25])
def test_logits_come_a_few_rows_at_a_time(monkeypatch: pytest.MonkeyPatch, at_once: int) -> None:
    monkeypatch.setattr(readout, "_LOGITS_AT_ONCE", at_once)
    sizes: list[int] = []
    product = readout.product

    def spy(hidden: torch.Tensor, *rest: torch.Tensor) -> torch.Tensor:
        sizes.append(len(hidden))
        return product(hidden, *rest)

    monkeypatch.setattr(readout, "product", spy)
    hidden = torch.randn(10, TINY.d_model, generator=torch.Generator().manual_seed(0))
    following = torch.arange(10) * 7
    following[[3, 9]] = -1
    with torch.no_grad():
        found = of_logits(hidden, following, MODEL.unembed)
        logits = hidden @ MODEL.unembed.W_U
    assert max(sizes) == max(1, min(10, at_once // 270))
    real = following >= 0
    loss = F.cross_entropy(logits[real], following[real], reduction="none")
    close(found["loss"][real], loss)
    close(found["entropy"], torch.distributions.Categorical(logits=logits).entropy())
    assert torch.isfinite(found["loss"]).all()


def test_a_certain_model_has_no_entropy() -> None:
    model = tiny(tie_word_embeddings=False)
    assert model.unembed.weight is not None
    with torch.no_grad():
        model.unembed.weight.zero_()
        model.unembed.weight[5] = 1e4
        model.ln_final.w.zero_()
        model.ln_final.b.fill_(1.0)
    found = run(model, FeatureSpec(("entropy", "loss"), pool="none"), ["the"] * 2).features
    assert (found["entropy"] == 0).all()


def test_summaries_of_attention_are_those_of_the_pattern() -> None:
    _, cache = MODEL.run_with_cache(IDS)
    for layer in range(3):
        pattern = cache["pattern", layer]
        first = of_pattern("attn_to_first", pattern)
        previous = of_pattern("attn_to_previous", pattern)
        entropy = of_pattern("attn_entropy", pattern)
        for head in range(3):
            for query in range(len(IDS)):
                row = pattern[0, head, query]
                assert first[0, query, head] == row[0]
                assert previous[0, query, head] == (row[query - 1] if query else 0)
                said = -sum(p * np.log(p) for p in row.tolist() if p > 0)
                assert float(entropy[0, query, head]) == pytest.approx(said, abs=1e-5)


def test_a_local_head_does_not_see_the_first_token_beyond_its_window() -> None:
    found = run(MODEL, FeatureSpec("attn_to_first", layers=1, pool="none"), [TEXT])
    values = found.features["attn_to_first_1"]
    assert (values[TINY.window_size :] == 0).all()
    assert (values[: TINY.window_size] > 0).all()
    assert (values[0] == 1).all()


def test_every_quantity_says_what_it_is() -> None:
    for name, quantity in DERIVED.items():
        assert quantity.name == name
        assert quantity.meaning
        assert quantity.width(TINY) in (1, TINY.n_heads, TINY.d_model)
        assert quantity.layered == name.startswith("attn_")
