"""No damage to a cache's file goes unnoticed."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import safetensors
import safetensors.torch
import torch

import neoscope as ns
from neoscope import cache_file
from neoscope.errors import CacheError
from tests.neoscope.cache_files import CONFIG, IDS, same


@pytest.fixture(scope="module")
def model() -> ns.HookedGPTNeo:
    return ns.HookedGPTNeo.from_config(CONFIG)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "run.safetensors"


@pytest.fixture
def saved(model: ns.HookedGPTNeo, path: Path) -> Path:
    model.run_with_cache(IDS, sites=["z", "resid_post"])[1].save(path)
    return path


# ---- damage -----------------------------------------------------------------------------------


def rewrite(path: Path, change: Callable[[dict[str, Any]], Any]) -> None:
    """Write the file again with another header."""
    tensors = safetensors.torch.load_file(path)
    header = json.loads(safetensors.safe_open(path, "pt").metadata()["neoscope"])
    header.pop("crc32")
    header = change(header) or header
    text = header if isinstance(header, str) else json.dumps(header)
    safetensors.torch.save_file(tensors, path, metadata={"neoscope": text})


def without(key: str) -> Callable[[dict[str, Any]], None]:
    return lambda header: header.__delitem__(key)


def put(key: str, value: Any) -> Callable[[dict[str, Any]], None]:
    return lambda header: header.update({key: value})


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda header: '{"format": 1,', "damaged header"),
        (lambda header: "[1]", "damaged header"),
        *((without(key), f"damaged header.*{key}") for key in ("format", "stored", "config")),
        *((put(key, "x"), "damaged header") for key in ("format", "stored", "config", "tokens")),
        (put("tokens", {"ids": [[1], [2, 3]], "mask": None}), "damaged header"),
        (put("stored", {"a": "b"}), r"lacks tensors that its header names: \['b'\]"),
        (put("format", 2), r"format 2; this one reads up to 1: upgrade neoscope"),
    ],
)
def test_damaged_headers_are_named(saved: Path, change: Any, words: str) -> None:
    rewrite(saved, change)
    with pytest.raises(CacheError, match=rf"run\.safetensors.*{words}"):
        ns.ActivationCache.load(saved)


@pytest.mark.parametrize("kept", [0, 4, 100, -1])
def test_a_truncated_file_is_named(saved: Path, kept: int) -> None:
    saved.write_bytes(saved.read_bytes()[:kept])
    with pytest.raises(CacheError, match=r"run\.safetensors is damaged or no safetensors file"):
        ns.ActivationCache.load(saved)


def test_no_damaged_byte_is_read_as_a_number(saved: Path) -> None:
    """Wherever a byte is changed, an error says so, or what is read is what was written."""
    whole, first = saved.read_bytes(), ns.ActivationCache.load(saved)
    before = {name: x.clone() for name, x in first.items()}
    noticed = 0
    for at in range(0, len(whole), 61):
        saved.write_bytes(whole[:at] + bytes([whole[at] ^ (1 << at % 8)]) + whole[at + 1 :])
        try:
            cache = ns.ActivationCache.load(saved)
            found = dict(cache.items())
        except CacheError:
            noticed += 1
            continue
        assert found.keys() == before.keys() and cache.provenance == first.provenance
        assert all(torch.equal(found[name], x) for name, x in before.items())
        assert same(first, cache)
    assert noticed > 0.9 * len(whole) / 61


def test_a_large_tensor_is_compared_when_asked_for(
    saved: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert list(ns.ActivationCache.load(saved, verify=True)) == list(ns.ActivationCache.load(saved))
    whole = saved.read_bytes()
    saved.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    monkeypatch.setattr(cache_file, "_CHECKED_BYTES", 0)
    last = list(ns.ActivationCache.load(saved))[-1]
    assert ns.ActivationCache.load(saved)[last].shape == (2, 7, 24)  # mapped, and not read
    with pytest.raises(CacheError, match=r"run\.safetensors is damaged: 'blocks.*was written"):
        ns.ActivationCache.load(saved, verify=True)


def test_files_that_are_no_caches(tmp_path: Path) -> None:
    with pytest.raises(CacheError, match=r"there is no cache file .*absent\.safetensors"):
        ns.ActivationCache.load(tmp_path / "absent.safetensors")
    with pytest.raises(CacheError, match="there is no cache file"):
        ns.ActivationCache.load(tmp_path)
    (tmp_path / "text").write_text("this is text, and long enough for a length\n" * 5)
    with pytest.raises(CacheError, match="text is damaged or no safetensors file"):
        ns.ActivationCache.load(tmp_path / "text")
    for metadata in (None, {"format": "pt"}):
        safetensors.torch.save_file({"x": torch.zeros(2)}, tmp_path / "weights", metadata=metadata)
        with pytest.raises(CacheError, match="not a cache that neoscope wrote"):
            cache_file.load(tmp_path / "weights")
