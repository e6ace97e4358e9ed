"""The engine on Ray, against the local one, in one session of two processors."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

import neoscope as ns
from neoscope.errors import ExportError
from neoscope.export import FeatureSpec, RayEngine, to_store
from neoscope.export.engines import Engine, LocalEngine, Work
from neoscope.export.extractor import Extractor
from neoscope.export.reading import Chunk, read_chunks
from neoscope.export.table import ShardTable
from neoscope.store import FeatureStore
from neoscope.unseen import UnseenWordWarning

SPEC = FeatureSpec(layers=[0, -1], pool=["mean", "last"])
ROWS = 20
TEXTS = ["The keys to the cabinet" + " are" * (i % 9) for i in range(12 * ROWS)]
EXPORT: dict[str, Any] = {"spec": SPEC, "shard_rows": ROWS, "progress": False}


@pytest.fixture(scope="module")
def model() -> ns.HookedGPTNeo:
    return ns.load("organism")


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    """Sums do not depend on how many threads add them up."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def ray() -> Iterator[None]:
    pytest.importorskip("ray")
    from neoscope.export.ray_engine.session import session

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_AUTH_MODE", "disabled")  # no token in the home folder of who tests
        yield from _session(session)


def _session(session: Callable[..., Any]) -> Iterator[None]:
    with session(workers=2, threads=1, gpu=False):
        yield


