"""Versions: what neoscope needs, what it can use, and whether what is installed will do."""

from __future__ import annotations

import importlib.util
import json
import platform
import re
import sys
from collections.abc import Iterator, Mapping
from dataclasses import replace
from importlib import metadata
from pathlib import Path

from neoscope import __version__
from neoscope.doctor.checkup import Fact
from neoscope.doctor.culprit import file_of, folder_in_the_way

CORE: Mapping[str, str] = {
    "torch": "running the model",
    "transformer-lens": "hooks under TransformerLens's names",
    "transformers": "tokenizers, and the comparison with its own GPT-Neo",
    "safetensors": "reading weights, writing caches",
    "huggingface-hub": "fetching checkpoints",
    "tokenizers": "text to tokens",
    "einops": "TransformerLens's functions",
    "jaxtyping": "shapes in annotations",
    "numpy": "every result",
    "pyarrow": "feature stores",
    "pyyaml": "model cards",
    "networkx": "circuits as graphs",
    "markupsafe": "reports",
    "packaging": "comparing versions",
    "tqdm": "progress",
    "threadpoolctl": "reports of small models",
    "pandas": "tables",
    "plotly": "figures",
    "jinja2": "reports",
    "scikit-learn": "probes",
    "scipy": "statistics",
    "typer": "the command line",
    "rich": "the command line",
}
"""What is always needed, and for what."""

EXTRAS: Mapping[str, tuple[str, tuple[str, ...]]] = {
    "attribution": ("input attribution (attribute --input)", ("captum",)),
    "eval": ("benchmarks of language models (eval)", ("lm-eval",)),
    "ray": ("exports over several processes or machines (export --engine ray)", ("ray",)),
    "notebook": ("notebooks and the Microscope", ("jupyterlab", "ipywidgets", "anywidget")),
    "pictures": ("figures as .png, .svg and .pdf", ("kaleido",)),
    "umap": ("projections by UMAP", ("umap-learn",)),
    "bench": ("benchmarks beside peers", ("concept-erasure", "sentence-transformers")),
    "docs": ("building the API reference", ("sphinx", "myst-parser", "pydata-sphinx-theme")),
    "dev": ("neoscope's own tests", ("pytest", "ruff", "mypy", "hypothesis")),
}
"""Each extra: what it is for, and the packages by which it is known."""

_MODULES = {
    "pyyaml": "yaml",
    "scikit-learn": "sklearn",
    "umap-learn": "umap",
}
"""Modules whose names differ from their package's by more than a dash."""
_FOR_DEVELOPERS = frozenset({"bench", "docs", "dev"})
_OLDEST_PYTHON = (3, 11)


def core() -> Iterator[Fact]:
    """Yield neoscope, Python, and every package which neoscope always needs."""
    yield Fact("packages", "neoscope", f"{__version__} {_from()}")
    found = f"{platform.python_version()} ({sys.executable})"
    if sys.version_info >= _OLDEST_PYTHON:
        yield Fact("packages", "python", found)
    else:
        cure = "make an environment with a newer one: python3.11 -m venv .venv"
        yield Fact("packages", "python", f"{found}, needs 3.11", "broken", "everything", cure)
    wanted = _requirements("")
    for name, purpose in CORE.items():
        fact = _package(name, purpose, wanted.get(name, ""))
        yield _elsewhere(fact) if fact.state == "ok" else fact
    yield from _torchvision()


def extras() -> Iterator[Fact]:
    """Yield every extra: installed, or the command that installs it."""
    for extra, (purpose, names) in EXTRAS.items():
        wanted = _requirements(extra)
        found = [_package(name, purpose, wanted.get(name, "")) for name in names]
        value = ", ".join(f"{one.name} {one.value}" for one in found)
        if all(one.state == "ok" for one in found):
            yield Fact("extras", extra, value, "ok", purpose)
        elif extra in _FOR_DEVELOPERS:
            value = f"not installed, for developers only: pip install 'neoscope[{extra}]'"
            yield Fact("extras", extra, value, "ok", purpose)
        else:
            yield Fact(
                "extras", extra, value, "missing", purpose, f"pip install 'neoscope[{extra}]'"
            )


def version(name: str) -> str | None:
    """Return the version of an installed package, without importing it; None where there is none.

    Args:
        name: A distribution's name, such as ``"scikit-learn"``.
    """
    try:
        found: str | None = metadata.version(name)
    except Exception:  # metadata can be damaged in any way; then nothing usable is installed
        return None
    return found


