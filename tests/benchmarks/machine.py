"""What a benchmark ran on: processor, versions, and how fast it multiplies matrices."""

from __future__ import annotations

import importlib.metadata
import os
import platform
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F

from tests.benchmarks.harness import Settings, seconds

_LIBRARIES = (
    "neoscope",
    "torch",
    "transformers",
    "transformer-lens",
    "sentence-transformers",
    "scikit-learn",
    "concept-erasure",
    "lm-eval",
)
_MUCH = 2**29


def versions() -> dict[str, str]:
    """Return the installed version of every library that takes part."""
    found = {}
    for name in _LIBRARIES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            found[name] = "not installed"
    return found


def processor(device: str) -> str:
    """Return the name of the processor that does the work."""
    if device != "cpu":
        return torch.cuda.get_device_name()
    info = Path("/proc/cpuinfo")
    lines = info.read_text(encoding="utf-8").splitlines() if info.exists() else []
    named = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(named, platform.processor() or platform.machine())


def describe(settings: Settings) -> dict[str, Any]:
    """Return everything about the machine, its measured speeds included."""
    return {
        "processor": processor(settings.device),
        "cores": os.cpu_count(),
        "threads": settings.threads,
        "device": settings.device,
        "quick": settings.quick,
        "python": platform.python_version(),
        "versions": versions(),
        "matrix_rates": matrix_rates(settings),
        "memory_bandwidth": bandwidth(settings),
    }


def matrix_rates(settings: Settings) -> dict[str, float]:
    """Measure the best rate of ``[2048, 768] x [768, 3072]`` products, in operations a second."""
    rows, width, out = (64, 64, 64) if settings.quick else (2048, 768, 3072)
    products, rates = 4, {}
    for name in ("float32", "bfloat16"):
        options = {"dtype": getattr(torch, name), "device": settings.device}
        x, weight = torch.randn(rows, width, **options), torch.randn(out, width, **options)

        def work(x: torch.Tensor = x, weight: torch.Tensor = weight) -> None:
            for _ in range(products):
                F.linear(x, weight)

        with torch.inference_mode():
            seconds(work, settings.device)
            # Many short tries: the rate is the machine's best, even while others use it too.
            best = min(seconds(work, settings.device) for _ in range(20))
        rates[name] = products * 2 * rows * width * out / best
    return rates


def bandwidth(settings: Settings, size: int = _MUCH) -> float:
    """Measure the best rate at which one matrix-vector product reads so many bytes, a second."""
    width = 1024
    rows = 64 if settings.quick else size // (4 * width)
    matrix = torch.randn(rows, width, device=settings.device)
    vector = torch.randn(width, device=settings.device)
    with torch.inference_mode():
        seconds(lambda: matrix @ vector, settings.device)
        best = min(seconds(lambda: matrix @ vector, settings.device) for _ in range(20))
    return matrix.numel() * 4 / best
