"""What a checkup found: facts with a state each, and what to do about those that are not well."""

from __future__ import annotations

import json
import os
import textwrap
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from neoscope.errors import ArgumentError, nearest

if TYPE_CHECKING:
    import pandas

STATES = ("ok", "note", "missing", "broken")
"""``note``: it works, but something should be known; ``missing``: something optional is not there;
``broken``: something which every use of neoscope needs does not work."""
_WIDTH = 80


@dataclass(frozen=True)
class Fact:
    """One thing that was looked at."""

    group: str
    """``"packages"``, ``"extras"``, ``"devices"``, ``"threads"``, ``"hub"``, ``"organism"``,
    ``"pictures"`` or ``"machine"``."""
    name: str
    value: str
    """What was found, for a person: a version, a folder, a size with its unit."""
    state: str = "ok"
    """One of ``"ok"``, ``"note"``, ``"missing"`` and ``"broken"``."""
    purpose: str = ""
    """What it is for."""
    cure: str = ""
    """What to do where the state is not ``"ok"``."""


@dataclass(frozen=True)
class Checkup:
    """All facts of one checkup; ``print`` shows them."""

    facts: tuple[Fact, ...]

    @property
    def ok(self) -> bool:
        """Whether everything works that loading and running a model needs."""
        return not self.in_state("broken")

    def in_state(self, state: str) -> tuple[Fact, ...]:
        """Return the facts of one state.

        Args:
            state: ``"ok"``, ``"note"``, ``"missing"`` or ``"broken"``.

        Raises:
            ArgumentError: There is no such state.
        """
        if state not in STATES:
            raise ArgumentError(
                f"there is no state {state!r}; there are {', '.join(STATES)}"
                f"{nearest(state, STATES)}"
            )
        return tuple(fact for fact in self.facts if fact.state == state)

    def group(self, name: str) -> tuple[Fact, ...]:
        """Return the facts of one group.

        Args:
            name: Such as ``"packages"``.

        Raises:
            ArgumentError: There is no such group.
        """
        known = list(self.groups)
        if name not in known:
            raise ArgumentError(
                f"there is no group {name!r}; there are {', '.join(known)}{nearest(name, known)}"
            )
        return tuple(fact for fact in self.facts if fact.group == name)

    @property
    def groups(self) -> tuple[str, ...]:
        """The names of the groups, in the order in which they were looked at."""
        return tuple(dict.fromkeys(fact.group for fact in self.facts))

    def to_dict(self) -> dict[str, Any]:
        """Return everything as plain JSON values: ``ok``, and ``facts`` one by one."""
        return {"ok": self.ok, "facts": [asdict(fact) for fact in self.facts]}

    def to_dataframe(self) -> pandas.DataFrame:
        """Return one row a fact: group, name, value, state, purpose and cure."""
        import pandas

        return pandas.DataFrame(self.to_dict()["facts"])

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write ``to_dict()`` as JSON.

        Args:
            path: The file; its folder has to exist.

        Returns:
            Where it stands.

        Raises:
            OSError: It cannot be written.
        """
        from neoscope.files import atomic

        with atomic(path) as file:
            file.write_text(json.dumps(self.to_dict(), indent=2) + "\n", encoding="utf-8")
        return Path(path)

    def __str__(self) -> str:
        """Return all groups in 80 columns, and then what is not well with what to do about it."""
        lines = []
        for group in self.groups:
            facts = self.group(group)
            wide = max(len(fact.name) for fact in facts) + 2
            lines.append(group)
            for fact in facts:
                mark = "" if fact.state == "ok" else f" ({fact.state})"
                lines.append(_hung(f"  {fact.name:{wide}}", fact.value + mark))
        for state in ("broken", "missing", "note"):
            found = self.in_state(state)
            if found:
                lines.append(f"{state}:")
            for fact in found:
                lines.append(_hung("  ", f"{fact.name}, for {fact.purpose}"))
                lines.append(_hung("    ", fact.cure))
        return "\n".join(lines)

    def __repr__(self) -> str:
        counts = ", ".join(f"{len(self.in_state(state))} {state}" for state in STATES)
        return f"Checkup({counts})"


def _hung(start: str, text: str) -> str:
    return textwrap.fill(
        text, _WIDTH, initial_indent=start, subsequent_indent=" " * len(start),
        break_long_words=False, break_on_hyphens=False,
    )  # fmt: skip
