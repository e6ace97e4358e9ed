"""Writes the lists of the pages: every public name of a package, from its ``__all__``.

``{{ public("neoscope.analysis") }}`` in a page becomes a table of the names and an autodoc
directive for each. A public name that is on no page is a warning, and so ends the build.
"""

from __future__ import annotations

import ast
import functools
import importlib
import inspect
import re
from collections.abc import Iterator
from types import ModuleType
from typing import Any

import jinja2
from sphinx.application import Sphinx
from sphinx.pycode import ModuleAnalyzer
from sphinx.util import logging

ROOTS = ("neoscope", "probes")
_ALSO = ("neoscope.errors", "neoscope.generate")
"""Read by users without being named by a package: what is raised, and what is handed out."""
_LONGEST_VALUE = 160
_KINDS = {"function": "Functions", "class": "Classes", "exception": "Errors", "data": "Values"}
_logger = logging.getLogger(__name__)


def names(package: str) -> list[str]:
    """Return the public names of a module: its ``__all__``, or what it defines."""
    module = importlib.import_module(package)
    listed = getattr(module, "__all__", None)
    if listed is not None:
        return list(listed)
    return [
        name
        for name, value in vars(module).items()
        if not name.startswith("_")
        and getattr(value, "__module__", None) == package
        and (inspect.isclass(value) or inspect.isroutine(value))
    ]


@functools.cache
def everything() -> dict[str, str]:
    """Return all that is public, through the packages that packages name, under its full name.

    The value is the name under which a page documents it: the shortest, where the same thing has
    several. Values that are neither modules, classes nor functions stand for themselves.
    """
    found: dict[str, str] = {}
    first: dict[int, str] = {}
    waiting = [*ROOTS, *_ALSO]
    while waiting:
        package = waiting.pop(0)
        for name in names(package):
            full, value = f"{package}.{name}", look_up(package, name)
            found[full] = full
            if isinstance(value, ModuleType):
                waiting.append(value.__name__)
            elif kind(value) != "data":
                found[full] = first.setdefault(id(value), full)
    return found


def look_up(package: str, name: str) -> Any:
    """Return what a public name stands for, though a module may have taken the name meanwhile."""
    module = importlib.import_module(package)
    value = getattr(module, name)
    home = getattr(module, "_HOMES", {}).get(name)
    if isinstance(value, ModuleType) and home == value.__name__ and hasattr(value, name):
        value = getattr(value, name)
        setattr(module, name, value)
    return value


def kind(value: Any) -> str:
    """Return the name of the directive that documents a value."""
    if inspect.isclass(value) and not hasattr(value, "__origin__"):
        return "exception" if issubclass(value, BaseException) else "class"
    return "function" if inspect.isroutine(inspect.unwrap(value)) else "data"


def public(package: str, *wanted: str, title: bool = True, level: int = 2) -> str:
    """Return the Markdown that documents a package's public names, or those that are wanted.

    Args:
        package: Its full name; what it holds are modules is left to pages of their own.
        wanted: Some of its names; all if there are none.
        title: Whether the package itself is introduced, by its docstring.
        level: Of the headings above functions and classes.
    """
    found = [name for name in names(package) if not wanted or name in wanted]
    unknown = set(wanted) - set(found)
    if unknown:
        raise ValueError(f"{package} has no public names {sorted(unknown)}")
    values = {name: look_up(package, name) for name in found}
    values = {name: value for name, value in values.items() if not isinstance(value, ModuleType)}
    lines = [f".. py:module:: {package}", "", *_docstring(package)] if title else []
    parts = [_fenced(lines)]
    groups = {title: [n for n in values if kind(values[n]) == key] for key, title in _KINDS.items()}
    groups = {title: members for title, members in groups.items() if members}
    own = [name for name in values if _home(package, name) == f"{package}.{name}"]
    if len(values) > 4 or len(own) < len(values):
        rows = [_row(package, name, values[name]) for some in groups.values() for name in some]
        parts.append(
            "\n".join([":::{list-table}", ":widths: auto", ":class: names", "", *rows, ":::"])
        )
    for heading, members in groups.items():
        here = [name for name in members if name in own]
        if here and len(groups) > 1 and len(values) > 4:
            parts.append(f"{'#' * level} {heading}")
        parts += [_fenced(list(_directive(package, name, values[name])), package) for name in here]
    return "\n\n".join(parts)