@pytest.fixture(scope="module")
def local(model: ns.HookedGPTNeo, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the local engine makes of the texts."""
    out = tmp_path_factory.mktemp("local") / "store"
    to_store(model, TEXTS, out, **EXPORT)
    return out


class Watched:
    """An engine that calls a function after the first shard."""

    def __init__(self, engine: Engine, then: Callable[[], None]) -> None:
        self._engine, self._then = engine, then

    def __call__(self, *arguments: Any) -> Iterator[ShardTable]:
        for i, shard in enumerate(self._engine(*arguments)):
            yield shard
            if i == 0:
                self._then()


def interrupt() -> None:
    raise KeyboardInterrupt


def own_actors() -> list[int]:
    """The process ids of the actors that descend from this process."""
    parents, actors = {}, []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            fields = (folder / "stat").read_text().rpartition(")")[2].split()
            command = (folder / "cmdline").read_bytes()
        except OSError:  # it ended
            continue
        parents[int(folder.name)] = int(fields[1])
        if command.startswith(b"ray::MapWorker"):
            actors.append(int(folder.name))

    def is_own(pid: int) -> bool:
        while pid in parents and pid != os.getpid():
            pid = parents[pid]
        return pid == os.getpid()

    return [pid for pid in actors if is_own(pid)]


def assert_like_local(out: Path, local: Path, texts: list[str] = TEXTS) -> None:
    found, expected = FeatureStore.open(out), FeatureStore.open(local)
    assert found.to_numpy("id").tolist() == list(range(len(texts)))
    assert found.features == expected.features
    for name in expected.features:
        np.testing.assert_allclose(found.to_numpy(name), expected.to_numpy(name), atol=1e-5)
    assert (out / "_manifest.json").read_text() == (local / "_manifest.json").read_text()


@pytest.mark.slow
def test_ray_makes_the_store_that_the_local_engine_makes(
    ray: None, model: ns.HookedGPTNeo, local: Path, tmp_path: Path
) -> None:
    seen: list[Any] = []
    report = to_store(
        model,
        TEXTS,
        tmp_path / "out",
        engine=RayEngine(workers=2),
        **{**EXPORT, "progress": seen.append},
    )
    assert_like_local(tmp_path / "out", local)
    assert report.rows == len(TEXTS) == seen[-1].rows
    assert report.tokens == seen[-1].tokens > len(TEXTS)


@pytest.mark.slow
def test_a_killed_actor_costs_no_row(
    ray: None, model: ns.HookedGPTNeo, local: Path, tmp_path: Path
) -> None:
    killed: list[int] = []

    def kill() -> None:
        killed.extend(own_actors())
        for pid in killed:
            os.kill(pid, signal.SIGKILL)

    engine = Watched(RayEngine(workers=1), kill)
    to_store(model, TEXTS, tmp_path / "out", engine=engine, **EXPORT)
    assert killed
    assert_like_local(tmp_path / "out", local)


@pytest.mark.slow
@pytest.mark.parametrize("first", ["ray", "local"])
def test_either_engine_goes_on_where_the_other_stopped(
    first: str, ray: None, model: ns.HookedGPTNeo, local: Path, tmp_path: Path
) -> None:
    engines: dict[str, Engine] = {"ray": RayEngine(workers=1), "local": LocalEngine()}
    out, begun = tmp_path / "out", engines.pop(first)
    with pytest.raises(KeyboardInterrupt):
        to_store(model, TEXTS, out, engine=Watched(begun, interrupt), **EXPORT)
    (other,) = engines.values()
    report = to_store(model, TEXTS, out, engine=other, **EXPORT)
    assert report.resumed_rows == ROWS
    assert_like_local(out, local)


@pytest.mark.slow
def test_a_bad_row_is_named_and_what_comes_before_it_is_kept(
    ray: None, model: ns.HookedGPTNeo, tmp_path: Path
) -> None:
    texts = ["The tokamak shines", *TEXTS[1:]]
    frame = pd.DataFrame({"id": [f"r{i}" for i in range(len(texts))], "text": texts})
    frame.loc[[2 * ROWS + 3, 3 * ROWS], "text"] = None
    with (
        pytest.raises(ExportError, match=r"^row 43 \(id 'r43'\): the text is null; on_error="),
        pytest.warns(UnseenWordWarning, match="tokamak") as caught,
    ):
        to_store(model, frame, tmp_path / "out", engine=RayEngine(workers=1), **EXPORT)
    assert len(caught) == 1
    kept = FeatureStore.open(tmp_path / "out", partial=True).to_pandas()["id"]
    assert set(frame["id"][: 2 * ROWS]) <= set(kept)


@pytest.mark.slow
def test_a_model_that_came_from_no_checkpoint_is_sent(
    ray: None, model: ns.HookedGPTNeo, tmp_path: Path
) -> None:
    shape = ns.NeoConfig(n_layers=2, d_model=16, n_heads=2, n_ctx=32, d_vocab=model.config.d_vocab)
    drawn = ns.HookedGPTNeo.from_config(
        shape, seed=3, tokenizer=model.tokenizer, dtype=torch.bfloat16
    )
    drawn.set_use_hook_mlp_in(True)
    options = {**EXPORT, "spec": FeatureSpec("mlp_in")}
    for name, engine in (("local", LocalEngine()), ("ray", RayEngine(workers=1))):
        to_store(drawn, TEXTS[: 2 * ROWS], tmp_path / name, engine=engine, **options)
    assert_like_local(tmp_path / "ray", tmp_path / "local", TEXTS[: 2 * ROWS])


@pytest.mark.slow
def test_chunks_are_read_a_few_ahead_and_actors_end_with_the_iteration(
    ray: None, model: ns.HookedGPTNeo
) -> None:
    read: list[Chunk] = []

    def watched() -> Iterator[Chunk]:
        for chunk in read_chunks(iter(TEXTS), rows=1):
            read.append(chunk)
            yield chunk

    ticks: list[tuple[int, int]] = []
    work = Work(Extractor(model, SPEC), "fail", "text")
    shards = RayEngine(workers=1)(work, watched(), lambda *done: ticks.append(done))
    for n_done in range(1, 9):
        assert next(shards).table.num_rows == 1
        assert len(read) <= n_done + 3
    assert len(ticks) == 8 and sum(texts for texts, _ in ticks) == 8
    shards.close()
    assert len(read) < len(TEXTS)
    until = time.monotonic() + 20
    while own_actors() and time.monotonic() < until:
        time.sleep(0.1)
    assert not own_actors()


@pytest.mark.slow
def test_a_checkpoint_that_is_another_model_by_now_is_refused(
    ray: None, model: ns.HookedGPTNeo
) -> None:
    changed = ns.load("organism")
    with torch.no_grad():
        changed.embed.W_E[0, 0] += 1
    work = Work(Extractor(changed, SPEC), "fail", "text")
    engine = RayEngine(workers=1)
    with pytest.raises(ExportError, match="the weights that a Ray worker reads from 'organism'"):
        list(engine(work, read_chunks(TEXTS[:3]), lambda *_: None))


@pytest.mark.slow
def test_a_session_of_its_own_is_quiet_and_leaves_nothing(tmp_path: Path) -> None:
    script = """
import os, sys, neoscope as ns
from neoscope.export import RayEngine, to_store
before = dict(os.environ)
to_store(ns.load("organism"), ["The keys are"] * 4, sys.argv[1], shard_rows=2, progress=False,
         engine=RayEngine(workers=1))
import ray
assert not ray.is_initialized()
assert dict(os.environ) == before
"""
    # Nobody, not even root, can write there.
    environment = {**os.environ, "HOME": "/dev/null", "PYTHONPATH": os.pathsep.join(sys.path)}
    environment["RAY_AUTH_MODE"] = "disabled"
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", script, str(tmp_path / "out")],
        env=environment,
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert len(FeatureStore.open(tmp_path / "out")) == 4
