"""Whatever was saved is read back as the class that wrote it, and every other file is refused."""

from __future__ import annotations

import functools
import json
import os
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from neoscope.errors import PatchingError
from neoscope.patching.circuits.circuit import Circuit
from neoscope.patching.circuits.faithfulness import faithfulness
from neoscope.patching.circuits.minimality import minimality
from neoscope.patching.circuits.result import Faithfulness, Minimality
from neoscope.patching.gradient.attribution import attribution
from neoscope.patching.gradient.audit import Audit
from neoscope.patching.gradient.edge_scores import EdgeScores
from neoscope.patching.gradient.edges import eap
from neoscope.patching.gradient.result import AttributionResult
from neoscope.patching.metrics import logit_diff
from neoscope.patching.results.loading import load
from neoscope.patching.results.result import PatchingResult
from neoscope.patching.results.saved import kind_of
from neoscope.patching.subspace.result import DasControls, DasResult
from neoscope.patching.sweeps.first_look import Every, every
from neoscope.patching.tracing.result import TraceResult
from neoscope.patching.tracing.tracing import trace
from tests.neoscope.patching.cases import ONE, model_of
from tests.neoscope.patching.made_results import result

SUFFIXES = {
    PatchingResult: ".json or .parquet",
    TraceResult: ".json or .parquet",
    AttributionResult: ".safetensors",
    EdgeScores: ".safetensors",
    Circuit: ".json",
    Every: ".json",
    DasResult: ".safetensors",
    Faithfulness: ".json",
    Minimality: ".json",
    Audit: ".json",
}


@functools.cache
def made(kind: type) -> Any:
    metric = logit_diff(3, 4)
    if kind is PatchingResult:
        return result()
    if kind is TraceResult:
        options: dict[str, Any] = {"sigma": 0.4, "draws": 2, "progress": False}
        return trace(model_of(), ONE[0], [1, 2], 3, **options)
    if kind is AttributionResult:
        return attribution(model_of(), *ONE, metric)
    if kind is Every:
        return every(model_of(), *ONE, metric, layers=[0, 2])
    if kind is DasResult:
        return searched(torch.tensor([[2], [3], [4]]))
    scores = eap(model_of(), *ONE, metric)
    if kind in (EdgeScores, Circuit):
        return scores if kind is EdgeScores else scores.circuit(9)
    if kind is Audit:
        return scores.audit(3)
    measure: Any = faithfulness if kind is Faithfulness else minimality
    return measure(model_of(), scores.circuit(9), *ONE, metric)


def searched(position: Any) -> DasResult:
    controls = DasControls(nothing=0.5, whole=1.0, random=0.25, placebo=0.5, arbitrary=0.75)
    return DasResult(
        basis=torch.linspace(0, 1, 6).view(3, 2), site="resid_post", layer=1, position=position,
        direction="denoise", accuracy=0.75, train_accuracy=1.0, losses=(0.5, 0.25),
        controls=controls, n_train=12, n_held_out=4, seed=3, model="modèle", fingerprint="0" * 8,
    )  # fmt: skip


def write_all(folder: Path) -> dict[Path, type]:
    found = {}
    for kind, suffixes in SUFFIXES.items():
        for suffix in suffixes.split(" or "):
            path = folder / f"{kind.__name__}{suffix}"
            assert made(kind).save(str(path)) == path
            found[path] = kind
    return found


def test_every_kind_is_read_as_what_it_is_and_by_no_other_class(tmp_path: Path) -> None:
    for path, kind in write_all(tmp_path).items():
        assert kind_of(path) == kind.__name__
        assert type(load(path)) is type(load(str(path))) is type(kind.load(path)) is kind
        assert repr(load(path)) == repr(made(kind))
        for other in SUFFIXES:
            if other is kind:
                continue
            with pytest.raises(PatchingError) as raised:
                other.load(path)
            said = str(raised.value)
            assert f" {kind.__name__}, no {other.__name__}; read it with " in said
            assert "damaged" not in said
    assert "holds an AttributionResult" in refusal(
        Circuit, tmp_path / "AttributionResult.safetensors"
    )
    assert "holds a Circuit, no EdgeScores" in refusal(EdgeScores, tmp_path / "Circuit.json")


def refusal(kind: Any, path: Path) -> str:
    with pytest.raises(PatchingError) as raised:
        kind.load(path)
    return str(raised.value)


