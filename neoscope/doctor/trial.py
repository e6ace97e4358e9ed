"""Torch and the bundled model, tried in a process of its own: what breaks there is reported."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from neoscope.doctor.checkup import Fact
from neoscope.doctor.culprit import folder_in_the_way
from neoscope.doctor.packages import distribution

PATIENCE = 120.0
"""Seconds after which the trial is given up."""
PROMPT, ANSWER = "When Mary and John went to the store, John gave a drink to", " Mary"
"""What the bundled model is asked, and what it says where all is well."""
MARK = "neoscope-trial "
"""What the child's own lines begin with; libraries print others."""
_CURES = (
    (
        "torchvision",
        "they are of different builds: pip uninstall torchvision, or install both from one index",
    ),
    ("numpy", "{0} and numpy do not fit together: pip install -U {0} numpy"),
    (
        "undefined symbol",
        "files of two builds are mixed: pip install --force-reinstall --no-cache-dir {0}",
    ),
    (".so", "a library is missing or of another build: pip install --force-reinstall {0}"),
    ("dll", "a library is missing or of another build: pip install --force-reinstall {0}"),
)
_ENDINGS = {
    getattr(signal, "SIGILL", 0): "this processor lacks instructions which it was built with",
    getattr(signal, "SIGKILL", 0): "it was killed, most often for want of memory",
    getattr(signal, "SIGSEGV", 0): "it crashed, most often since files of two builds are mixed",
}
_FRESH = "make a fresh environment: python3 -m venv .venv && .venv/bin/pip install neoscope"


def run() -> dict[str, Any]:
    """Return what the child reported by step, and ``"problem"`` where it did not reach its end.

    The child gets HF_HUB_OFFLINE=1: it must not ask a network.
    """
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(path or os.curdir for path in sys.path),
        "HF_HUB_OFFLINE": "1",
        "TQDM_DISABLE": "1",
    }
    try:
        done = subprocess.run(
            # -P: the current folder counts only where it counts in this process.
            [sys.executable, "-P", "-m", "neoscope.doctor.trying"], env=environment, text=True,
            stdin=subprocess.DEVNULL, capture_output=True, check=False, errors="replace",
            timeout=PATIENCE,
        )  # fmt: skip
    except subprocess.TimeoutExpired as late:
        output = late.stdout.decode(errors="replace") if isinstance(late.stdout, bytes) else ""
        return {**_steps(output), "problem": f"no answer after {PATIENCE:.0f} s"}
    except OSError as error:
        return {"problem": f"no process could be started: {error}"}
    found = _steps(done.stdout)
    if done.returncode < 0:
        why = _ENDINGS.get(-done.returncode, f"it ended by signal {-done.returncode}")
        found["problem"] = why
    elif done.returncode:
        last = (done.stderr.strip().splitlines() or ["no message"])[-1]
        found["problem"] = last
    return found


def imports(tried: Mapping[str, Any], packages: Sequence[Fact]) -> Iterator[Fact]:
    """Yield the packages' facts, with what the child could not import told as broken.

    Args:
        tried: What ``run`` returned.
        packages: The facts of the group ``"packages"``, by what pip wrote down.
    """
    broken = {distribution(name): failed for name, failed in tried.get("imports", {}).items()}
    for fact in packages:
        failed = broken.pop(fact.name, None)
        if failed is None or fact.state == "broken":
            yield fact
        else:
            value = f"{fact.value.partition(',')[0]}, {_failure(failed)}"
            yield replace(fact, value=value, state="broken", cure=cure_of(**failed))
    for name, failed in broken.items():
        purpose = "packages that neoscope needs"
        yield Fact("packages", name, _failure(failed), "broken", purpose, cure_of(**failed))


def _failure(failed: Mapping[str, Any]) -> str:
    where = f" ({failed['file']})" if failed["file"] else ""
    return f"cannot be imported{where}: {failed['error']}"


