"""Promise 5: offline is normal, and no file is code.

Also: no module imports a library that unpickles (``tests/test_house.py``); a .bin checkpoint is
read by torch's own reader of plain tensors, which is no unpickler of Python's, and refuses what
else it holds (``tests/neoscope/test_checkpoint_damage.py``); code beside a tokenizer is not run
(``tests/neoscope/test_tokens.py``); the report, the widget and the notebooks load nothing in a real
browser (``tests/browser``).
"""

from __future__ import annotations

import io
import json
import os
import pickle
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

import neoscope as ns
from neoscope import organism
from neoscope.cli.neurons.options import read_direction
from neoscope.errors import NeoscopeError
from neoscope.export import FeatureSpec, to_store
from neoscope.store import FeatureStore
from neoscope.store.manifest import NAME as MANIFEST
from tests.promises import watched_demo
from tests.promises.demonstrations import Shown, demonstrations
from tests.promises.killed_saves import Kind, kinds

# ---- the whole demonstration --------------------------------------------------------------------


@pytest.fixture(scope="module")
def shown(tmp_path_factory: pytest.TempPathFactory) -> Shown:
    return demonstrations(tmp_path_factory)


def test_the_whole_demonstration_asks_no_network_and_unpickles_nothing(shown: Shown) -> None:
    assert shown.code == 0, shown.stderr
    assert shown.noted == []
    assert shown.packets in (0, None)
    assert list(shown.demos) == ["organism", "organism-random", "gates", "induction"]
    assert [demo.failed for demo in shown.demos.values()] == [()] * 4


def test_its_pages_load_nothing(shown: Shown) -> None:
    folder = shown.demos["organism"].folder
    pages = sorted(folder.rglob("*.html"))
    assert len(pages) >= 9
    for page in pages:
        text = page.read_text(encoding="utf-8")
        tags = re.findall(r"<(?:script|link|img|iframe|source|object|embed)\b[^>]*>", text)
        asked = [
            tag for tag in tags if re.search(r"""(?:src|href|data)=["']?(?:https?:)?//""", tag)
        ]
        assert asked == [], page


ATTEMPTS = {
    "a connection": "import socket; socket.create_connection(('127.0.0.1', 9), 1)",
    "a name": "import socket; socket.getaddrinfo('example.org', 80)",
    "a page": "import urllib.request; urllib.request.urlopen('http://127.0.0.1:9/')",
    "a pickle": "import pickle; pickle.loads(b'cbuiltins\\nlen\\n.')",
    "a pickle of torch's": "import torch, io; f = io.BytesIO(); torch.save(complex, f); f.seek(0); "
    "torch.load(f, weights_only=False)",
    "marshalled code": "import marshal; marshal.loads(marshal.dumps(1))",
}


def test_what_must_not_be_would_be_noticed() -> None:
    """The watch of the demonstration, in a process that does everything that it forbids."""
    script = f"""
import json, sys
sys.path.insert(0, {str(Path(watched_demo.__file__).parent)!r})
import watched_demo
alone, noted = watched_demo.stand_alone(), watched_demo.watch()
refused = []
for code in {list(ATTEMPTS.values())!r}:
    try:
        exec(code)
    except Exception as error:
        refused.append("Forbidden" in repr(error))
# No hook sees what C does; the counters of the network do.
import ctypes
libc, address = ctypes.CDLL(None), bytes.fromhex("0200 0009 08080808") + bytes(8)
before = watched_demo.packets() if alone else 0
if alone:
    libc.connect(libc.socket(2, 1, 0), address, len(address))
after = watched_demo.packets() if alone else 1
print(json.dumps([refused, len(noted), after > before]))
"""
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 0, done.stderr
    refused, noted, counted = json.loads(done.stdout)
    assert refused == [True] * len(ATTEMPTS)
    assert noted >= len(ATTEMPTS)
    assert counted


# ---- a file that is code ------------------------------------------------------------------------


class Attack:
    """Makes a folder when it is unpickled."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.marker),)


def bombs(marker: Path) -> dict[str, bytes]:
    """Files that run code where they are read without thought."""
    attack, array, archive, zipped = Attack(marker), io.BytesIO(), io.BytesIO(), io.BytesIO()
    held = np.empty(1, object)
    held[0] = attack
    np.save(array, held, allow_pickle=True)
    np.savez(archive, mean=held)
    torch.save({"bias": attack}, zipped)
    return {
        "pickle": pickle.dumps(attack, protocol=2),
        "npy": array.getvalue(),
        "npz": archive.getvalue(),
        "torch": zipped.getvalue(),
        "yaml": f"!!python/object/apply:os.mkdir ['{marker}']\n".encode(),
        "parquet": _parquet(pickle.dumps(attack)),
    }


def _parquet(pickled: bytes) -> bytes:
    """A table whose column is of a Python type, as old versions of Arrow kept it: pickled."""
    kind = {"ARROW:extension:name": "arrow.py_extension_type", "ARROW:extension:metadata": pickled}
    field = pa.field("text", pa.string(), metadata=kind)
    out = io.BytesIO()
    pq.write_table(pa.table({"text": ["The men sleep"]}, schema=pa.schema([field])), out)
    return out.getvalue()


@pytest.fixture
def marker(tmp_path: Path) -> Iterator[Path]:
    """What a bomb leaves; that they go off is shown first."""
    path = tmp_path / "went off"
    for name, load in {
        "pickle": pickle.loads,
        "npy": lambda data: np.load(io.BytesIO(data), allow_pickle=True),
        "npz": lambda data: np.load(io.BytesIO(data), allow_pickle=True)["mean"],
        "torch": lambda data: torch.load(io.BytesIO(data), weights_only=False),
    }.items():
        load(bombs(path)[name])
        assert path.exists(), name
        path.rmdir()
    yield path
    assert not path.exists()


def refused(load: Callable[[Path], object], path: Path, marker: Path, name: str) -> bool:
    """Read what was planted; whether that was refused by an error of neoscope's."""
    try:
        found = load(path)
        getattr(found, "items", dict)()  # what is read when it is looked at
        return False
    except NeoscopeError:
        return True
    finally:
        assert not marker.exists(), f"{name} ran"


