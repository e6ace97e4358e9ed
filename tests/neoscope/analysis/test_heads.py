"""Head scores: exact where a model is compiled or its attention known, else against plain loops."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import neoscope as ns
from neoscope.analysis import HeadScores, heads, load
from neoscope.analysis.head.ratios import Ratios
from neoscope.edits import ablate
from tests.neoscope.analysis.head_runs import QUIET, TEXTS, at, random_model, score


def test_the_truth_cards_heads_come_out_on_top(measured: HeadScores) -> None:
    for name, head in (
        ("previous_token", (0, 0)),
        ("induction", (2, 0)),
        ("induction_beyond", (2, 0)),
        ("position_share", (0, 0)),
        ("copying", (2, 0)),
    ):
        row = measured.top(name, 1).iloc[0]
        assert (row["layer"], row["head"]) == head, name
    assert at(measured, "previous_token", (0, 0)) > 0.95
    assert at(measured, "induction_beyond", (2, 0)) > 0.8
    ranking = measured.ranking().set_index("kind")
    assert ranking.loc["induction", "lead"] > 10 * ranking.loc["induction", "lead_stderr"]
    for name in ("induction_beyond", "duplicate_token_beyond"):
        assert measured.possible[measured.names.index(name)].all(1).tolist() == [
            1,
            0,
            1,
            0,
        ]


def test_claims_of_the_truth_card_about_layers_hold(measured: HeadScores) -> None:
    claims = {c["claim"]: c["values"][0] for c in ns.organism.truth_card()["claims"]}
    for text, name in (
        ("The head that attends most to the word before is in layer {}.", "previous_token"),
        ("Within the window, the head with the highest induction score is in layer {}.",
         "induction"),
        ("Beyond the window, the head with the highest induction score is in layer {}.",
         "induction_beyond"),
    ):  # fmt: skip
        layer = int(measured.top(name, 1)["layer"][0])
        assert claims[text.format(layer)] == layer


def test_a_text_of_the_language_names_the_same_induction_head() -> None:
    model = ns.load("organism")
    texts = [s.text for s in ns.organism.sentences("far-induction", 8)]
    found = heads(model, texts=texts, scores=["induction_beyond", "previous_token"], **QUIET)
    assert found.corpus == "texts"
    assert found.prepend_bos is False
    row = found.top("induction_beyond", 1).iloc[0]
    assert (row["layer"], row["head"]) == (2, 0)


@pytest.mark.parametrize("suffix", [".json", ".safetensors"])
def test_a_saved_result_comes_back(tmp_path: Path, short_scores: HeadScores, suffix: str) -> None:
    back = load(short_scores.save(tmp_path / f"heads{suffix}"))
    assert isinstance(back, HeadScores)
    assert str(back) == str(short_scores)
    assert back.to_dataframe().equals(short_scores.to_dataframe())


def test_the_table_has_a_row_for_each_head(measured: HeadScores) -> None:
    table = measured.to_dataframe()
    assert len(table) == len(measured.names) * 16
    row = table[(table["kind"] == "induction") & (table["layer"] == 2) & (table["head"] == 0)]
    assert row["score"].item() == at(measured, "induction", (2, 0))
    assert row["low"].item() < row["score"].item() < row["high"].item()
    assert str(measured).startswith("Head scores of 'organism' on 32 repeats of random tokens")
    assert "cannot" in str(measured)
    assert "<table" in measured._repr_html_()


def test_a_printed_result_fits_80_columns_and_says_what_is_missing(
    measured: HeadScores,
) -> None:
    texts = heads(random_model(), texts=[[1, 2, 3, 4]], **QUIET)
    for found in (measured, texts):
        assert max(map(len, str(found).splitlines())) <= 80
        assert all(name in str(found) for name in found.names)
    row = texts.summary().set_index("kind").loc["induction"]
    assert row["head"] == "-"
    assert "-: there was nothing to measure it on" in str(texts)
    assert "nothing to measure" not in str(measured)
    assert "on 1 text, 4 tokens" in texts.heading()
    _, cache = random_model().run_with_cache([TEXTS[0]], sites="pattern")
    model = random_model()
    for source, names, said in (
        (cache, "copying", "from weights"),
        (model, "copying_top5", "from weights"),
        (model, ["copying", "position_share"], "from random tokens and weights"),
    ):
        given = model if source is cache else None
        one = heads(source, scores=names, model=given, **QUIET)
        assert one.heading().endswith(said)


def test_lowest_first(measured: HeadScores) -> None:
    row = measured.top("entropy", 1, lowest=True).iloc[0]
    assert row["score"] == np.nanmin(score(measured, "entropy"))
    assert measured.top("entropy", None)["score"].is_monotonic_decreasing


def test_edits_in_force_act_and_are_recorded() -> None:
    model = random_model()
    before = heads(model, scores="entropy", **QUIET)
    with model.edits(ablate("q", layer=0)):
        during = heads(model, scores="entropy", **QUIET)
    assert before.edits == ()
    assert during.edits == ("ablate('q', layer=0)",)
    assert "ablate" in during.heading()
    assert not np.allclose(before.score, during.score)


def test_an_interruption_keeps_what_was_done() -> None:
    def stop(done: int, total: int) -> None:
        assert total == 8
        if done >= 3:
            raise KeyboardInterrupt

    model = random_model()
    with pytest.warns(UserWarning, match="interrupted: 4 texts are done"):
        found = heads(model, gap=3, n=8, scores="entropy", batch_tokens=14, progress=stop)
    assert not found.complete
    assert found.n_texts == 4
    assert "interrupted" in found.heading()


def test_progress_is_told() -> None:
    told: list[tuple[int, int]] = []
    heads(random_model(), gap=3, n=4, progress=lambda done, total: told.append((done, total)))
    assert told[-1] == (4 + 2, 4 + 2)
    assert [done for done, _ in told] == sorted(done for done, _ in told)


@given(st.integers(2, 12), st.integers(1, 3), st.integers(0, 1000))
def test_moments_are_those_of_the_texts(n: int, units: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    count = rng.integers(1, 9, (n, units)).astype(float)
    total = count * rng.random((n, units))
    moments = Ratios(units)
    for rows in np.array_split(np.arange(n), 2):
        moments.add(torch.from_numpy(total[rows]), torch.from_numpy(count[rows]))
    ratio = total.sum(0) / count.sum(0)
    left = (total - ratio * count) / count.sum(0)
    stderr = np.sqrt(n / (n - 1) * (left**2).sum(0))
    np.testing.assert_allclose(moments.ratio().numpy(), ratio)
    np.testing.assert_allclose(moments.stderr().numpy(), stderr, atol=1e-7)
    between = math.sqrt(n / (n - 1) * ((left[:, 0] - left[:, -1]) ** 2).sum())
    assert moments.stderr_between(0, units - 1) == pytest.approx(between, abs=1e-6)
