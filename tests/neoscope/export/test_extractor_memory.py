"""When memory runs out the budget shrinks, and nothing is kept or run that nobody wants."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

import neoscope as ns
from neoscope.analysis.readout import Readout
from neoscope.errors import ArgumentError, ExportError
from neoscope.export.extractor import Extractor, is_out_of_memory
from neoscope.export.pooler import Pooler
from neoscope.export.spec import FeatureSpec
from tests.neoscope.export.extracting import EVERYTHING, MODEL, N_TOKENS, POOLS, hooked, whole
from tests.neoscope.export.oracle import TEXTS, TINY, run, same, tiny


def no_memory_above(
    monkeypatch: pytest.MonkeyPatch, most: int, error: type[BaseException], said: str
) -> list[int]:
    """Let forwards of more than ``most`` tokens fail; returns the sizes of all forwards."""
    sizes: list[int] = []
    forward = ns.HookedGPTNeo.forward

    def limited(self: Any, ids: Tensor, *args: Any, **options: Any) -> Any:
        sizes.append(ids.numel())
        if ids.numel() > most:
            raise error(said)
        return forward(self, ids, *args, **options)

    monkeypatch.setattr(ns.HookedGPTNeo, "forward", limited)
    return sizes


OUT_OF_MEMORY = [
    (torch.OutOfMemoryError, "CUDA out of memory. Tried to allocate 2.00 GiB"),
    (
        RuntimeError,
        "[enforce fail at alloc_cpu.cpp:117] DefaultCPUAllocator: can't allocate memory",
    ),
    (RuntimeError, "DefaultCPUAllocator: not enough memory: you tried to allocate 1 bytes"),
    (MemoryError, ""),
]


@pytest.mark.parametrize(("error", "said"), OUT_OF_MEMORY)
def test_out_of_memory_halves_the_budget_and_goes_on(
    monkeypatch: pytest.MonkeyPatch, error: type[BaseException], said: str
) -> None:
    reference = whole()
    sizes = no_memory_above(monkeypatch, 60, error, said)
    extractor = Extractor(MODEL, EVERYTHING, batch_tokens=10_000)
    done: list[tuple[int, int]] = []
    found = extractor.run(extractor.encode(TEXTS), lambda rows, tokens: done.append((rows, tokens)))
    same(reference, found)
    assert extractor.batch_tokens <= 60
    assert sum(n > 60 for n in sizes) <= 2  # half of what did not fit, not of a vast budget
    assert [n for n in sizes if n > 60] == sizes[: sum(n > 60 for n in sizes)]
    assert sum(n for n in sizes if n <= 60) == N_TOKENS
    assert [sum(x) for x in zip(*done, strict=True)] == [len(TEXTS), N_TOKENS]


def test_padded_batches_shrink_too(monkeypatch: pytest.MonkeyPatch) -> None:
    reference = whole()
    sizes = no_memory_above(monkeypatch, 60, torch.OutOfMemoryError, "out of memory")
    same(reference, run(hooked(), EVERYTHING, TEXTS, batch_tokens=10_000))
    assert max(sizes) > 60 >= sizes[-1]


def test_windows_of_one_text_part_when_memory_is_short(monkeypatch: pytest.MonkeyPatch) -> None:
    spec = FeatureSpec(layers=1, pool=POOLS, truncation="stride", max_length=8)
    reference = run(MODEL, spec, TEXTS)
    no_memory_above(monkeypatch, 9, torch.OutOfMemoryError, "out of memory")
    same(reference, run(MODEL, spec, TEXTS, batch_tokens=10_000))


def test_a_single_text_that_does_not_fit_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    no_memory_above(monkeypatch, 20, torch.OutOfMemoryError, "out of memory")
    with pytest.raises(ExportError, match=r"out of memory on a single text of 3\d tokens"):
        run(MODEL, EVERYTHING, TEXTS)


@pytest.mark.parametrize("error", [RuntimeError, ValueError, KeyboardInterrupt])
def test_other_errors_are_not_swallowed(
    monkeypatch: pytest.MonkeyPatch, error: type[BaseException]
) -> None:
    sizes = no_memory_above(monkeypatch, 20, error, "something else")
    with pytest.raises(error, match="something else"):
        run(MODEL, EVERYTHING, TEXTS)
    assert len(sizes) == 1


def test_what_out_of_memory_is_called() -> None:
    assert all(is_out_of_memory(error(said)) for error, said in OUT_OF_MEMORY)
    assert is_out_of_memory(RuntimeError("MPS backend out of memory (MPS allocated: 1 GB)"))
    assert is_out_of_memory(RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling"))
    assert not is_out_of_memory(RuntimeError("CUDA error: an illegal memory access"))
    assert not is_out_of_memory(RuntimeError("mat1 and mat2 shapes cannot be multiplied"))


@pytest.mark.parametrize("batch_tokens", [0, -1, False])
def test_a_budget_that_means_nothing_is_refused(batch_tokens: Any) -> None:
    with pytest.raises(ArgumentError, match="batch_tokens="):
        Extractor(MODEL, EVERYTHING, batch_tokens=batch_tokens)


@pytest.mark.parametrize(
    ("spec", "blocks", "unembeds"),
    [
        (FeatureSpec("embed"), 0, False),
        (FeatureSpec("resid_pre", layers=0), 1, False),
        (FeatureSpec("z", layers=[0, 1]), 2, False),
        (FeatureSpec("attn_entropy", layers=1), 2, False),
        (FeatureSpec("resid_post"), 3, False),
        (FeatureSpec(("hidden", "resid_post"), layers=0), 3, False),
        (FeatureSpec("ln_final.normalized"), 3, False),
        (FeatureSpec(("entropy", "resid_post"), layers=0), 3, True),
    ],
    ids=lambda x: x.sites[0] if isinstance(x, FeatureSpec) else None,
)
def test_the_forward_goes_as_far_as_it_must(
    monkeypatch: pytest.MonkeyPatch, spec: FeatureSpec, blocks: int, unembeds: bool
) -> None:
    ran: list[str] = []

    def count(cls: type, name: str, method: str = "forward") -> None:
        forward = getattr(cls, method)

        def counted(self: Any, *args: Any, **options: Any) -> Any:
            ran.append(name)
            return forward(self, *args, **options)

        monkeypatch.setattr(cls, method, counted)

    model = tiny()
    count(type(model.blocks[0]), "block")
    count(type(model.unembed), "unembed")
    count(Readout, "unembed", "read")
    count(type(model.blocks[0].mlp), "mlp")
    found = run(model, spec, TEXTS, batch_tokens=10_000)
    assert found.features
    assert ran.count("block") == blocks
    assert ("unembed" in ran) == unembeds
    if spec.sites[0] in ("z", "attn_entropy", "resid_pre"):
        assert ran.count("mlp") == blocks - 1


def kept_bytes(spec: FeatureSpec, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Bytes that the pooler holds on to each time it has seen a site."""
    held: list[int] = []
    see = Pooler.see

    def spy(self: Pooler, name: str, x: Tensor, visibility: Any) -> Tensor:
        out = see(self, name, x, visibility)
        storages = {
            part.values.untyped_storage().data_ptr(): part.values.untyped_storage().nbytes()
            for _, part in self.parts
        }
        held.append(sum(storages.values()))
        return out

    with monkeypatch.context() as patch:
        patch.setattr(Pooler, "see", spy)
        run(tiny(n_layers=8), spec, [TEXTS[0]] * 20, batch_tokens=10_000)
    return held


@pytest.mark.parametrize("pool", POOLS)
def test_unpooled_states_are_not_kept(pool: str, monkeypatch: pytest.MonkeyPatch) -> None:
    held = kept_bytes(FeatureSpec("resid_post", pool=pool), monkeypatch)
    assert max(held) == 8 * 20 * TINY.d_model * 4


def test_no_tensor_of_a_layer_outlives_it(monkeypatch: pytest.MonkeyPatch) -> None:
    import gc

    def peak(layers: Any) -> int:
        alive: list[int] = []
        see = Pooler.see

        def spy(self: Pooler, name: str, x: Tensor, visibility: Any) -> Tensor:
            out = see(self, name, x, visibility)
            if "hook_resid_post" in name:
                tensors = [t for t in gc.get_objects() if type(t) is Tensor]
                alive.append(sum(t.numel() for t in tensors if t.numel() >= x.numel()))
            return out

        with monkeypatch.context() as patch:
            patch.setattr(Pooler, "see", spy)
            run(tiny(n_layers=6), FeatureSpec(layers=layers), TEXTS, batch_tokens=10_000)
        return max(alive)

    assert peak(None) == peak(-1)