def files(path: Path) -> list[Path]:
    return sorted(x for x in path.rglob("*") if x.is_file()) if path.is_dir() else [path]


@pytest.fixture(scope="module")
def saved() -> dict[str, Kind]:
    return kinds()


def test_no_saved_result_is_code(saved: dict[str, Kind], marker: Path, tmp_path: Path) -> None:
    """A bomb in the place of each file of each kind of thing that is saved."""
    for name, kind in saved.items():
        if name == "figure":
            continue  # nobody reads it back
        path = tmp_path / name / kind.file
        path.parent.mkdir()
        kind.save(kind.old, path)
        sound = {file: file.read_bytes() for file in files(path)}
        for file, data in sound.items():
            for bomb, planted in bombs(marker).items():
                file.write_bytes(planted)
                told = f"a {bomb} for {file.name} of a {name}"
                assert refused(kind.load, path, marker, told), told
            file.write_bytes(data)
        kind.load(path)


@pytest.mark.parametrize("form", ["parquet", "npy", "safetensors"])
def test_no_store_is_code(form: str, marker: Path, tmp_path: Path) -> None:
    model, at = ns.load("organism"), tmp_path / "store"
    spec = FeatureSpec("resid_post", layers=[1])
    to_store(model, ["The men sleep"] * 4, at, spec, file_format=form, progress=False)
    manifest = (at / MANIFEST).read_text()

    def load(path: Path) -> object:
        store = FeatureStore.open(path)
        return [store.to_numpy(name) for name in ("id", *store.features)], store.to_pandas()

    for file in files(at):
        sound = file.read_bytes()
        for bomb, planted in bombs(marker).items():
            file.write_bytes(planted)
            if file.name != MANIFEST:  # which holds sizes: that one is wrong is seen first
                record = json.loads(manifest)
                record["shards"][0]["files"][file.name]["bytes"] = len(planted)
                (at / MANIFEST).write_text(json.dumps(record))
            assert refused(load, at, marker, f"{bomb} for {file.name}"), (bomb, file)
        file.write_bytes(sound)
        (at / MANIFEST).write_text(manifest)
    load(at)


@pytest.mark.parametrize(
    "name", ["config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"]
)
def test_no_checkpoint_is_code(name: str, marker: Path, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    shutil.copytree(organism.path(), folder)
    for bomb, planted in bombs(marker).items():
        (folder / name).write_bytes(planted)
        assert refused(ns.load, folder, marker, f"{bomb} for {name}")


def test_no_card_of_a_checkpoint_is_code(marker: Path, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    shutil.copytree(organism.path(), folder)
    (folder / "README.md").write_bytes(b"---\nlicense: " + bombs(marker)["yaml"] + b"---\n")
    model = ns.load(folder)
    assert model.checkpoint is not None and model.checkpoint.licence is None


@pytest.mark.parametrize("ending", [".parquet", ".jsonl", ".csv", ".txt"])
@pytest.mark.filterwarnings("ignore::neoscope.UnseenWordWarning")
def test_no_corpus_is_code(ending: str, marker: Path, tmp_path: Path) -> None:
    model, path = ns.load("organism"), tmp_path / f"corpus{ending}"
    for bomb, planted in bombs(marker).items():
        path.write_bytes(planted)

        def read(path: Path, bomb: str = bomb) -> object:
            return to_store(model, path, tmp_path / bomb, on_error="null", progress=False)

        found = refused(read, path, marker, f"{bomb} as {ending}")
        # The column of strings is one; and bytes of any kind may be lines of text.
        assert found or ending in (".csv", ".txt") or (bomb, ending) == ("parquet", ".parquet")


@pytest.mark.parametrize("ending", [".npy", ".safetensors"])
def test_no_direction_is_code(ending: str, marker: Path, tmp_path: Path) -> None:
    path = tmp_path / f"direction{ending}"
    for bomb, planted in bombs(marker).items():
        path.write_bytes(planted)
        assert refused(lambda path: read_direction(str(path)), path, marker, f"{bomb} as {ending}")
