"""What all results share: they print in 80 columns, cannot be written to, and are kept whole."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from jaxtyping import Float

import neoscope as ns
from neoscope import analysis
from neoscope.analysis import reading
from neoscope.analysis.result import Result, counted, narrow, wrapped
from neoscope.cache import ActivationCache
from neoscope.errors import AnalysisError
from neoscope.model import HookedGPTNeo

TEXT = "The keys near the cabinet"


@dataclass(frozen=True, eq=False, repr=False)
class Numbers(Result):
    """A result of the tests' own."""

    values: Float[np.ndarray, " n"]
    name: str

    def heading(self) -> str:
        return f"Numbers of {self.name}"

    def to_dataframe(self) -> pd.DataFrame:
        return pd.DataFrame({f"a_long_name_{i}": self.values * i for i in range(12)})


def cache_of(model: HookedGPTNeo) -> ActivationCache:
    found: ActivationCache = model.run_with_cache(TEXT)[1]
    return found


# ---- results -----------------------------------------------------------------------------------


def test_nobody_can_write_into_a_result() -> None:
    mine = np.arange(3.0)
    found = Numbers(mine, "three")
    with pytest.raises(ValueError, match="read-only"):
        found.values[0] = 99
    with pytest.raises(dataclasses.FrozenInstanceError):
        found.values = mine  # type: ignore[misc]
    mine[0] = 1  # what is another's stays his


def test_a_result_read_from_a_file_cannot_be_written_to_either(tmp_path: Path) -> None:
    for suffix in ("json", "safetensors"):
        path = Numbers(np.arange(3.0), "three").save(tmp_path / f"one.{suffix}")
        back = analysis.load(path)
        assert isinstance(back, Numbers)
        assert not back.values.flags.writeable


def test_a_wide_table_is_printed_in_80_columns() -> None:
    said = str(Numbers(np.arange(30.0) / 7, "many words " * 12))
    assert max(map(len, said.splitlines())) <= 80
    assert said.endswith("... 10 more rows: to_dataframe()")
    assert "a_long_name_11" in said


def test_a_table_loses_digits_and_ends_of_cells_before_it_is_parted() -> None:
    digits = pd.DataFrame({f"c{i}": [1.2345678] for i in range(11)})
    assert "1.235" in narrow(digits)
    tight = pd.DataFrame({f"c{i}": [1.2345678] for i in range(15)})
    assert len(narrow(tight).splitlines()) == 2
    assert "1.23 " in narrow(tight)
    words = pd.DataFrame({"a": ["x" * 60], "b": ["y" * 60], "c": ["short"]})
    assert len(narrow(words).splitlines()) == 2
    assert "short" in narrow(words)


def test_an_empty_table_says_so() -> None:
    assert narrow(pd.DataFrame()) == "nothing to show"


def test_words_are_counted_in_english() -> None:
    assert [counted(n, "text") for n in (0, 1, 2000)] == ["0 texts", "1 text", "2,000 texts"]
    assert counted(2, "query", "queries") == "2 queries"
    assert max(map(len, wrapped("word " * 99).splitlines())) <= 80


@pytest.mark.parametrize("path", [5, None, b"one.json"])
def test_what_is_no_path_is_refused(path: Any) -> None:
    with pytest.raises(AnalysisError, match=r"load takes the path .* found"):
        analysis.load(path)
    with pytest.raises(AnalysisError, match=r"save takes the path .* found"):
        Numbers(np.zeros(1), "one").save(path)


# ---- what is given -----------------------------------------------------------------------------


def test_what_is_no_model_and_no_cache_is_refused(model: HookedGPTNeo) -> None:
    cache = cache_of(model)
    assert reading.as_model(model, "f") is model
    assert reading.as_cache(cache, "f") is cache
    with pytest.raises(AnalysisError, match=r"f takes a model, .*load\('organism'\).* found str"):
        reading.as_model("organism", "f")
    with pytest.raises(AnalysisError, match=r"f takes a model, .* found ActivationCache"):
        reading.as_model(cache, "f")
    for read in (reading.as_cache, reading.whole):
        with pytest.raises(AnalysisError, match=r"f takes a cache, .* found HookedGPTNeo"):
            read(model, "f")
    with pytest.raises(AnalysisError, match="f takes a cache"):
        reading.need(model, ["pattern"], "f")
    with pytest.raises(AnalysisError, match="f takes a cache"):
        reading.owner(model, None, "f")


def test_progress_is_true_false_or_a_function() -> None:
    for progress in (True, False, print):
        assert reading.check_progress(progress, "f") is progress
    for progress in (5, "x", None, 1.0):
        with pytest.raises(AnalysisError, match=r"f: progress=.*; expected True, False, or"):
            reading.check_progress(progress, "f")


# ---- whose cache it is -------------------------------------------------------------------------


def test_a_cache_is_read_by_the_weights_that_made_it(model: HookedGPTNeo, tmp_path: Path) -> None:
    cache = cache_of(model)
    cache.save(tmp_path / "run.safetensors")
    loaded = ActivationCache.load(tmp_path / "run.safetensors")
    twin, other = ns.load("organism"), ns.load("organism-random")
    assert reading.owner(cache, None, "f") is model
    for one in (cache, loaded):
        for same in (model, twin):
            assert reading.owner(one, same, "f") is same
        with pytest.raises(AnalysisError, match="f: the cache was made by another model than"):
            reading.owner(one, other, "f")
    with torch.no_grad():
        twin.blocks[3].mlp.b_out[0] += 1e-3
    for one in (cache, loaded):
        with pytest.raises(AnalysisError, match="made by another model"):
            reading.owner(one, twin, "f")
    with pytest.raises(AnalysisError, match=r"mlp\.b_out has other weights than in 'organism'"):
        reading.owner(cache, twin, "f")


def test_the_same_weights_in_another_format_are_the_same_where_that_can_be_known(
    model: HookedGPTNeo, tmp_path: Path
) -> None:
    half, other = ns.load("organism", dtype="bfloat16"), ns.load("organism-random", dtype="float16")
    cache = cache_of(model)
    for one in (half, ns.load("organism", dtype="float16")):
        assert reading.owner(cache, one, "f") is one
    with pytest.raises(AnalysisError, match="made by another model"):
        reading.owner(cache, other, "f")
    path = tmp_path / "run.safetensors"
    cache_of(half).save(path)
    # What was rounded can be rounded again; what is rounded cannot be told to come from the whole.
    assert reading.owner(ActivationCache.load(path), model, "f") is model
    cache.save(path)
    with pytest.raises(AnalysisError, match="in another number format, load the model in the one"):
        reading.owner(ActivationCache.load(path), half, "f")


def test_a_cache_that_says_nothing_of_its_model_is_taken_by_its_shape(model: HookedGPTNeo) -> None:
    cache = cache_of(model)
    bare = ActivationCache(dict(cache), cache.config, tokens=cache.tokens)
    other = ns.load("organism-random")
    assert reading.owner(bare, other, "f") is other
    with pytest.raises(AnalysisError, match=r"has none: .* f\(cache, model=model\)"):
        reading.owner(bare, None, "f")
    with pytest.raises(AnalysisError, match="another model"):
        reading.owner(bare, ns.load("induction"), "f")
