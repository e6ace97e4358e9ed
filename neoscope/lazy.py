"""Public names, imported when they are first used: until then a package costs nothing."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Mapping
from typing import Any

from neoscope.errors import nearest


def public_names(
    package: str, homes: Mapping[str, str]
) -> tuple[Callable[[str], Any], Callable[[], list[str]]]:
    """Make a package's ``__getattr__`` and ``__dir__`` (PEP 562).

    Args:
        package: The package's ``__name__``.
        homes: For each public name the module that holds it; a name whose home is the submodule of
            that name is the submodule itself.

    Returns:
        ``__getattr__``, which imports a name's home when the name is first used, and ``__dir__``,
        which lists the public names. An unknown name raises AttributeError, which names the
        nearest.
    """

    def find(name: str) -> Any:
        if name not in homes:
            # Copying, pickling and doctest ask for dunder names, and never read what is said.
            hint = "" if name.startswith("__") else nearest(name, homes)
            # Where Python knows the module, it adds a hint of its own to this one.
            module = None if hint else sys.modules[package]
            raise AttributeError(
                f"module {package!r} has no attribute {name!r}{hint}", name=name, obj=module
            )
        home = importlib.import_module(homes[name])
        value = home if home.__name__ == f"{package}.{name}" else getattr(home, name)
        setattr(sys.modules[package], name, value)
        return value

    def names() -> list[str]:
        dunder = {name for name in vars(sys.modules[package]) if name.startswith("__")}
        return sorted({*dunder, *homes})

    return find, names
