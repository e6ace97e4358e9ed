"""Metrics equal transformers' and torch's own, on both sides of padding and in half precision."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from transformers import GPTNeoConfig, GPTNeoForCausalLM

import neoscope as ns
from neoscope.analysis import metrics
from neoscope.errors import AnalysisError

V = 11


def drawn(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed)) * 3


def ids_of(*shape: int) -> torch.Tensor:
    return torch.randint(V, shape, generator=torch.Generator().manual_seed(1))


def test_loss_and_perplexity_are_those_of_transformers() -> None:
    torch.manual_seed(0)
    model = GPTNeoForCausalLM(
        GPTNeoConfig(
            hidden_size=16, num_layers=2, num_heads=2, vocab_size=V, window_size=4,
            max_position_embeddings=16, attention_types=[[["global", "local"], 1]],
        )
    ).eval()  # fmt: skip
    ids = ids_of(3, 9)
    with torch.no_grad():
        out = model(ids, labels=ids)
    assert metrics.loss(out.logits, ids).item() == pytest.approx(out.loss.item(), rel=1e-6)
    expected = math.exp(out.loss.item())
    assert metrics.perplexity(out.logits, ids) == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("side", ["left", "right"])
def test_padding_on_either_side_changes_nothing(side: str) -> None:
    ids, logits = ids_of(5), drawn(5, V)
    place = slice(2, 7) if side == "left" else slice(0, 5)
    wide_ids, wide = ids_of(1, 7), drawn(1, 7, V, seed=5)
    mask = torch.zeros(1, 7, dtype=torch.bool)
    wide_ids[0, place], wide[0, place], mask[0, place] = ids, logits, True
    alone, padded = logits[None], (wide, wide_ids, mask)
    assert metrics.loss(*padded) == metrics.loss(alone, ids[None])
    found = metrics.surprisal(*padded)
    torch.testing.assert_close(
        found[0, place], metrics.surprisal(alone, ids[None])[0], equal_nan=True, rtol=0, atol=0
    )
    assert found[~mask].isnan().all()
    assert found[0, place][0].isnan()
    torch.testing.assert_close(metrics.entropy(wide, mask)[mask], metrics.entropy(logits))
    assert metrics.entropy(wide, mask)[~mask].isnan().all()
    difference = metrics.logit_diff(wide, 3, 4, mask)
    assert difference.item() == (logits[-1, 3] - logits[-1, 4]).item()


def test_surprisal_is_minus_log_p_of_the_token() -> None:
    ids, logits = ids_of(2, 4), drawn(2, 4, V)
    found = metrics.surprisal(logits, ids)
    for row in range(2):
        for at in range(1, 4):
            expected = -logits[row, at - 1].double().log_softmax(-1)[ids[row, at]]
            assert found[row, at].item() == pytest.approx(expected.item(), rel=1e-6)
    torch.testing.assert_close(
        metrics.surprisal(logits, ids, bits=True), found / math.log(2), equal_nan=True
    )


def test_kl_has_its_direction() -> None:
    p, q = torch.tensor([[0.5, 0.5]]), torch.tensor([[0.9, 0.1]])
    there, back = metrics.kl(p.log(), q.log()).item(), metrics.kl(q.log(), p.log()).item()
    assert there == pytest.approx(0.5 * math.log(0.5 / 0.9) + 0.5 * math.log(0.5 / 0.1))
    assert back == pytest.approx(0.9 * math.log(0.9 / 0.5) + 0.1 * math.log(0.1 / 0.5))
    assert abs(there - back) > 0.1
    assert metrics.kl(p.log(), q.log(), bits=True).item() == pytest.approx(there / math.log(2))


def test_tokens_without_probability_count_for_nothing_or_for_infinity() -> None:
    p, q = torch.tensor([[1.0, 0.0]]).log(), torch.tensor([[0.5, 0.5]]).log()
    assert metrics.kl(p, q).item() == pytest.approx(math.log(2))
    assert metrics.kl(q, p).item() == math.inf
    assert metrics.entropy(p).item() == 0


@given(st.integers(1, 4), st.integers(1, 5), st.sampled_from([0.1, 1.0, 30.0]))
def test_entropy_and_kl_are_those_of_torch(batch: int, n: int, scale: float) -> None:
    p, q = drawn(batch, n, V, seed=n) * scale, drawn(batch, n, V, seed=n + 9) * scale
    entropy = torch.distributions.Categorical(logits=p.double()).entropy()
    torch.testing.assert_close(metrics.entropy(p).double(), entropy, rtol=1e-4, atol=1e-5)
    expected = F.kl_div(
        q.double().log_softmax(-1), p.double().log_softmax(-1), log_target=True, reduction="none"
    ).sum(-1)
    torch.testing.assert_close(metrics.kl(p, q).double(), expected, rtol=1e-4, atol=1e-4)
    assert (metrics.kl(p, p) == 0).all()


def test_half_precision_is_summed_in_float32() -> None:
    ids, logits = ids_of(2, 6), drawn(2, 6, V).bfloat16()
    for one in (metrics.surprisal, metrics.loss):
        found = one(logits, ids)
        assert found.dtype == torch.float32
        torch.testing.assert_close(found, one(logits.float(), ids), equal_nan=True, rtol=0, atol=0)
    assert metrics.entropy(logits).dtype == torch.float32
    assert metrics.entropy(logits.double()).dtype == torch.float64


def test_a_few_rows_at_a_time_give_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    ids, logits, other = ids_of(3, 6), drawn(3, 6, V), drawn(3, 6, V, seed=3)

    def every() -> list[torch.Tensor]:
        return [
            metrics.surprisal(logits, ids), metrics.entropy(logits), metrics.kl(logits, other)
        ]  # fmt: skip

    whole = every()
    monkeypatch.setattr(metrics, "_LOGITS_AT_ONCE", 2 * V)
    for one, other_one in zip(whole, every(), strict=True):
        torch.testing.assert_close(one, other_one, equal_nan=True, rtol=0, atol=0)


def test_gradients_flow() -> None:
    ids, logits = ids_of(2, 4), drawn(2, 4, V).requires_grad_()
    metrics.loss(logits, ids).backward()
    expected = F.cross_entropy(logits[:, :-1].flatten(0, 1), ids[:, 1:].flatten())
    found = logits.grad
    assert found is not None
    torch.testing.assert_close(found, torch.autograd.grad(expected, logits)[0])


def test_word_perplexity_counts_words_as_the_harness_does() -> None:
    texts = ["The keys near the cabinet", "It is.\nSo  there"]
    assert [metrics.count_words(t) for t in texts] == [5, 4]
    model = ns.load("organism")
    tokens = model.tokenize("The keys near the cabinet", prepend_bos=True)
    with torch.no_grad():
        logits = model(tokens)
    found = metrics.perplexity(
        logits, tokens.ids, tokens.mask, per="word", texts=["The keys near the cabinet"]
    )
    total = metrics.surprisal(logits, tokens.ids).nansum().item()
    assert found == pytest.approx(math.exp(total / 5))


def test_what_cannot_be_counted_is_refused() -> None:
    logits, ids = drawn(2, 1, V), ids_of(2, 1)
    with pytest.raises(AnalysisError, match=r"2 text\(s\) have one token"):
        metrics.loss(logits, ids)
    with pytest.raises(AnalysisError, match=r"per='words' is none of .* did you mean 'word'"):
        metrics.perplexity(drawn(1, 3, V), ids_of(1, 3), per="words")
    with pytest.raises(AnalysisError, match=r"give all 1 as texts=\[...\]; found None"):
        metrics.perplexity(drawn(1, 3, V), ids_of(1, 3), per="word")


@pytest.mark.parametrize("metric", [metrics.surprisal, metrics.loss, metrics.perplexity])
def test_ids_that_are_not_of_the_logits_are_refused(metric: Any) -> None:
    """Broadcast, they would give a number that means nothing."""
    logits, ids = drawn(2, 4, V), ids_of(2, 4)
    for wrong in (ids[:1], ids[:, :1], ids[:, 1:], ids[0]):
        with pytest.raises(AnalysisError, match=r"ids has shape .* are of \[2, 4\] tokens"):
            metric(logits, wrong)
    with pytest.raises(AnalysisError, match=r"mask has shape \[1, 4\]"):
        metric(logits, ids, torch.ones(1, 4, dtype=torch.bool))
    with pytest.raises(AnalysisError, match=r"logits\[None\]"):
        metric(logits[0], ids[0])
    with pytest.raises(AnalysisError, match=f"token id {V} is outside the vocabulary of {V}"):
        metric(logits, torch.full_like(ids, V))
    with pytest.raises(AnalysisError, match=r"ids must be whole numbers; found torch\.float32"):
        metric(logits, ids.float())
    with pytest.raises(AnalysisError, match="ids must be a torch tensor; found list"):
        metric(logits, ids.tolist())


def test_distributions_of_other_shapes_are_not_compared() -> None:
    p = drawn(2, 4, V)
    for q in (p[:1], p[:, :1], drawn(2, 4, V + 1)):
        with pytest.raises(AnalysisError, match=r"p_logits has shape \[2, 4, 11\] and q_logits"):
            metrics.kl(p, q)
    with pytest.raises(AnalysisError, match="mask has shape"):
        metrics.kl(p, p, torch.ones(2, 3, dtype=torch.bool))
    with pytest.raises(AnalysisError, match="mask has shape"):
        metrics.entropy(p, torch.ones(1, 4, dtype=torch.bool))


def test_what_are_no_logits_are_refused() -> None:
    logits = drawn(1, 3, V)
    with pytest.raises(AnalysisError, match=r"found ndarray; torch\.from_numpy"):
        metrics.entropy(logits.numpy())
    with pytest.raises(AnalysisError, match=r"real numbers .* found torch.int64"):
        metrics.entropy(ids_of(1, 3))
    with pytest.raises(AnalysisError, match="q_logits must be a torch tensor; found str"):
        metrics.kl(logits, "logits")


@pytest.mark.parametrize(
    "answer", [" Mary", [" Mary", " John"], V, -1, 1.5, None, [1, 2, 3], [[1]]]
)
def test_answers_are_ids_of_the_vocabulary(answer: Any) -> None:
    """An id of -1 would count from the end of the vocabulary."""
    logits = drawn(2, 3, V)
    hint = "to_single_token" if " Mary" in str(answer) else "expected a token id from 0 to 10"
    with pytest.raises(AnalysisError, match=hint):
        metrics.logit_diff(logits, answer, 1)
    with pytest.raises(AnalysisError, match="wrong="):
        metrics.logit_diff(logits, 1, answer)


def test_answers_may_be_one_for_each_text() -> None:
    logits = drawn(2, 3, V)
    expected = [float(logits[i, -1, a] - logits[i, -1, b]) for i, a, b in ((0, 1, 3), (1, 2, 3))]
    for answer in (torch.tensor([1, 2]), [1, 2], (1, 2)):
        assert metrics.logit_diff(logits, answer, 3).tolist() == pytest.approx(expected)
    assert metrics.logit_diff(logits, torch.tensor(1), 3)[0].item() == pytest.approx(expected[0])


def test_a_mask_of_numbers_counts_and_one_of_padding_alone_does_not() -> None:
    logits, ids = drawn(2, 4, V), ids_of(2, 4)
    mask = torch.tensor([[1, 1, 1, 0], [1, 1, 1, 1]])
    assert metrics.loss(logits, ids, mask) == metrics.loss(logits, ids, mask.bool())
    assert metrics.entropy(logits, mask).isnan().tolist() == (mask == 0).tolist()
    with pytest.raises(AnalysisError, match="mask may only hold 1"):
        metrics.loss(logits, ids, mask * 2)
    with pytest.raises(AnalysisError, match="text 1 is all padding"):
        metrics.logit_diff(logits, 1, 2, torch.tensor([[1, 1, 1, 0], [0, 0, 0, 0]]))
