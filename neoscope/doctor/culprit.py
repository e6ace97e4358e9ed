"""Which package broke while it was imported, from which file, and whether that file is in the way.

Only the standard library is needed: what broke may be anything else.
"""

from __future__ import annotations

import importlib.util
import sys
import traceback
from dataclasses import dataclass
from pathlib import Path

_OWN = frozenset({"neoscope", "probes", "__main__"})
_INSTALLED = frozenset({"site-packages", "dist-packages"})


@dataclass(frozen=True)
class Culprit:
    """A package that cannot be imported."""

    package: str
    """The name by which it is imported, such as ``"sklearn"``."""
    file: str | None
    """The file that is imported under this name; None where there is none."""
    reason: str
    """The error's type and its message."""

    def __str__(self) -> str:
        where = f"; {self.file}" if self.file else ""
        return f"the package {self.package!r} cannot be imported ({self.reason}{where})"


def culprit_of(error: BaseException) -> Culprit | None:
    """Return the package whose import an error has ended; None where it ended something else.

    Args:
        error: What was raised, with its traceback.
    """
    name = _top(getattr(error, "name", None) or "") if isinstance(error, ImportError) else ""
    if not name or name in _OWN or name in sys.stdlib_module_names:
        name = _importing(error)
    if not name:
        return None
    said = " ".join(str(error).split())
    kind = type(error).__name__
    return Culprit(name, file_of(name), f"{kind}: {said}" if said else kind)


def file_of(package: str) -> str | None:
    """Return the file that is imported under a name, without importing it; None: there is none.

    Args:
        package: Such as ``"sklearn"``.
    """
    try:
        spec = importlib.util.find_spec(package)
    except (ImportError, ValueError, AttributeError):
        return None
    return spec.origin if spec is not None else None


def folder_in_the_way(file: str | None) -> Path | None:
    """Return the folder of a file that no installer put there; None for an installed file.

    Args:
        file: What ``file_of`` returned.
    """
    if file is None:
        return None
    path = Path(file)
    folder = path.parents[1] if path.name == "__init__.py" else path.parent
    if _INSTALLED & set(path.parts) or any(folder.glob("*.dist-info")):
        return None
    return folder


def _importing(error: BaseException) -> str:
    """Return the innermost package that ran while neoscope was importing it; ``""``: none."""
    found, is_import = "", isinstance(error, ImportError)
    for frame, _ in traceback.walk_tb(error.__traceback__):
        top = _top(str(frame.f_globals.get("__name__", "")))
        if top in _OWN:
            found, is_import = "", isinstance(error, ImportError)
        elif top not in sys.stdlib_module_names:
            found = top
            is_import = is_import or frame.f_code.co_name == "<module>"
    return found if is_import else ""


def _top(module: str) -> str:
    return module.partition(".")[0]
