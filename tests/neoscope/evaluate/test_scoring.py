"""Scores are those of each text run alone, whatever is shared, packed or edited."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import neoscope as ns
from neoscope.edits import ablate, mean_ablate, resample, scale, steer
from neoscope.errors import ArgumentError, EditError, EvaluationError
from neoscope.evaluate.forwards import shared_run
from neoscope.evaluate.likelihood import log_normaliser
from neoscope.evaluate.scoring import Request, Score, Scorer
from neoscope.evaluate.shared import Shared
from neoscope.evaluate.sharing import apart, batches, n_tokens, units
from tests.neoscope.evaluate.peers import close

CONFIG = ns.NeoConfig(
    n_layers=4, d_model=24, n_heads=3, n_ctx=40, d_vocab=11, window_size=5, init_range=0.3
)
MODEL = ns.HookedGPTNeo.from_config(CONFIG)
LONG = ns.HookedGPTNeo.from_config(
    ns.NeoConfig(
        n_layers=2, d_model=16, n_heads=2, n_ctx=900, d_vocab=11, window_size=70, init_range=0.3
    )
)


def alone(model: ns.HookedGPTNeo, request: Request) -> Score:
    """The definition: one plain forward over the text cut to the context."""
    n = len(request.continuation)
    ids = [*request.context, *request.continuation][-(model.config.n_ctx + 1) :]
    with torch.no_grad():
        log_p = model([ids[:-1]]).double().log_softmax(-1)[0, -n:]
    target = torch.tensor(request.continuation)
    return float(log_p.gather(1, target[:, None]).sum()), bool((log_p.argmax(-1) == target).all())


def texts(tokens: int, longest: int) -> st.SearchStrategy[list[int]]:
    return st.lists(st.integers(0, tokens - 1), min_size=1, max_size=longest)


PAIRS = st.lists(st.tuples(texts(2, 40), texts(3, 12)), min_size=1, max_size=14)


@given(PAIRS, st.sampled_from([1, 7, 40, 5000]), st.booleans())
@settings(max_examples=60)
def test_scores_are_those_of_each_text_alone(
    pairs: list[tuple[list[int], list[int]]], budget: int, share: bool
) -> None:
    requests = [Request(*pair) for pair in pairs]
    found = Scorer(MODEL, batch_tokens=budget, share=share).score(requests)
    close(found, [alone(MODEL, request) for request in requests])


@pytest.mark.parametrize("window", [70, 3, 2000])
def test_long_beginnings_and_branches_longer_than_a_block(window: int) -> None:
    config = LONG.config
    model = ns.HookedGPTNeo.from_config(
        ns.NeoConfig(
            n_layers=2, d_model=16, n_heads=2, n_ctx=900, d_vocab=11, window_size=window,
            init_range=0.3,
        )
    )  # fmt: skip
    generator = np.random.default_rng(0)
    context = generator.integers(0, config.d_vocab, 400).tolist()
    requests = [
        Request(context[:cut], generator.integers(0, config.d_vocab, n).tolist())
        for cut, n in [(400, 3), (400, 350), (300, 290), (120, 600), (400, 1), (7, 500)]
    ]
    close(Scorer(model).score(requests), [alone(model, request) for request in requests])


def test_sharing_computes_every_beginning_once() -> None:
    generator = np.random.default_rng(0)
    context = generator.integers(0, 5, 30)
    sequences = [np.append(context, [i, 1, 2]) for i in range(4)]
    found = units(sequences, 1000)
    assert [n_tokens(unit) for unit in found] == [30 + 4 * 3]
    assert sum(n_tokens(unit) for unit in apart(sequences)) == 4 * 33


def test_units_hold_every_sequence_once_and_batches_keep_to_the_budget() -> None:
    generator = np.random.default_rng(1)
    drawn = [generator.integers(0, 2, n) for n in generator.integers(1, 20, 200)]
    sequences = list({ids.tobytes(): ids for ids in drawn}.values())
    split = units(sequences, 60)
    assert sorted(m.index for unit in split for m in unit) == list(range(len(sequences)))
    for batch in batches(split, 60):
        assert sum(map(n_tokens, batch)) <= 60 or len(batch) == 1


def test_a_long_beginning_is_not_computed_again_for_a_budget() -> None:
    sequences = [np.append(np.arange(500), [i]) for i in range(300)]
    assert [n_tokens(unit) for unit in units(sequences, 100)] == [500 + 300]


def test_a_short_common_beginning_does_not_split_long_texts() -> None:
    sequences = [np.append([0], np.full(300, i)) for i in range(3)]
    assert [len(unit) for unit in units(sequences, 5000)] == [1, 1, 1]


@torch.no_grad()
def test_the_mask_of_a_shared_batch_is_what_its_attention_sees() -> None:
    generator = np.random.default_rng(2)
    sequences = [generator.integers(0, 2, n) for n in (9, 7, 8, 3, 9)]
    sequences += [np.append(sequences[0][:6], [3, 4, 5])]
    split = units(sequences, 1000)
    fused, paths = shared_run(MODEL, sequences, split)
    shared = Shared(sequences, split, "cpu")
    _, cache = MODEL.run_with_cache(shared.ids, sites=["pattern"], _visibility=shared)
    seen = (cache["pattern", 1][0, 0] > 0).numpy()
    for path in paths:
        for place, column in enumerate(path):
            near = set(path[max(0, place - CONFIG.window_size + 1) : place + 1].tolist())
            assert set(np.flatnonzero(seen[column]).tolist()) == near
    slow = MODEL(shared.ids, return_type="hidden", _visibility=shared)[0]
    torch.testing.assert_close(fused, slow)


@pytest.mark.parametrize(
    "edit",
    [
        ablate("z", layer=2, head=1),
        ablate("pattern", layer=1, head=0, positions=slice(0, 2)),
        scale("mlp_out", layer=1, factor=-2.0),
        steer("resid_post", layer=0, vector=torch.linspace(-1, 1, CONFIG.d_model), positions=-1),
        mean_ablate("z", layer=1),
        mean_ablate("attn_out", layer=0, positions=0),
    ],
    ids=repr,
)
def test_edits_change_scores_as_they_change_a_plain_forward(edit: ns.edits.Edit) -> None:
    generator = np.random.default_rng(3)
    context = generator.integers(0, 11, 12).tolist()
    requests = [
        Request(context[:cut], generator.integers(0, 11, n).tolist())
        for cut, n in [(12, 3), (12, 5), (12, 1), (5, 9), (2, 4)]
    ]
    clean = Scorer(MODEL).score(requests)
    with MODEL.edits(edit):
        expected = [alone(MODEL, request) for request in requests]
        close(Scorer(MODEL).score(requests), expected)
    assert abs(expected[0][0] - clean[0][0]) > 1e-3


def test_hooks_see_one_text_at_a_time() -> None:
    seen: list[tuple[int, ...]] = []

    def hook(x: torch.Tensor, hook: object) -> torch.Tensor:
        seen.append(tuple(x.shape[:2]))
        return x * 0.5

    requests = [Request([1, 2, 3], [4]), Request([1, 2], [4, 5, 6])]
    with MODEL.hooks(fwd_hooks=[("blocks.1.hook_mlp_out", hook)]):
        expected = [alone(MODEL, request) for request in requests]
        seen.clear()
        close(Scorer(MODEL).score(requests), expected)
    assert sorted(seen) == [(1, 3), (1, 4)]


def test_an_edit_that_needs_other_rows_says_so() -> None:
    with MODEL.edits(resample("z", layer=1)), pytest.raises(EditError, match="reference"):
        Scorer(MODEL).score([Request([1], [2]), Request([1], [3])])


def test_a_context_too_long_loses_its_beginning() -> None:
    context = [1] * 30 + [2, 3] * 20
    request = Request(context, [4, 5])
    ids, target = request.cut(CONFIG.n_ctx)
    assert ids.tolist() == [*context, 4][-CONFIG.n_ctx :]
    assert target.tolist() == [4, 5]


@pytest.mark.parametrize(
    ("request_", "said"),
    [
        (Request([], [1]), "at least one token of context"),
        (Request([1], []), "one after it"),
        (Request([1], [2] * 41), "a continuation of 41 tokens .* context of 40"),
    ],
)
def test_a_request_that_cannot_be_scored_says_why(request_: Request, said: str) -> None:
    with pytest.raises(EvaluationError, match=said):
        Scorer(MODEL).score([request_])


@pytest.mark.parametrize("budget", [0, -3, True])
def test_a_budget_that_means_nothing_is_refused(budget: int) -> None:
    with pytest.raises(ArgumentError, match="batch_tokens"):
        Scorer(MODEL, batch_tokens=budget)


def test_when_memory_runs_out_the_budget_is_halved(monkeypatch: pytest.MonkeyPatch) -> None:
    generator = np.random.default_rng(4)
    requests = [Request(generator.integers(0, 11, 9).tolist(), [3]) for _ in range(20)]
    expected = Scorer(MODEL).score(requests)
    plain = ns.HookedGPTNeo.forward

    def small(self: ns.HookedGPTNeo, ids: torch.Tensor, *args: object, **more: object) -> object:
        if ids.numel() > 30:
            raise RuntimeError("DefaultCPUAllocator: can't allocate memory")
        return plain(self, ids, *args, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(ns.HookedGPTNeo, "forward", small)
    told: list[int] = []
    scorer = Scorer(MODEL, batch_tokens=400)
    close(scorer.score(requests, told.append), expected)
    assert scorer.batch_tokens <= 30
    assert sum(told) == len(requests)


def test_a_text_that_never_fits_into_memory_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    def never(*args: object, **more: object) -> None:
        raise MemoryError

    monkeypatch.setattr(ns.HookedGPTNeo, "forward", never)
    with pytest.raises(EvaluationError, match="out of memory on a single text of 2 tokens"):
        Scorer(MODEL).score([Request([1, 2], [3]), Request([4, 5], [3])])


@given(st.integers(1, 40), st.integers(0, 5))
@settings(max_examples=20)
def test_the_normaliser_is_the_log_of_the_sum_over_the_vocabulary(rows: int, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    config = ns.NeoConfig(n_layers=1, d_model=8, n_heads=2, n_ctx=4, d_vocab=3000, init_range=1.0)
    unembed = ns.HookedGPTNeo.from_config(config, seed=seed).unembed
    hidden = torch.randn(rows, 8, generator=generator) * 5
    with torch.no_grad():
        normaliser, likeliest = log_normaliser(hidden, unembed)
        logits = unembed(hidden)
    torch.testing.assert_close(normaliser, logits.logsumexp(-1), atol=1e-4, rtol=1e-5)
    assert torch.equal(likeliest, logits.argmax(-1))


def test_half_precision_is_near_full() -> None:
    generator = np.random.default_rng(5)
    requests = [Request(generator.integers(0, 11, 9).tolist(), [3, 4]) for _ in range(6)]
    model = ns.HookedGPTNeo.from_config(CONFIG, dtype="bfloat16")
    found = [score for score, _ in Scorer(model).score(requests)]
    np.testing.assert_allclose(found, [alone(MODEL, r)[0] for r in requests], atol=0.5)