def module(name: str) -> str:
    """Return the name by which a package is imported.

    Args:
        name: A distribution's name, such as ``"scikit-learn"``.
    """
    return _MODULES.get(name, name.replace("-", "_"))


def distribution(module: str) -> str:
    """Return the name by which a package is installed.

    Args:
        module: A module's name, such as ``"sklearn"``.
    """
    known = {there: name for name, there in _MODULES.items()}
    return known.get(module, module.replace("_", "-"))


def _elsewhere(fact: Fact) -> Fact:
    """Note a package in whose place another file would be imported."""
    file = file_of(module(fact.name))
    folder = folder_in_the_way(file)
    if folder is None or _is_editable(fact.name):
        return fact
    value = f"{fact.value}, but {file} is imported in its place"
    cure = f"remove or rename {file}, or take {folder} out of PYTHONPATH"
    return replace(fact, value=value, state="note", cure=cure)


def _is_editable(name: str) -> bool:
    try:
        written = metadata.distribution(name).read_text("direct_url.json")
        return bool(json.loads(written or "{}").get("dir_info", {}).get("editable", False))
    except Exception:  # not installed by pip, or what it wrote down cannot be read
        return False


def _package(name: str, purpose: str, wanted: str) -> Fact:
    found = version(name)
    cure = f"pip install '{name}{wanted}'"
    if found is None:
        return Fact("packages", name, "not installed", "broken", purpose, cure)
    if not _is_there(module(name)):
        cure = f"pip install --force-reinstall --no-deps '{name}{wanted}'"
        return Fact("packages", name, f"{found}, its files are gone", "broken", purpose, cure)
    if not _fits(found, wanted):
        return Fact("packages", name, f"{found}, needs {wanted}", "broken", purpose, cure)
    return Fact("packages", name, found, "ok", purpose)


def _is_there(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except (ImportError, ValueError, AttributeError):
        return False


def _fits(found: str, wanted: str) -> bool:
    if not wanted:
        return True
    try:
        from packaging.specifiers import SpecifierSet

        return SpecifierSet(wanted).contains(found, prereleases=True)
    except (ImportError, ValueError):
        return True  # what cannot be read cannot be judged


def _requirements(extra: str) -> dict[str, str]:
    """Return package to accepted versions, as pip wrote down for this copy of neoscope.

    Args:
        extra: An extra; ``""`` is what is always needed.
    """
    try:
        lines = metadata.requires("neoscope") or []
    except Exception:  # not installed by pip: nothing is written down
        return {}
    found = {}
    for line in lines:
        match = re.fullmatch(r"([\w.-]+)(?:\[[^]]*\])?\s*([^;]*?)\s*(?:;\s*(.*))?", line)
        if match is None:
            continue
        name, wanted, condition = match.groups()
        named = re.search(r"extra\s*==\s*['\"]([^'\"]*)['\"]", condition or "")
        if (named[1] if named else "") == extra:
            found[re.sub(r"[-_.]+", "-", name).lower()] = wanted.strip("()")
    return found


def _from() -> str:
    """Return where this copy of neoscope comes from."""
    here = Path(__file__).parents[1]
    try:
        metadata.distribution("neoscope")
    except Exception:  # not installed by pip, or what it wrote down cannot be read
        return f"(in {here}; not installed by pip)"
    return f"({'editable, ' if _is_editable('neoscope') else ''}in {here})"


def _torchvision() -> Iterator[Fact]:
    """Yield torchvision where it is there and is of another build than torch."""
    torch, vision = version("torch"), version("torchvision")
    if torch is None or vision is None:
        return
    build, other = torch.partition("+")[2], vision.partition("+")[2]
    pair = tuple(int(part) for part in re.findall(r"\d+", torch)[:2])
    theirs = tuple(int(part) for part in re.findall(r"\d+", vision)[:2])
    # torch 2.0 came with torchvision 0.15, and each next one with the next.
    alike = pair[:1] != (2,) or theirs == (0, pair[1] + 15)
    if alike and build == other:
        yield Fact("packages", "torchvision", vision)
        return
    yield Fact(
        "packages", "torchvision", f"{vision}, made for another torch than {torch}", "note",
        "nothing in neoscope, but transformers imports it where it is installed",
        "pip uninstall torchvision, or install both from one index: pip install --force-reinstall "
        "torch torchvision --index-url https://download.pytorch.org/whl/"
        f"{build if build else 'cpu'}",
    )  # fmt: skip