def devices(tried: Mapping[str, Any]) -> Iterator[Fact]:
    """Yield the processor and every accelerator, as torch sees them.

    Args:
        tried: What ``run`` returned.
    """
    torch = tried.get("torch")
    if torch is None or "error" in torch:
        failed = torch or {"error": tried.get("problem", "no answer")}
        yield Fact("devices", "cpu", f"torch cannot be imported: {failed['error']}", "broken",
                   "running the model", cure_of(**failed))  # fmt: skip
        return
    yield Fact("devices", "cpu", f"torch {torch['version']}, {torch['cpu']}")
    yield _cuda(torch)
    if sys.platform == "darwin":
        works = "works: --device mps" if torch["mps"] else "torch finds none"
        yield Fact("devices", "mps", works)


def _cuda(torch: Mapping[str, Any]) -> Fact:
    purpose = "running the model on a GPU (--device cuda)"
    driver = shutil.which("nvidia-smi") or Path("/proc/driver/nvidia/version").exists()
    if torch["devices"] and not torch["cuda_error"]:
        each = "; ".join(f"{name}, {memory / 2**30:.0f} GiB" for name, memory in torch["devices"])
        return Fact("devices", "cuda", f"{each}: use --device cuda", "ok", purpose)
    if torch["built"] is None:
        if not driver:
            return Fact("devices", "cuda", "none; torch is a build for the CPU", "ok", purpose)
        cure = "install a CUDA build of torch: https://pytorch.org/get-started/locally"
        said = "there is an NVIDIA driver, but torch is a build for the CPU"
        return Fact("devices", "cuda", said, "note", purpose, cure)
    said = f"torch is built for CUDA {torch['built']} and finds none: {torch['cuda_error']}"
    if not driver:
        return Fact("devices", "cuda", "none; there is no NVIDIA driver", "ok", purpose)
    cure = (
        "compare the driver (nvidia-smi) with torch's CUDA; unset CUDA_VISIBLE_DEVICES, or install "
        "a torch built for the driver: https://pytorch.org/get-started/locally"
    )
    return Fact("devices", "cuda", said, "note", purpose, cure)


def threads(tried: Mapping[str, Any]) -> Iterator[Fact]:
    """Yield how many threads torch takes, beside the cores that there are.

    Args:
        tried: What ``run`` returned.
    """
    cores = allowed_cores()
    yield Fact("threads", "cores", f"{cores:g} for this process, {os.cpu_count()} in the machine")
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS"):
        if os.environ.get(name):
            yield Fact("threads", name, os.environ[name])
    count = (tried.get("torch") or {}).get("threads")
    if count is None:
        return
    if count > max(1, cores):
        cure = f"set OMP_NUM_THREADS={max(1, int(cores))}: threads that wait for a core slow others"
        yield Fact("threads", "torch", f"{count}, more than cores", "note", "speed", cure)
    else:
        yield Fact("threads", "torch", str(count))


def allowed_cores() -> float:
    """Return how many cores this process may use, by its affinity and its container's quota."""
    count = float(os.cpu_count() or 1)
    if hasattr(os, "sched_getaffinity"):
        count = float(len(os.sched_getaffinity(0)))
    try:
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text(encoding="utf-8").split()
        return count if quota == "max" else min(count, int(quota) / int(period))
    except (OSError, ValueError):
        return count


def cure_of(error: str, package: str = "", file: str | None = None) -> str:
    """Return what to do about an import or a run that failed.

    Args:
        error: The error, or how the process ended.
        package: The package whose import failed, by the name of its module; ``""``: not known.
        file: The file that was imported under this name.
    """
    folder = folder_in_the_way(file)
    if folder is not None:
        return f"remove or rename {file}, or take {folder} out of PYTHONPATH"
    lowered = error.lower()
    missing = re.search(r"no module named '(\w+)", lowered)
    if missing and file is None:
        return f"pip install {distribution(missing[1])}"
    name = distribution(package)
    known = (cure for words, cure in _CURES if words in lowered and words != package)
    otherwise = f"pip install --force-reinstall {name}" if name else _FRESH
    return next(known, otherwise).format(name or "torch")


def _steps(output: str) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for line in output.splitlines():
        if line.startswith(MARK):
            found.update(json.loads(line.removeprefix(MARK)))
    return found
