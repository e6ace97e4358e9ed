"""Suites: their tasks, shots and metrics, and the published figures beside."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import neoscope as ns
from neoscope.evaluate import SUITES, Harness, evaluate
from neoscope.evaluate.published import SCORES, known_as
from neoscope.model import HookedGPTNeo
from tests.neoscope.evaluate import stock_data


@pytest.fixture
def stock(monkeypatch: pytest.MonkeyPatch, offline: None) -> None:
    import datasets

    monkeypatch.setattr(datasets, "load_dataset", stock_data.load_dataset)
    monkeypatch.setattr(Harness, "max_gen_toks", 8)


def wide(n_ctx: int = 2048) -> HookedGPTNeo:
    """A tiny model with the published context and the organism's tokenizer."""
    organism = ns.load("organism")
    config = ns.NeoConfig(n_layers=2, d_model=16, n_heads=2, n_ctx=n_ctx,
                          d_vocab=organism.config.d_vocab, window_size=256)  # fmt: skip
    return ns.HookedGPTNeo.from_config(config, tokenizer=organism.tokenizer)


def test_the_leaderboards_suite_means_its_tasks_shots_and_metrics(stock: None) -> None:
    found = evaluate(wide(), suite="leaderboard-v1", published="125m", progress=False)
    table = found.to_dataframe()
    main = table[table.main]
    assert main.label.tolist() == [e.label for e in SUITES["leaderboard-v1"].entries] + ["Average"]
    assert main.metric.tolist()[:-1] == [
        "acc_norm", "acc_norm", "acc", "acc", "acc", "exact_match", "f1"
    ]  # fmt: skip
    assert main.num_fewshot.tolist()[:-1] == [25, 10, 5, 0, 5, 5, 3]
    assert main.published.tolist() == list(SCORES["leaderboard-v1"]["125m"].values())
    np.testing.assert_allclose(main.difference, main.value - main.published)
    assert main.value.iloc[-1] == pytest.approx(main.value[:-1].mean())
    parts = table[table.task.str.startswith("mmlu_") & (table.n == 4)]
    assert len(parts) == 57
    assert found["mmlu", "acc"] == pytest.approx(parts.value.mean())
    assert main.n.tolist()[:-1] == [4, 4, 4 * 57, 4, 4, 4, 4]


def test_the_readmes_suite_means_its_tasks_and_metrics(stock: None) -> None:
    found = evaluate(wide(), suite="gpt-neo-readme", published="2.7B", progress=False)
    main = found.to_dataframe()[found.main]
    assert main.task.tolist() == [
        "wikitext", "lambada_openai", "lambada_openai", "winogrande", "hellaswag", "mathqa",
        "pubmedqa", "piqa",
    ]  # fmt: skip
    assert main.published.tolist() == [11.39, 5.626, 0.6222, 0.565, 0.4273, 0.2472, 0.5754, 0.7214]
    assert main.num_fewshot.tolist() == [0] * 8
    assert main.value.notna().all()
    assert not main.higher_is_better.tolist()[0]
    assert main.higher_is_better.tolist()[2]
    assert found.source == "https://github.com/EleutherAI/gpt-neo#model-evaluations"
    assert "published" in str(found)


def test_a_suite_of_an_unknown_model_has_no_figures_beside(stock: None) -> None:
    found = evaluate(wide(), suite="gpt-neo-readme", limit=2, progress=False)
    assert found.published_as is None
    assert np.isnan(found.published).all()


def test_the_leaderboards_average_is_the_published_one() -> None:
    *figures, average = SCORES["leaderboard-v1"]["125m"].values()
    assert np.mean(figures) == pytest.approx(average, abs=5e-5)


def test_every_figure_belongs_to_an_entry_of_its_suite() -> None:
    for suite in SUITES.values():
        entries = {(entry.task, entry.metric) for entry in suite.entries} | {("average", "score")}
        for figures in suite.published.values():
            assert set(figures) <= entries


@pytest.mark.parametrize(
    ("name", "shape", "expected"),
    [
        ("EleutherAI/gpt-neo-125M", (12, 768, 12), "125m"),
        ("models/gpt-neo-1.3B", (24, 2048, 16), "1.3b"),
        ("EleutherAI/gpt-neo-125M", (2, 768, 12), None),
        ("someone/else", (12, 768, 12), None),
        ("someone/gpt-neo-125m-finetuned", (12, 768, 12), None),
    ],
)
def test_a_published_model_is_known_by_name_and_shape(
    name: str, shape: tuple[int, int, int], expected: str | None
) -> None:
    n_layers, d_model, n_heads = shape
    model = ns.HookedGPTNeo.from_config(
        ns.NeoConfig(n_layers=2, d_model=8, n_heads=2, n_ctx=8, d_vocab=8)
    )
    model.config = dataclasses.replace(
        model.config, n_layers=n_layers, d_model=d_model, n_heads=n_heads,
        attention_layers=("global", "local") * (n_layers // 2), d_mlp=4 * d_model,
    )  # fmt: skip
    model.cfg.model_name = name
    assert known_as(model) == expected


def test_shots_are_drawn_as_lm_eval_draws_them(stock: None, monkeypatch: Any) -> None:
    import lm_eval

    model = wide()
    ours = evaluate(model, "piqa", num_fewshot=3, progress=False)
    again = evaluate(model, "piqa", num_fewshot=3, seed=5, progress=False)
    theirs = lm_eval.simple_evaluate(
        Harness(model, progress=False), tasks=["piqa"], num_fewshot=3, bootstrap_iters=0,
        task_manager=lm_eval.tasks.TaskManager(
            include_defaults=False, include_path=Path(lm_eval.tasks.__file__).parent / "piqa"
        ),
    )["results"]["piqa"]  # fmt: skip
    assert ours["piqa", "acc"] == theirs["acc,none"]
    assert ours["piqa", "acc_norm"] == theirs["acc_norm,none"]
    assert (ours.seed, again.seed) == (1234, 5)
