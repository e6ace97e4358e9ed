"""Circuits, their singular vectors and their composition are products of the weights."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformer_lens import FactoredMatrix

import neoscope as ns
from neoscope import analysis
from neoscope.analysis import (
    Composition,
    SvdReading,
    composition,
    ov_circuit,
    qk_circuit,
    svd_reading,
    weight_view,
)
from neoscope.analysis.weights import composition as composition_module
from neoscope.analysis.words import vocabulary
from neoscope.errors import AnalysisError
from tests.neoscope.analysis.attribution_models import IDS, random_model


@pytest.mark.parametrize("head", [0, 1, 2, -1])
@pytest.mark.parametrize("layer", [0, -1])
def test_circuits_are_the_explicit_products(layer: int, head: int) -> None:
    one = random_model().double()
    block = one.blocks[layer]
    attn, gain = block.attn, block.ln1.w[:, None]
    W_E, W_U = one.W_E, one.W_U

    def read(weight: torch.Tensor, gain: torch.Tensor) -> torch.Tensor:
        return weight * gain - (weight * gain).mean(0)

    q, k, v = (read(w[head], gain) for w in (attn.W_Q, attn.W_K, attn.W_V))
    final = read(W_U, one.ln_final.w[:, None])
    plain = [w[head] for w in (attn.W_Q, attn.W_K, attn.W_V)]
    centred, centred_u = W_E - W_E.mean(0), final - final.mean(1, keepdim=True)
    expected: list[tuple[Any, torch.Tensor]] = [
        (qk_circuit(one, np.int64(layer), torch.tensor(head)), q @ k.T),
        (qk_circuit(one, layer, head, fold_ln=False), plain[0] @ plain[1].T),
        (qk_circuit(one, layer, head, tokens=True), W_E @ q @ k.T @ W_E.T),
        (qk_circuit(one, layer, head, tokens=True, center=True), centred @ q @ k.T @ centred.T),
        (ov_circuit(one, layer, head), v @ attn.W_O[head]),
        (ov_circuit(one, layer, head, fold_ln=False), plain[2] @ attn.W_O[head]),
        (ov_circuit(one, layer, head, tokens=True), W_E @ v @ attn.W_O[head] @ final),
        (
            ov_circuit(one, layer, head, tokens=True, center=True),
            centred @ v @ attn.W_O[head] @ centred_u,
        ),
    ]
    for found, product in expected:
        assert isinstance(found, FactoredMatrix)
        assert found.mdim == 4
        assert not found.A.requires_grad
        torch.testing.assert_close(found.AB, product.detach(), rtol=0, atol=1e-10)


def test_scores_of_a_head_are_its_qk_circuit() -> None:
    one = random_model().double()
    with torch.no_grad():
        for block in one.blocks:
            block.ln1.b.zero_()
    _, cache = one.run_with_cache(IDS)
    for layer, head in itertools.product(range(3), range(3)):
        n = cache["ln1.normalized", layer]
        scores = n @ qk_circuit(one, layer, head).AB @ n.mT
        found = cache["attn_scores", layer][:, head]
        seen = found.isfinite()
        torch.testing.assert_close(found[seen].double(), scores[seen], rtol=1e-5, atol=1e-5)
        moved = cache["pattern", layer][:, head] @ n @ ov_circuit(one, layer, head).AB
        written = cache["z", layer][:, :, head] @ one.blocks[layer].attn.W_O[head]
        torch.testing.assert_close(moved, written.detach(), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_eigenvalues_of_a_copying_head_have_its_sign(sign: float) -> None:
    one = random_model(n_layers=1, n_heads=1, d_vocab=30).double()
    attn = one.blocks[0].attn
    with torch.no_grad():
        one.embed.W_E += 10 * torch.randn(12, generator=torch.Generator().manual_seed(1))
        one.blocks[0].ln1.w.fill_(1)
        one.ln_final.w.fill_(1)
        attn.weight_qkv[24:] = torch.eye(12)
        attn.weight_o.copy_(sign * torch.eye(12))

    def score(center: bool) -> float:
        values = ov_circuit(one, 0, 0, tokens=True, center=center).eigenvalues
        return float(values.real.sum() / values.abs().sum())

    assert score(True) == pytest.approx(sign, abs=1e-9)


def test_random_heads_copy_nothing() -> None:
    one = random_model(n_layers=1, n_heads=8, d_model=64, d_vocab=200)
    scores = []
    for head in range(8):
        values = ov_circuit(one, 0, head, tokens=True, center=True).eigenvalues
        scores.append(float(values.real.sum() / values.abs().sum()))
    assert abs(np.mean(scores)) < 0.4


def test_the_whole_vocabulary_stays_factored() -> None:
    one = random_model(d_vocab=20_000)
    found = ov_circuit(one, 0, 0, tokens=True)
    assert found.shape == (20_000, 20_000)
    assert found.A.numel() + found.B.numel() == 2 * 20_000 * 4
    assert found.eigenvalues.shape == (4,)


@pytest.mark.parametrize("fold_ln", [True, False])
def test_composition_is_the_norm_of_the_product(fold_ln: bool) -> None:
    one = random_model().double()
    found = composition(one, fold_ln=fold_ln)
    for early, late in itertools.product(range(3), repeat=2):
        for a, b in itertools.product(range(3), repeat=2):
            if early >= late:
                assert np.isnan([x[early, a, late, b] for x in (found.q, found.k, found.v)]).all()
                continue
            first = ov_circuit(one, early, a, fold_ln=fold_ln).AB
            qk = qk_circuit(one, late, b, fold_ln=fold_ln).AB
            ov = ov_circuit(one, late, b, fold_ln=fold_ln).AB
            for scores, other in ((found.q, qk), (found.k, qk.T), (found.v, ov)):
                expected = (first @ other).norm() / (first.norm() * other.norm())
                assert scores[early, a, late, b] == pytest.approx(float(expected), abs=1e-9)


def test_compiled_induction_composes_through_keys_alone() -> None:
    found = composition(ns.load("induction"))
    scores = found.k[0, :, 1, :]
    assert scores[0, 0] > 0.2
    assert np.count_nonzero(scores) == 1
    assert not found.q[0, :, 1].any()
    assert not found.v[0, :, 1].any()


def test_the_organisms_induction_heads_compose_with_previous_token_heads(
    model: ns.HookedGPTNeo,
) -> None:
    best = composition(model).top("k", 1).iloc[0]
    place = [int(best[name]) for name in ("layer", "head", "later_layer", "later_head")]
    assert place == [0, 0, 2, 0]
    assert best.k > 1.5 * composition(model).baseline


def test_random_heads_compose_as_the_baseline_says() -> None:
    one = random_model(n_layers=2, n_heads=4, d_model=64)
    found = composition(one, fold_ln=False)
    for scores in (found.q, found.k, found.v):
        assert np.nanmean(scores) == pytest.approx(found.baseline, rel=0.15)


@pytest.mark.parametrize("circuit", ["ov", "qk"])
def test_singular_values_are_those_of_the_product(circuit: str) -> None:
    one = random_model().double()
    found = svd_reading(one, 1, 2, circuit=circuit, k=3, top=4)
    make = ov_circuit if circuit == "ov" else qk_circuit
    expected = torch.linalg.svdvals(make(one, 1, 2).AB)[:4]
    np.testing.assert_allclose(found.singular_values, expected, rtol=1e-5, atol=1e-6)
    assert found.share.sum() == pytest.approx(1)
    assert found.ids.shape == found.scores.shape == (3, 2, 2, 4)
    assert (np.diff(found.scores[:, :, 0]) <= 0).all()
    assert (np.diff(found.scores[:, :, 1]) >= 0).all()


def test_tokens_are_the_extremes_of_the_projections() -> None:
    one = random_model().double()
    found = svd_reading(one, 0, 1, k=4, top=20)
    left = torch.linalg.svd(ov_circuit(one, 0, 1).AB).U
    table = (one.W_E - one.W_E.mean(0)).detach()
    for vector in range(4):
        on = (table @ left[:, vector]).numpy()
        order = found.ids[vector, 0, 0]
        same = np.allclose(found.scores[vector, 0, 0], on[order], atol=1e-5)
        flipped = np.allclose(found.scores[vector, 0, 0], -on[order], atol=1e-5)
        assert same or flipped
        np.testing.assert_array_equal(found.ids[vector, 0, 1], order[::-1])


def test_compiled_induction_writes_what_it_reads() -> None:
    # Its singular values are all equal, so that only the pairing of the two sides is told.
    found = svd_reading(ns.load("induction"), 1, 0, k=5, top=3)
    assert np.ptp(found.singular_values[:15]) < 1e-3
    np.testing.assert_array_equal(found.ids[:, 0, 0, 0], found.ids[:, 1, 0, 0])


def test_results_are_kept_and_shown(tmp_path: Path, model: ns.HookedGPTNeo) -> None:
    reading = svd_reading(model, 2, 0, k=2, top=3)
    again = analysis.load(reading.save(tmp_path / "svd.json"))
    assert isinstance(again, SvdReading)
    assert str(again) == str(reading)
    assert len(reading.to_dataframe()) == 2 * 2 * 2 * 3
    assert again.to_dataframe().equals(reading.to_dataframe())
    pairs = composition(model)
    kept = analysis.load(pairs.save(tmp_path / "c.safetensors"))
    assert isinstance(kept, Composition)
    np.testing.assert_array_equal(kept.k, pairs.k)
    assert str(kept) == str(pairs)
    assert len(pairs.to_dataframe()) == 6 * 16


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda m: qk_circuit(m, 4, 0), "layer=4 does not exist; the model has layers 0 to 3"),
        (lambda m: ov_circuit(m, 0, -5), "head=-5 does not exist"),
        (lambda m: ov_circuit(m, 0, 0, center=True), "needs tokens=True"),
        (lambda m: svd_reading(m, 0, 0, circuit="vo"), "neither 'ov' nor 'qk'"),
        (lambda m: svd_reading(m, 0, 0, k=33), "k=33; expected a whole number from 1 to 32"),
        (lambda m: svd_reading(m, 0, 0, top=0), "top=0; expected"),
        (lambda m: composition(m, progress=5), "composition: progress=5; expected"),
        (lambda m: composition("organism"), "composition takes a model.*found str"),
        (lambda m: svd_reading("organism", 0, 0), "svd_reading takes a model"),
        (lambda m: weight_view("organism"), "weight_view takes a model"),
        (lambda m: qk_circuit(m.run_with_cache("The")[1], 0, 0), "qk_circuit takes a model"),
        (lambda m: ov_circuit("organism", 0, 0), "ov_circuit takes a model"),
        (lambda m: weight_view(m).check("organism", "The"), "WeightView.check takes a model"),
        (lambda m: composition(m).top("z"), "kind='z' is none of q, k, v"),
        (lambda m: composition(m).top("q", 0), "at least 1"),
    ],
)
def test_what_does_not_exist_is_refused(call: Any, said: str, model: ns.HookedGPTNeo) -> None:
    with pytest.raises(AnalysisError, match=said):
        call(model)


def test_a_view_in_half_precision_is_a_view_of_the_same_weights(model: ns.HookedGPTNeo) -> None:
    texts = ["The keys to the cabinet", "When Mary and John went to the store"]
    for dtype in (torch.float16, torch.bfloat16):
        view = weight_view(model, dtype=dtype)
        assert 1e-4 < view.check(model, texts) < 1
        with pytest.raises(AnalysisError, match="a view of other weights"):
            view.check(ns.load("organism-random"), texts)


def test_results_fit_eighty_columns_whatever_the_shape(model: ns.HookedGPTNeo) -> None:
    small = ns.HookedGPTNeo.from_config(
        ns.NeoConfig(n_layers=1, d_model=8, n_heads=4, n_ctx=8, d_vocab=6)
    )
    narrow = svd_reading(small, 0, 0)
    assert narrow.ids.shape == (2, 2, 2, 6)  # no more than d_head and d_vocab
    for found in (narrow, svd_reading(model, 2, 1), composition(model), composition(small)):
        assert max(map(len, str(found).splitlines())) <= 80
    assert "has one layer" in str(composition(small))


def test_composition_tells_its_progress_and_its_interruption(model: ns.HookedGPTNeo) -> None:
    seen: list[tuple[int, int]] = []
    composition(model, progress=lambda done, total: seen.append((done, total)))
    assert seen == [(i, 6) for i in range(1, 7)]

    whole = composition(model)

    def press(done: int, total: int) -> None:
        if done == 2:
            raise KeyboardInterrupt

    with pytest.warns(UserWarning, match="interrupted: 2 of 6 pairs of layers are done"):
        part = composition(model, progress=press)
    assert not part.complete
    assert "interrupted" in str(part)
    done = ~np.isnan(part.q)
    assert {(int(a), int(c)) for a, _, c, _ in np.argwhere(done)} == {(0, 1), (0, 2)}
    assert all(
        np.array_equal(getattr(part, kind)[done], getattr(whole, kind)[done]) for kind in "qkv"
    )


def test_composition_without_a_pair_has_nothing_to_keep(
    model: ns.HookedGPTNeo, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(composition_module, "_parts", stop)
    with pytest.raises(KeyboardInterrupt, match="composition was interrupted"):
        composition(model)


def test_bytes_are_told_apart(model: ns.HookedGPTNeo) -> None:
    words = vocabulary(list(range(model.config.d_vocab)), model.tokenizer)
    assert len(set(words)) == len(words)
    assert "\\xbb" in words
    assert not any("\ufffd" in word for word in words)
