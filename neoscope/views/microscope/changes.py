"""What a microscope changes: parts switched off, steering, patches; each an edit and its code."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from functools import cached_property

from neoscope.cache import ActivationCache
from neoscope.edits import Edit, ablate, mean_ablate, replace, steer
from neoscope.errors import ViewError
from neoscope.views.microscope.directions import Direction

HOWS = {"zero": "ablate", "mean": "mean_ablate"}
"""Ways to switch a part off, and the function of neoscope.edits that does it."""


@dataclass(frozen=True)
class Switch:
    """A head or an MLP that is switched off."""

    layer: int
    head: int | None
    """None for the layer's MLP."""
    how: str
    """``"zero"``, or ``"mean"``: the mean over this prompt's own tokens."""

    @property
    def key(self) -> str:
        """One for each part: a part is switched off in one way."""
        return f"mlp {self.layer}" if self.head is None else f"head {self.layer}.{self.head}"

    @property
    def label(self) -> str:
        """What a person reads."""
        part = f"MLP {self.layer}" if self.head is None else f"head {self.layer}.{self.head}"
        return f"{part} off ({self.how})"

    @cached_property
    def edit(self) -> Edit:
        """The edit."""
        site = "mlp_out" if self.head is None else "z"
        return (ablate if self.how == "zero" else mean_ablate)(site, self.layer, self.head)

    def code(self) -> str:
        """Return the call that makes the edit."""
        part = '"mlp_out", ' if self.head is None else '"z", '
        head = "" if self.head is None else f", head={self.head}"
        return f"{HOWS[self.how]}({part}layer={self.layer}{head})"


@dataclass(frozen=True, repr=False)
class NamedEdit(Edit):
    """An edit that says more of itself than what it holds."""

    said: str = field(default="", compare=False)
    """The call that makes it."""

    def __repr__(self) -> str:
        """Return the call that makes it."""
        return self.said


@dataclass(frozen=True, eq=False)
class Steering:
    """Steps along a direction at every position."""

    direction: Direction
    layer: int
    scale: float
    """Length of the step."""

    @property
    def key(self) -> str:
        """One for each direction."""
        return f"steer {self.direction.name}"

    @property
    def label(self) -> str:
        """What a person reads."""
        plain = 0.005 <= abs(self.scale) < 1e4
        step = f"{self.scale:+.2f}" if plain else f"{self.scale:+.3g}"
        return f"{step} along {self.direction.name}, layer {self.layer}"

    @cached_property
    def edit(self) -> Edit:
        """The edit."""
        made = steer("resid_post", self.layer, self.direction.vector, self.scale)
        parts = {one.name: getattr(made, one.name) for one in fields(made)}
        return NamedEdit(**parts, said=self.code())

    def code(self) -> str:
        """Return the call that makes the edit, for a mapping ``directions``."""
        where = f"layer={self.layer}, vector=directions[{self.direction.name!r}]"
        return f'steer("resid_post", {where}, scale={self.scale!r})'


@dataclass(frozen=True, eq=False)
class Patch:
    """Values of another prompt's run."""

    other: str
    """The prompt that they come from."""
    source: ActivationCache
    site: str
    """``"resid_post"`` or ``"z"``."""
    layer: int
    head: int | None = None
    span: tuple[int, int] | None = None
    """Positions [start, stop); None for all."""

    @property
    def key(self) -> str:
        """One for each place and prompt."""
        return f"patch {self.site} {self.layer} {self.head} {self.span} {self.other}"

    @property
    def label(self) -> str:
        """What a person reads."""
        if self.head is not None:
            return f"head {self.layer}.{self.head} from the other prompt"
        assert self.span is not None
        first, last = self.span[0], self.span[1] - 1
        where = f"position {first}" if first == last else f"positions {first} to {last}"
        return f"{self.site} {self.layer}, {where} from the other prompt"

    @cached_property
    def edit(self) -> Edit:
        """The edit."""
        where = {"head": self.head} if self.span is None else {"positions": self._positions()}
        return replace(self.site, self.layer, self.source, **where)

    def code(self, source: str = "source") -> str:
        """Return the call that makes the edit.

        Args:
            source: What the other prompt's cache is called.
        """
        where = f"head={self.head}" if self.span is None else f"positions={self._positions()}"
        return f'replace("{self.site}", layer={self.layer}, value={source}, {where})'

    def _positions(self) -> list[int]:
        assert self.span is not None
        return list(range(*self.span))


@dataclass(frozen=True, eq=False)
class Given:
    """An edit that Python code made."""

    edit: Edit

    @property
    def key(self) -> str:
        """One for each edit."""
        return f"given {id(self.edit)}"

    @property
    def label(self) -> str:
        """What a person reads."""
        return repr(self.edit)

    def code(self) -> str:
        """Return the call that makes the edit.

        Raises:
            ViewError: It holds a value that its description does not tell.
        """
        if self.edit.label == "ablate":
            return repr(self.edit)
        raise ViewError(
            f"{self.edit!r} was made in Python and holds a value that cannot be written down; make "
            "it with switch_off, steer or patch, or write the code without it"
        )


Change = Switch | Steering | Patch | Given


def as_change(edit: Edit) -> Change:
    """Return a change for an edit that Python code made: a switch where it is one.

    Args:
        edit: Any.
    """
    plain = edit.positions is None and edit.keys is None and edit.unit is None
    if edit.label == "ablate" and plain and type(edit.layer) is int and edit.layer >= 0:
        if edit.site == "z" and type(edit.head) is int and edit.head >= 0:
            return Switch(edit.layer, edit.head, "zero")
        if edit.site == "mlp_out" and edit.head is None:
            return Switch(edit.layer, None, "zero")
    return Given(edit)