def test_numbers_are_the_same_again(tmp_path: Path) -> None:
    look, again = made(Every), load(made(Every).save(tmp_path / "look.json"))
    assert isinstance(again, Every)
    assert again.stream == look.stream and again.heads == look.heads
    for kind in (Faithfulness, Minimality, Audit, DasResult):
        first = made(kind)
        second = load(first.save(tmp_path / f"{kind.__name__}{SUFFIXES[kind]}"))
        for f in fields(first):
            ours, theirs = getattr(first, f.name), getattr(second, f.name)
            assert type(ours) is type(theirs)
            if isinstance(ours, np.ndarray):
                assert ours.dtype == theirs.dtype and np.array_equal(ours, theirs, equal_nan=True)
            else:
                assert (
                    torch.equal(ours, theirs) if isinstance(ours, torch.Tensor) else ours == theirs
                )
        assert first.to_dataframe().equals(second.to_dataframe())
    plain = searched(-1)
    once = DasResult.load(plain.save(tmp_path / "plain.safetensors"))
    assert once.position == -1 and once.losses == plain.losses
    assert plain.to_dataframe().accuracy.tolist() == [0.75, 1.0, 0.5, 1.0, 0.25, 0.5, 0.75]
    assert plain.to_dataframe().pairs.tolist() == [4, 12, 4, 4, 4, 4, 12]


def test_a_trace_that_is_loaded_has_its_draws_and_roles(tmp_path: Path) -> None:
    again: Any = load(made(TraceResult).save(tmp_path / "t.json"))
    assert again == made(TraceResult) and again.draws == 2
    assert np.array_equal(again.drawn, made(TraceResult).drawn, equal_nan=True)
    assert again.by_role().shape == made(TraceResult).by_role().shape


@pytest.mark.parametrize("kind", SUFFIXES)
def test_a_name_says_what_is_in_the_file(tmp_path: Path, kind: type) -> None:
    for suffix in (".csv", "", ".json", ".parquet", ".safetensors", ".pkl"):
        if suffix and suffix in SUFFIXES[kind]:
            continue
        with pytest.raises(PatchingError, match=r"cannot write .* its name") as raised:
            made(kind).save(tmp_path / f"a{suffix}")
        assert f"expected {SUFFIXES[kind]}" in str(raised.value)
    assert not os.listdir(tmp_path)


@pytest.mark.parametrize("kind", SUFFIXES)
def test_nothing_else_is_replaced(tmp_path: Path, kind: type) -> None:
    suffix = SUFFIXES[kind].split(" ")[0]
    path = tmp_path / f"model{suffix}"
    path.write_bytes(b"something else")
    with pytest.raises(PatchingError, match="is there already"):
        made(kind).save(path)
    assert path.read_bytes() == b"something else"
    path.unlink()
    for _ in range(2):
        made(kind).save(path)
    assert type(load(path)) is kind
    with pytest.raises(PatchingError, match="no such folder"):
        made(kind).save(tmp_path / "missing" / path.name)


@pytest.mark.parametrize("kind", SUFFIXES)
def test_a_damaged_file_is_told_in_one_short_line(tmp_path: Path, kind: Any) -> None:
    for suffix in SUFFIXES[kind].split(" or "):
        path = made(kind).save(tmp_path / f"r{suffix}")
        whole = path.read_bytes()
        noise = np.random.default_rng(0).bytes(4000)
        for broken in (b"", whole[:60], whole[:-9], noise, b"[1]", b"{}", b"\xff" * 99, b"PAR1"):
            path.write_bytes(broken)
            for read in (kind.load, load):
                with pytest.raises(PatchingError, match="is damaged or no") as raised:
                    read(path)
                said = str(raised.value).removeprefix(str(path))
                assert len(said) < 220 and said.isprintable() and "\\x" not in said
        path.unlink()
        with pytest.raises(PatchingError, match="there is no result file"):
            load(path)


def test_files_of_others_and_of_newer_formats_are_refused(tmp_path: Path) -> None:
    from safetensors.torch import save_file

    path = tmp_path / "model.safetensors"
    save_file({"x": torch.zeros(2)}, path)
    assert kind_of(path) is None and kind_of(tmp_path) is None
    with pytest.raises(PatchingError, match="expected what was saved by one of PatchingResult, "):
        load(path)
    save_file({}, path, metadata={"neoscope": json.dumps({"format": "neoscope edge scores 2"})})
    with pytest.raises(PatchingError, match="upgrade"):
        load(path)
    other = tmp_path / "other.json"
    other.write_text('{"format": "neoscope circuit 2"}')
    with pytest.raises(PatchingError, match=r"of the format 'neoscope circuit 2'.* upgrade it"):
        load(other)
