"""Names for the cells along one axis of a patching result: tokens where there are tokens."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

from neoscope.patching.results.axes import Axis
from neoscope.views.labels import visible
from neoscope.views.theme import MUTED

TITLES = {"pos": "position", "key": "key position"}
"""What an axis is called where its name is short."""
_NUMBER = re.compile(r"\s*(-?\d+) ")
_LONG, _SHORT = 90, 26
_STEPS = (1, 2, 5, 10, 20, 25, 50, 100, 200, 250, 500, 1000)
Strings = Sequence[Sequence[str]]


@dataclass(frozen=True)
class Names:
    """One axis as it is written in a figure."""

    axis: Axis
    """The axis itself, in which labels are looked up."""
    title: str
    names: tuple[str, ...]
    """Unique, escaped and whole: for hovering."""
    labels: tuple[str, ...]
    """Escaped and short: for ticks; what differs is bold, what agrees is muted."""

    def __len__(self) -> int:
        """Return the number of cells along it."""
        return len(self.names)

    @property
    def agree(self) -> tuple[bool, ...] | None:
        """For positions: whether clean and corrupted have the same token there in every pair."""
        return self.axis.agree

    @property
    def textual(self) -> bool:
        """Whether its labels are words, which need more room than numbers."""
        return any(isinstance(label, str) for label in self.axis.labels)

    def take(self, picked: Sequence[int]) -> Names:
        """Return the axis with some of its cells.

        Args:
            picked: Places along it.
        """
        return replace(
            self,
            axis=self.axis.take(list(picked)),
            names=tuple(self.names[i] for i in picked),
            labels=tuple(self.labels[i] for i in picked),
        )

    def ticks(self, most: int, *, flat: bool = False) -> dict[str, list[str]]:
        """Return plotly's ``tickvals`` and ``ticktext``: evenly every nth, and all that differ.

        Args:
            most: Most labels that are readable side by side.
            flat: Each on one line.
        """
        least = -(-len(self) // max(most, 1))
        step = next((one for one in _STEPS if one >= least), least)
        kept = set(range(0, len(self), step))
        differing = [i for i, same in enumerate(self.agree or ()) if not same]
        if step > 1 and len(differing) <= most // 2:
            near = {i + d for i in differing for d in range(1 - step, step)}
            kept = (kept - near) | set(differing)
        places = sorted(kept)
        return {
            "tickvals": [self.names[i] for i in places],
            "ticktext": [self.labels[i].replace("<br>", " " if flat else "<br>") for i in places],
        }

    def side_by_side(self, width: int) -> int:
        """Return how many labels fit side by side, upright or (words) turned.

        Args:
            width: In pixels.
        """
        widest = 16 if self.textual else 9 * max(map(letters, self.labels), default=1) + 10
        return max(2, width // widest)


def letters(label: str) -> int:
    """Return the letters of the longest line of a label.

    Args:
        label: As it is given to plotly.
    """
    plain = re.sub("<(?!br>)[^>]*>|[\u2068\u2069]", "", re.sub(r"&[^;]+;", "x", label))
    return max(map(len, plain.split("<br>")))


def names_of(axis: Axis, clean: Strings = (), corrupted: Strings = ()) -> Names:
    """Return an axis with a name and a tick label for each of its cells.

    A position is named by its tokens where all pairs have the same ones, and by the result's own
    label where pairs differ.

    Args:
        axis: Of a result.
        clean: Tokens of each clean prompt.
        corrupted: Tokens of each corrupted prompt; none where there are no such prompts.
    """
    title = TITLES.get(axis.name, axis.name)
    if axis.name in TITLES:
        found = [_position(str(label), clean, corrupted) for label in axis.labels]
    else:
        found = [(visible(str(x).strip(), _LONG), visible(str(x).strip(), _SHORT))
                 for x in axis.labels]  # fmt: skip
    names = [name for name, _ in found]
    if len(set(names)) < len(names):
        names = [f"{name} ({i})" for i, name in enumerate(names)]
    labels = [label for _, label in found]
    if axis.agree is not None and not all(axis.agree):
        labels = [
            f'<span style="color:{MUTED}">{label}</span>' if same else f"<b>{label}</b>"
            for label, same in zip(labels, axis.agree, strict=True)
        ]
    return Names(axis, visible(title), tuple(names), tuple(labels))


def _position(label: str, clean: Strings, corrupted: Strings) -> tuple[str, str]:
    """Return the name of a position in full and in short."""
    star = "*" if label.endswith("*") else ""
    found = _tokens(label, clean), _tokens(label, corrupted)
    if len(found[0]) != 1 or len(found[1]) > 1:
        label = _joined(label.strip(), found[0] + found[1])
        parts = label.strip().split("|", 1)
        if len(parts) == 1:
            return visible(label.strip(), _LONG), visible(label.strip(), _SHORT)
        first = [part if len(part) < 14 else part.split("/")[0] + "/…" for part in parts]
        return visible(label.strip(), _LONG), "<br>→ ".join(visible(x, 16) for x in first)
    number = label.split()[0]
    token, other = found[0][0], found[1][0] if found[1] else found[0][0]
    if token == other:
        return f"{number} {visible(token)}{star}", f"{number} {visible(token, 14)}{star}"
    long = f"{number} {visible(token)} → {visible(other)}{star}"
    return long, f"{number} {visible(token, 14)}<br>→ {visible(other, 14)}{star}"


def _joined(label: str, tokens: list[str]) -> str:
    """Show the space in front of each token of a label that names those of several prompts."""
    plain = not any(set("/|") & set(token) for token in tokens)
    if not tokens or not plain or not all(token.startswith(" ") for token in tokens):
        return label
    number, _, words = label.partition(" ")
    parts = ["/".join(word if word.startswith("…") else f"·{word}" for word in side.split("/"))
             for side in words.split("|")]  # fmt: skip
    return f"{number} {'|'.join(parts)}"


def _tokens(label: str, strings: Strings) -> list[str]:
    """Return the different tokens of all prompts at a labelled position; none if it is no one."""
    said = _NUMBER.match(label)
    if said is None or not strings:
        return []
    at = int(said[1])
    if any(at >= len(row) for row in strings):
        return []
    return sorted({row[at] for row in strings if at >= -len(row)})
