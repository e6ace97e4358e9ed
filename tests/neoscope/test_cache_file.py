"""A cache on disk: read back it is the same, read lazily, written whole or not at all."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import safetensors
import safetensors.torch
import torch
from torch import Tensor

import neoscope as ns
from neoscope import files
from neoscope.errors import CacheError
from neoscope.tokens import Tokens
from tests.neoscope.cache_files import CONFIG, IDS, same

MASK = torch.tensor([[0, 0, 1, 1, 1, 1, 1], [1, 1, 1, 1, 1, 1, 1]]).bool()
TEXTS = Tokens(
    ids=IDS,
    mask=MASK,
    strings=((" na", "ïve", "\ufffd", "日本", '"\\\n'), ("🙂", *"abcdef")),
    offsets=(((0, 3), (3, 6), (6, 7), (7, 9), (9, 12)), tuple((i, i + 1) for i in range(7))),
    texts=("naïve\ufffd日本", "🙂abcdef"),
    added=("<|endoftext|>",),
    truncated=(3, 0),
    padding_side="left",
)


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


# ---- identity ---------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_save_and_load_is_identity(path: Path, dtype: torch.dtype) -> None:
    model = ns.HookedGPTNeo.from_config(CONFIG, dtype=dtype)
    model.set_use_split_qkv_input(True)
    _, cache = model.run_with_cache(TEXTS, incl_bwd=True, return_type="loss")
    cache.save(path)
    loaded = ns.ActivationCache.load(path)
    assert same(cache, loaded) and loaded.tokens is not None
    assert loaded.tokens.strings == TEXTS.strings and loaded.tokens.offsets == TEXTS.offsets
    assert [loaded.axes(key) for key in loaded] == [cache.axes(key) for key in cache]
    assert torch.equal(loaded.last("resid_post", 1), cache.last("resid_post", 1))
    # What two names share is written once and stays shared.
    assert loaded["resid_pre", 1] is loaded["resid_post", 0]


@pytest.mark.parametrize(
    ("asked", "back"),
    [
        (None, None),
        (-1, -1),
        (slice(1, None, 2), slice(1, None, 2)),
        ([0, -1], [0, -1]),
        ((0, 1), [0, 1]),
        (range(2), [0, 1]),
        (torch.tensor(2), 2),
        (torch.tensor([0, 2]), [0, 2]),
    ],
)
def test_positions_are_kept(model: ns.HookedGPTNeo, path: Path, asked: Any, back: Any) -> None:
    _, cache = model.run_with_cache(IDS, sites=["z", "pattern"], positions=asked)
    cache.save(path)
    loaded = ns.ActivationCache.load(path)
    assert same(cache, loaded) and loaded.positions == back
    assert torch.equal(loaded.last("z"), cache.last("z"))


def test_positions_of_each_row_are_kept(model: ns.HookedGPTNeo, path: Path) -> None:
    asked = torch.tensor([[0, 1], [2, 3]])
    model.run_with_cache(IDS, sites="z", positions=asked)[1].save(path)
    loaded = ns.ActivationCache.load(path).rows(1)
    assert isinstance(loaded.positions, Tensor) and loaded.positions.tolist() == [[2, 3]]


def test_no_tokens_and_no_batch_axis(model: ns.HookedGPTNeo, path: Path) -> None:
    stream = model.run_with_cache(IDS[:1])[1]["resid_pre", 1]
    _, cache = model.run_with_cache(stream, start_at_layer=1, remove_batch_dim=True)
    cache.save(str(path))
    loaded = ns.ActivationCache.load(str(path))
    assert same(cache, loaded) and loaded.tokens is None


def test_the_header_says_where_it_came_from(model: ns.HookedGPTNeo, saved: Path) -> None:
    loaded = ns.ActivationCache.load(saved)
    origin = {"version": ns.__version__, "model": "random-0", "fingerprint": model.fingerprint()}
    assert loaded.provenance == origin and loaded.model is None
    header = json.loads(safetensors.safe_open(saved, "pt").metadata()["neoscope"])
    assert header["fingerprint"] == model.fingerprint()
    assert header["axes"]["blocks.1.attn.hook_z"] == ["batch", "pos", "head", "d_head"]
    part = loaded.select("z", 1).to(dtype=torch.float64).rows([1])
    part.save(saved)
    again = ns.ActivationCache.load(saved)
    assert again.provenance == origin and same(part, again)


def test_the_fingerprint_is_of_config_and_every_weight() -> None:
    models = [ns.HookedGPTNeo.from_config(CONFIG) for _ in range(2)]
    first = models[0].fingerprint()
    assert models[1].fingerprint() == first
    for parameter in models[1].parameters():
        with torch.no_grad():
            flat = parameter.view(-1)
            old = flat[-1].clone()
            flat[-1] = old + 1
            assert models[1].fingerprint() != first
            flat[-1] = old
    assert models[1].fingerprint() == first
    assert models[1].to(torch.bfloat16).fingerprint() != first
    other = ns.NeoConfig(**{**vars(CONFIG), "window_size": 6})
    assert ns.HookedGPTNeo.from_config(other).fingerprint() != first


# ---- laziness ---------------------------------------------------------------------------------


def test_tensors_are_read_when_they_are_asked_for(
    saved: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[str] = []

    real = safetensors.safe_open

    class Spy:
        def __init__(self, *args: Any, **options: Any) -> None:
            self.file = real(*args, **options)

        def __enter__(self) -> Spy:
            self.file = self.file.__enter__()
            return self

        def __exit__(self, *args: object) -> None:
            self.file.__exit__(*args)

        def __getattr__(self, name: str) -> Any:
            return getattr(self.file, name)

        def get_tensor(self, name: str) -> Tensor:
            read.append(name)
            return self.file.get_tensor(name)

    monkeypatch.setattr(safetensors, "safe_open", Spy)
    cache = ns.ActivationCache.load(saved)
    assert len(cache) == 6 and ("z", 1) in cache and cache.layers("z") == [0, 1, 2]
    assert cache.axes(("z", 1))[2] == "head" and next(iter(cache)) == "blocks.0.attn.hook_z"
    assert cache.nbytes == 6 * IDS.numel() * 24 * 4 and "6 tensors" in repr(cache)
    # beartype, which checks types in tests alone, looks at the first tensor of a mapping.
    assert set(read) <= {"blocks.0.attn.hook_z"}
    read.clear()
    assert cache["z", 1] is cache["z", -2]
    assert read == ["blocks.1.attn.hook_z"]
    cache.select("z", 2)
    assert read == ["blocks.1.attn.hook_z", "blocks.2.attn.hook_z"]


def test_a_file_that_changes_under_a_cache_is_noticed(model: ns.HookedGPTNeo, saved: Path) -> None:
    cache = ns.ActivationCache.load(saved)
    kept = cache["z", 0].clone()
    model.run_with_cache(IDS + 1, sites=["z", "resid_post"])[1].save(saved)
    assert torch.equal(cache["z", 0], kept)
    with pytest.raises(CacheError, match=r"run\.safetensors was changed after it was opened"):
        cache["z", 1]
    saved.unlink()
    with pytest.raises(CacheError, match=r"run\.safetensors"):
        cache["z", 1]


def test_a_cache_can_be_saved_over_the_file_it_came_from(saved: Path) -> None:
    before = saved.read_bytes()
    ns.ActivationCache.load(saved).save(saved)
    assert saved.read_bytes() == before


# ---- whole or not at all ----------------------------------------------------------------------


def break_in_the_middle(tensors: Any, name: Path, metadata: Any) -> None:
    Path(name).write_bytes(b"half of")
    raise OSError(28, "No space left on device")


def break_like_safetensors(tensors: Any, name: Path, metadata: Any) -> None:
    raise safetensors.SafetensorError("Error while serializing: IoError(StorageFull)")


def interrupt(tensors: Any, name: Path, metadata: Any) -> None:
    Path(name).write_bytes(b"half of")
    raise KeyboardInterrupt


@pytest.mark.parametrize(
    ("failure", "error", "words"),
    [
        (break_in_the_middle, CacheError, r"cannot write .*run\.safetensors: No space left"),
        (break_like_safetensors, CacheError, r"cannot write .*run\.safetensors: .*StorageFull"),
        (interrupt, KeyboardInterrupt, None),
    ],
)
def test_a_file_is_written_whole_or_not_at_all(
    saved: Path,
    monkeypatch: pytest.MonkeyPatch,
    failure: Callable[..., None],
    error: type[BaseException],
    words: str | None,
) -> None:
    cache, before = ns.ActivationCache.load(saved), saved.read_bytes()
    monkeypatch.setattr(safetensors.torch, "save_file", failure)
    with pytest.raises(error, match=words):
        cache.save(saved)
    with pytest.raises(error):
        cache.save(saved.with_name("new.safetensors"))
    assert saved.read_bytes() == before
    assert list(saved.parent.iterdir()) == [saved]


def test_folders_that_cannot_be_written(
    saved: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = ns.ActivationCache.load(saved)
    with pytest.raises(CacheError, match=r"the folder .*missing does not exist"):
        cache.save(tmp_path / "missing" / "run.safetensors")
    (tmp_path / "folder").mkdir()
    with pytest.raises(CacheError, match=r"cannot write .*folder: it is a folder"):
        cache.save(tmp_path / "folder")

    def refuse(*args: Any, **options: Any) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(files.tempfile, "mkstemp", refuse)
    with pytest.raises(CacheError, match=r"cannot write .*run\.safetensors: Permission denied"):
        cache.save(saved)


def test_atomic_files_have_the_usual_permissions(tmp_path: Path) -> None:
    (tmp_path / "plain").touch()
    with files.atomic(tmp_path / "atomic") as temporary:
        temporary.write_text("x")
        assert not (tmp_path / "atomic").exists()
    assert (tmp_path / "atomic").stat().st_mode == (tmp_path / "plain").stat().st_mode


def test_save_returns_where_the_file_stands(tmp_path: Path) -> None:
    cache = ns.load("organism").run_with_cache("The man is", sites="embed")[1]
    assert cache.save(tmp_path / "run.safetensors") == tmp_path / "run.safetensors"
