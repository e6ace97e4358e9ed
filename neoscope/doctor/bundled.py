"""What neoscope brings along: the organism's files, the pages' scripts, and whether it all runs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from importlib import resources
from typing import Any

from neoscope.doctor.checkup import Fact
from neoscope.doctor.trial import ANSWER, cure_of
from neoscope.errors import NeoscopeError

_PAGES = (
    "report.html.j2", "report.js", "report.css", "review.js", "review.css",
    "microscope/page.js", "microscope/microscope.css",
)  # fmt: skip


def facts(tried: Mapping[str, Any]) -> Iterator[Fact]:
    """Yield whether every file is the one that was shipped, and what the model says.

    Args:
        tried: What ``trial.run`` returned.
    """
    yield _files()
    yield _pages()
    yield _runs(tried)


def _files() -> Fact:
    purpose = "the default model"
    try:
        from neoscope.organism import bundle

        folder = bundle.path()
        for moment in bundle.MOMENTS:
            bundle.path(moment)
    except NeoscopeError as error:
        said, _, cure = str(error).partition(". ")
        return Fact("organism", "files", said, "broken", purpose, cure)
    except Exception as error:  # an import that fails is told where it is tried
        said = f"cannot be looked at: {type(error).__name__}: {error}"
        return Fact("organism", "files", said, "broken", purpose, cure_of(said))
    return Fact("organism", "files", f"whole, by their SHA-256, in {folder}", "ok", purpose)


def _pages() -> Fact:
    home = resources.files("neoscope") / "views" / "static"
    lost = [name for name in _PAGES if not home.joinpath(name).is_file()]
    purpose = "the Microscope and the report"
    if lost:
        cure = "reinstall neoscope from where it came, with --force-reinstall --no-deps"
        said = f"neoscope/views/static lacks {', '.join(lost)}"
        return Fact("organism", "widget and report", said, "broken", purpose, cure)
    return Fact("organism", "widget and report", "their scripts are there", "ok", purpose)


def _runs(tried: Mapping[str, Any]) -> Fact:
    purpose = "everything"
    found = tried.get("organism")
    if found is None and "version" not in (tried.get("torch") or {}):
        said, cure = "not tried, since torch cannot be imported", "mend torch first"
        return Fact("organism", "runs", said, "broken", purpose, cure)
    if found is None or "error" in found:
        failed = found or {"error": tried.get("problem") or "no answer"}
        who = f"{failed['package']} cannot be imported: " if failed.get("package") else ""
        said = f"no: {who}{failed['error']}"
        return Fact("organism", "runs", said, "broken", purpose, cure_of(**failed))
    if found["next"] != ANSWER:
        said = f"it says {found['next']!r} where it should say {ANSWER!r}"
        cure = "neoscope verify organism; compare versions with constraints.txt"
        return Fact("organism", "runs", said, "broken", purpose, cure)
    said = f"yes: after '... John gave a drink to' it says {ANSWER!r}"
    return Fact("organism", "runs", said, "ok", purpose)
