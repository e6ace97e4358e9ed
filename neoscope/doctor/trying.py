"""What the trial's child does: import torch, then load and run the bundled model, and report each.

Each step is reported as soon as it is done, so that a crash in the next one does not hide it.
Where one fails, or a package is imported from an odd place, packages are imported one by one.
"""

from __future__ import annotations

import importlib
import json
import sys
import warnings
from collections.abc import Callable
from typing import Any

from neoscope.doctor import packages
from neoscope.doctor.culprit import culprit_of, file_of, folder_in_the_way
from neoscope.doctor.trial import MARK, PROMPT
from neoscope.errors import CheckpointError

_broken: dict[str, dict[str, Any]] = {}


def main() -> None:
    """Try every step until one fails; then find every package that does not load."""
    well = all(_report(name, work) for name, work in (("torch", _torch), ("organism", _organism)))
    modules = [packages.module(name) for name in packages.CORE]
    _import([name for name in modules if not well or folder_in_the_way(file_of(name))])


def _report(name: str, work: Callable[[], dict[str, Any]]) -> bool:
    try:
        found = work()
    except Exception as error:  # whatever is broken is what is asked for
        found = {"error": f"{type(error).__name__}: {' '.join(str(error).split())}"}
        culprit = culprit_of(error)
        if culprit is not None:
            found.update(package=culprit.package, file=culprit.file)
            _broken[culprit.package] = found
    _say({name: found})
    return "error" not in found


def _import(names: list[str]) -> None:
    for name in names:
        # Half of torch stays behind when its import fails: a second one fails otherwise.
        if name not in _broken:
            try:
                importlib.import_module(name)
            except Exception as error:  # whatever is broken is what is asked for
                found = culprit_of(error)
                if found is not None:
                    failed = {"error": found.reason, "package": found.package, "file": found.file}
                    _broken.setdefault(found.package, failed)
        _say({"imports": _broken})


def _say(found: dict[str, Any]) -> None:
    sys.stdout.write(f"\n{MARK}{json.dumps(found)}\n")
    sys.stdout.flush()


def _torch() -> dict[str, Any]:
    import torch

    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        try:
            there = torch.cuda.is_available()
            count = torch.cuda.device_count() if there else 0
            devices = [torch.cuda.get_device_properties(i) for i in range(count)]
            if there:
                (torch.ones(1, device="cuda") + 1).item()
            problem = "" if there else "; ".join(" ".join(str(w.message).split()) for w in said)
        except (RuntimeError, AssertionError) as error:
            devices, problem = [], " ".join(str(error).split())
    return {
        "version": torch.__version__,
        "cpu": torch.backends.cpu.get_cpu_capability(),
        "threads": torch.get_num_threads(),
        "built": torch.version.cuda or getattr(torch.version, "hip", None),
        "devices": [(one.name, one.total_memory) for one in devices],
        "cuda_error": problem,
        "mps": torch.backends.mps.is_available(),
    }


def _organism() -> dict[str, Any]:
    from neoscope.loading import load

    model = load("organism")
    logits = model(PROMPT)
    tokenizer = model.tokenizer
    if tokenizer is None:
        raise CheckpointError("the bundled model has no tokenizer")
    return {"next": tokenizer.decode([int(logits[0, -1].argmax())])}


if __name__ == "__main__":
    main()
