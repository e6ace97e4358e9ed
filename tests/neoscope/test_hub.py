"""The real hub client, in a process of its own, against a small hub on this machine."""

from __future__ import annotations

import hashlib
import http.server
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import GPTNeoConfig, GPTNeoForCausalLM

ROOT = Path(__file__).parents[2]
OLD, NEW = "EleutherAI/gpt-neo-125M", "EleutherAI/gpt-neo-125m"
COMMIT, TAGGED = "a" * 40, "b" * 40


class Hub(http.server.ThreadingHTTPServer):
    """Enough of the hub's API for huggingface_hub: model info, file tree, files, one rename."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.repos: dict[str, dict[str, dict[str, bytes]]] = {}
        """Repository, then revision's commit, then file, to content."""
        self.status: dict[str, tuple[int, str]] = {}
        """Repository to the HTTP status and error code that it answers with."""
        self.served: list[str] = []
        """Files that were downloaded."""

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class Handler(http.server.BaseHTTPRequestHandler):
    server: Hub
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: Any) -> None:
        """Keep the test's output clean."""

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        if OLD in self.path:
            return self.answer(307, headers={"Location": self.path.replace(OLD, NEW)})
        parts = self.path.split("?")[0].removeprefix("/api/models").strip("/").split("/")
        repo, rest = "/".join(parts[:2]), parts[2:]
        if repo in self.server.status:
            status, code = self.server.status[repo]
            return self.answer(status, headers={"X-Error-Code": code})
        if repo not in self.server.repos:
            return self.answer(401, headers={"X-Error-Code": "RepoNotFound"})
        revision = rest[1] if len(rest) > 1 else "main"
        commit = {"main": COMMIT, "v1": TAGGED}.get(revision, revision)
        files = self.server.repos[repo].get(commit)
        if files is None:
            return self.answer(404, headers={"X-Error-Code": "RevisionNotFound"})
        if rest[:1] == ["resolve"]:
            return self.send_file(files, rest[2], commit)
        if rest[:1] == ["tree"]:
            tree = [
                {"type": "file", "path": name, "size": len(data), "oid": etag(data)}
                for name, data in files.items()
            ]
            return self.answer(200, json.dumps(tree).encode())
        info = {"id": repo, "sha": commit, "siblings": [{"rfilename": name} for name in files]}
        return self.answer(200, json.dumps(info).encode())

    def send_file(self, files: dict[str, bytes], name: str, commit: str) -> None:
        if name not in files:
            return self.answer(404, headers={"X-Error-Code": "EntryNotFound"})
        if self.command == "GET":
            self.server.served.append(name)
        headers = {"ETag": f'"{etag(files[name])}"', "X-Repo-Commit": commit}
        return self.answer(200, files[name], headers)

    def answer(self, status: int, body: bytes = b"", headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for key, value in (headers or {}).items():
            self.send_header(key, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)


def etag(data: bytes) -> str:
    return hashlib.sha1(data).hexdigest()


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """A checkpoint as EleutherAI stores it: every format side by side."""
    folder = tmp_path_factory.mktemp("made")
    config = GPTNeoConfig(
        vocab_size=11,
        hidden_size=8,
        num_layers=1,
        num_heads=2,
        attention_types=[[["local"], 1]],
        max_position_embeddings=6,
        bos_token_id=0,
        eos_token_id=0,
    )
    model = GPTNeoForCausalLM(config)
    model.save_pretrained(folder)
    torch.save(model.state_dict(), folder / "pytorch_model.bin")
    for name in ("flax_model.msgpack", "rust_model.ot", "tf_model.h5", "README.md", "merges.txt"):
        (folder / name).write_text(name)
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.fixture
def server(files: dict[str, bytes]) -> Iterator[Hub]:
    hub = Hub()
    hub.repos[NEW] = {COMMIT: files, TAGGED: files}
    thread = threading.Thread(target=hub.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield hub
    hub.shutdown()
    thread.join()
    hub.server_close()


def run(code: str, home: Path, endpoint: str, offline: bool = False) -> str:
    """Run code in a new process, where the client reads its environment, and return its output."""
    keep = {key: value for key, value in os.environ.items() if not key.lower().endswith("_proxy")}
    environment = keep | {
        "HF_HOME": str(home),
        "HF_ENDPOINT": endpoint,
        "HF_HUB_OFFLINE": str(int(offline)),
        "HF_HUB_DISABLE_PROGRESS_BARS": "1",
    }
    for key in ("HF_TOKEN", "HF_TOKEN_PATH", "HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE"):
        environment.pop(key, None)
    command = [sys.executable, "-c", code]
    result = subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False, timeout=100
    )
    assert result.returncode == 0, result.stderr
    return result.stdout.strip()


def fetch(
    repo: str, home: Path, endpoint: str, *, revision: str | None = None, offline: bool = False
) -> str:
    """Return the folder, or the error's message after ``error: ``."""
    code = f"""
from neoscope import errors, hub
try:
    print(hub.fetch({repo!r}, {revision!r}))
except errors.CheckpointError as error:
    print("error:", error)
"""
    output = run(code, home, endpoint, offline)
    assert "\n" not in output
    return output


CLOSED = "http://127.0.0.1:9"


def test_download_takes_one_weight_format(server: Hub, tmp_path: Path) -> None:
    folder = Path(fetch(NEW, tmp_path, server.url))
    # The card names the licence of the weights.
    wanted = {"README.md", "config.json", "generation_config.json", "merges.txt"}
    wanted.add("model.safetensors")
    assert {path.name for path in folder.iterdir()} == wanted
    assert set(server.served) == wanted


def test_checkpoint_is_found_on_the_hub_and_then_offline(server: Hub, tmp_path: Path) -> None:
    code = f"""
from neoscope.checkpoint import find
found = find({NEW!r})
print(found.name, found.revision, found.config.d_vocab, *found.files)
"""
    online = run(code, tmp_path, server.url)
    assert online.startswith(f"{NEW} {COMMIT} 11 {tmp_path}")
    assert online.endswith(f"{COMMIT}/model.safetensors")
    server.served.clear()
    assert run(code, tmp_path, server.url, offline=True) == online
    assert server.served == []


def test_revision_is_honoured(server: Hub, tmp_path: Path) -> None:
    assert Path(fetch(NEW, tmp_path, server.url, revision="v1")).name == TAGGED
    assert Path(fetch(NEW, tmp_path, CLOSED, revision="v1")).name == TAGGED
    assert Path(fetch(NEW, tmp_path, CLOSED, revision=TAGGED)).name == TAGGED


def test_unknown_revision_is_named(server: Hub, tmp_path: Path) -> None:
    message = fetch(NEW, tmp_path, server.url, revision="v9")
    assert message == f"error: the hub's {NEW!r} has no revision 'v9'"


@pytest.mark.parametrize(("cached", "asked"), [(OLD, NEW), (NEW, OLD), (OLD, OLD)])
def test_either_spelling_is_found_in_the_cache(
    server: Hub, tmp_path: Path, cached: str, asked: str
) -> None:
    folder = fetch(cached, tmp_path, server.url)
    assert cached.replace("/", "--") in folder
    assert fetch(asked, tmp_path, server.url, offline=True) == folder


def test_without_network_the_cache_is_used(server: Hub, tmp_path: Path) -> None:
    folder = fetch(NEW, tmp_path, server.url)
    assert fetch(NEW, tmp_path, CLOSED) == folder
    server.status[NEW] = (503, "")
    assert fetch(NEW, tmp_path, server.url) == folder


def test_without_network_and_cache_the_error_says_so(tmp_path: Path) -> None:
    message = fetch(NEW, tmp_path, CLOSED)
    assert f"{NEW!r}: the hub cannot be reached (ConnectError)" in message
    assert f"not in the cache at {tmp_path / 'hub'}; give a folder" in message
    message = fetch(NEW, tmp_path, CLOSED, offline=True)
    assert "HF_HUB_OFFLINE is set, and its files are not in the cache" in message


def test_cache_without_weights_does_not_count(
    server: Hub, tmp_path: Path, files: dict[str, bytes]
) -> None:
    Path(fetch(NEW, tmp_path, server.url), "model.safetensors").unlink()
    assert "its files are not in the cache" in fetch(NEW, tmp_path, CLOSED)


def test_unknown_id_names_the_nearest(server: Hub, tmp_path: Path) -> None:
    message = fetch("EleutherAI/gpt-neo-125", tmp_path, server.url)
    assert "no file or folder of that name here, and the hub knows no such id" in message
    assert "no HF_TOKEN was sent" in message
    assert message.endswith(f"did you mean {NEW!r}?")


def test_what_is_no_id_at_all_is_refused(tmp_path: Path) -> None:
    message = fetch("my models/of/last week", tmp_path, CLOSED)
    assert "is neither a file or folder here nor a hub id such as" in message


def test_gated_repository_tells_what_to_do(server: Hub, tmp_path: Path) -> None:
    server.status["them/secret"] = (403, "GatedRepo")
    message = fetch("them/secret", tmp_path, server.url)
    assert "'them/secret' is gated: ask for access" in message
    assert "set HF_TOKEN" in message


def test_sharded_weights_are_downloaded_whole(
    server: Hub, tmp_path: Path, files: dict[str, bytes]
) -> None:
    shards = [f"pytorch_model-0000{n}-of-00002.bin" for n in (1, 2)]
    index = {"weight_map": {"a": shards[0], "b": shards[1]}}
    server.repos["me/sharded"] = {
        COMMIT: {
            "config.json": files["config.json"],
            "pytorch_model.bin.index.json": json.dumps(index).encode(),
            "flax_model.msgpack": b"flax",
            **dict.fromkeys(shards, b"shard"),
        }
    }
    folder = Path(fetch("me/sharded", tmp_path, server.url))
    names = {path.name for path in folder.iterdir()}
    assert names == {"config.json", "pytorch_model.bin.index.json", *shards}


def test_repository_without_usable_weights_downloads_nothing(
    server: Hub, tmp_path: Path, files: dict[str, bytes]
) -> None:
    flax = {"config.json": files["config.json"], "flax_model.msgpack": b"flax"}
    server.repos["me/flax"] = {COMMIT: flax}
    message = fetch("me/flax", tmp_path, server.url)
    assert "looked for config.json and one of model.safetensors" in message
    assert "found config.json, flax_model.msgpack" in message
    assert server.served == []
