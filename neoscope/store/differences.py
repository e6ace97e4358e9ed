"""What keeps a run from going on with a folder: how two manifests differ, value by value."""

from __future__ import annotations

import reprlib
from collections.abc import Iterator, Mapping
from typing import Any

from neoscope.store.manifest import Manifest


def differences(found: Manifest, now: Manifest) -> Iterator[str]:
    """Yield a line for each value in which a folder's manifest is not that of a new run.

    Where there are any, what is only remembered, such as names behind hashes, is told too.
    """
    different = False
    for key in ("kind", "file_format", "identity"):
        before, after = getattr(found, key), getattr(now, key)
        for line in _changed("" if key == "identity" else key, before, after):
            different = True
            yield line
    if different:
        yield from _changed("about", found.about, now.about)


def _changed(key: str, before: Any, after: Any) -> Iterator[str]:
    """One line for each leaf of two nested values in which they differ."""
    if isinstance(before, Mapping) and isinstance(after, Mapping):
        for name in [*before, *(name for name in after if name not in before)]:
            inner = f"{key}.{name}" if key else name
            yield from _changed(inner, before.get(name, _NOTHING), after.get(name, _NOTHING))
    elif before != after or type(before) is not type(after):
        show = reprlib.Repr()
        show.maxstring = show.maxother = show.maxlist = show.maxdict = 160
        yield f"{key}: the folder has {show.repr(before)}, now {show.repr(after)}"


class _Nothing:
    def __repr__(self) -> str:
        return "nothing"


_NOTHING = _Nothing()