def _home(package: str, name: str) -> str:
    full = f"{package}.{name}"
    return everything().get(full, full)


def _row(package: str, name: str, value: Any) -> str:
    """Return a row of the table of names; it is the anchor of one that is documented elsewhere."""
    home, full = _home(package, name), f"{package}.{name}"
    anchor = "" if home == full else f'<a id="{full}"></a>'
    return f"* - {anchor}{{py:obj}}`{name} <{home}>`\n  - {_summary(package, name, value)}"


def _docstring(package: str) -> list[str]:
    return inspect.cleandoc(importlib.import_module(package).__doc__ or "").split("\n")


def _fenced(lines: list[str], module: str = "") -> str:
    head = [f".. py:currentmodule:: {module}", ""] if module else []
    return "\n".join(["```{eval-rst}", *head, *lines, "```"])


def _directive(package: str, name: str, value: Any) -> Iterator[str]:
    what = kind(value)
    if what != "data":
        yield f".. auto{what}:: {package}.{name}"
        return
    yield f".. py:data:: {name}"
    if not isinstance(value, type) and not hasattr(value, "__origin__"):
        yield f"   :type: {type(value).__name__}"
    if len(repr(value)) <= _LONGEST_VALUE:
        yield f"   :value: {value!r}"
    yield ""
    for line in _data_docstring(package, name):
        yield f"   {line}"


def _data_docstring(package: str, name: str) -> list[str]:
    """Return the string that stands below a value where it is assigned."""
    for home in _homes(package, name):
        docs = ModuleAnalyzer.for_module(home).find_attr_docs()
        if ("", name) in docs:
            return docs["", name]
    _logger.warning("%s.%s has no docstring", package, name, type="reference")
    return []


def _homes(package: str, name: str) -> Iterator[str]:
    """Yield the modules through which a name came, the package first."""
    yield package
    module = importlib.import_module(package)
    lazy = getattr(module, "_HOMES", {}).get(name)
    eager = [
        node.module
        for node in ast.walk(ast.parse(inspect.getsource(module)))
        if isinstance(node, ast.ImportFrom) and name in [one.name for one in node.names]
    ]
    for home in [lazy, *eager]:
        if home and home != package and home.partition(".")[0] in ROOTS:
            yield from _homes(home, name)


def _summary(package: str, name: str, value: Any) -> str:
    """Return the first sentence of a docstring, as Markdown in a cell."""
    if kind(value) == "data":
        text = " ".join(_data_docstring(package, name))
    else:
        text = " ".join((inspect.getdoc(value) or "").partition("\n\n")[0].split())
    first = re.split(r"(?<!al)(?<!e\.g)\.\s", text, maxsplit=1)[0].rstrip(".")
    return re.sub(r":\w+:`~?([^`]+)`", r"`\1`", first).replace("``", "`")


def _render(app: Sphinx, docname: str, source: list[str]) -> None:
    source[0] = jinja2.Template(source[0], undefined=jinja2.StrictUndefined).render(
        app.config.reference_functions
    )


def _check(app: Sphinx, env: Any) -> None:
    """Warn of each public name that is on no page."""
    domain = env.domains.python_domain
    known = set(domain.objects) | set(domain.modules)
    for name, home in everything().items():
        if home not in known:
            _logger.warning("%s is public and on no page of the reference", name, type="reference")


def setup(app: Sphinx) -> dict[str, bool]:
    """Let Sphinx know."""
    app.add_config_value("reference_functions", {"public": public}, "")
    app.connect("source-read", _render)
    app.connect("env-check-consistency", _check)
    return {"parallel_read_safe": True}
