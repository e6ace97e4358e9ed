"""ReviewQueue: what a filter withheld, and what a person decided of each text."""

from __future__ import annotations

import html
import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from neoscope.errors import ProbeError, nearest
from probes.filtering import lines
from probes.filtering.screened import Screened, writable

if TYPE_CHECKING:
    import pandas

_SHOWN = 50
_COPIED = ("event", "id", "text", "score", "threshold", "class", "reason", "probe", "model", "time")


@dataclass(frozen=True)
class ReviewItem:
    """A text that a probe withheld as a class, and what was decided of it.

    Attributes:
        id: Made from text, class and probe: equal texts that one filter withheld are one item, and
            another filter's are another item, to be decided anew.
        text: As it was generated; nothing is escaped.
        score: Probability of the rejected class; None where it could not be scored.
        threshold: What it was held against.
        reject: The rejected class.
        reason: Why it was withheld.
        withheld_at: UTC, ISO 8601.
        probe: SHA-256 of the probe's card.
        model: Fingerprint of the model.
        decision: ``keep`` or ``drop``; None while nobody decided.
        note: What the person wrote beside it.
        decided_at: UTC, ISO 8601.
    """

    id: str
    text: str
    score: float | None
    threshold: float | None
    reject: str
    reason: str
    withheld_at: str
    probe: str
    model: str
    decision: str | None = None
    note: str = ""
    decided_at: str | None = None


class ReviewQueue:
    """A file of JSON lines in which a person keeps or drops what a filter withheld.

    The file is an audit file of :meth:`ContentFilter.screen`, to which decisions are added, or one
    of its own that texts are added to. Lines are only ever added, and are on disk when a method
    returns: a crash loses nothing, a queue that is opened again goes on, and several may be open at
    once. Of two decisions on an item the later holds. Only what a person kept is released, and of a
    text that several filters withheld (another class or probe) only what was kept for each of them.
    What is no text (None, a number) stands in the audit alone: there is nothing to decide of it.

    Example:
        >>> import tempfile
        >>> from probes.filtering.lines import append
        >>> line = {"event": "withheld", "id": "a1", "text": "Hm.", "reason": "toxic"}
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     append(Path(folder) / "audit.jsonl", [line])
        ...     queue = ReviewQueue.open(folder + "/audit.jsonl")
        ...     queue.keep("a1", note="harmless")
        ...     queue.released()
        ['Hm.']
    """

    def __init__(self, path: Path) -> None:
        """Read a file; :meth:`open` is the usual way.

        Args:
            path: The file; it need not be there yet.
        """
        self.path = path
        self.damaged: tuple[int, ...] = ()
        """Lines, from 1, that a crash cut short."""
        self.n_no_text = 0
        """How often the file says that something was withheld that is no text."""
        self._items: dict[str, ReviewItem] = {}
        self._decisions: list[tuple[str, str, str, str]] = []
        self._end = self._n_lines = 0
        self.refresh()

    @classmethod
    def open(
        cls,
        path: str | os.PathLike[str],
        source: Screened | str | os.PathLike[str] | None = None,
    ) -> ReviewQueue:
        """Open a queue, or go on with one.

        Args:
            path: An audit file, or a file of the queue's own, made if a source is given.
            source: What was withheld: adds the texts that are not in the queue yet. A
                :class:`Screened`, or an audit file.

        Raises:
            ProbeError: It is not there, cannot be read, or holds something else.
        """
        target = Path(path).expanduser()
        if source is None and not target.exists():
            raise ProbeError(
                f"there is no queue {target}; give source= (a Screened, or an audit file) to begin "
                "one"
            )
        queue = cls(target)
        if isinstance(source, Screened):
            queue.add(source)
        elif source is not None:
            other = lines.read(Path(source).expanduser())
            lines.check_ours(Path(source), other)
            queue._add([record for _, record in other.lines if record["event"] == "withheld"])
        return queue

    def add(self, screened: Screened) -> int:
        """Add what a filter withheld, and return how many texts are new.

        Raises:
            ProbeError: The file cannot be written.
        """
        return self._add(screened.audit_records())

    def refresh(self) -> None:
        """Read what was added to the file since; the other methods do so themselves.

        Raises:
            ProbeError: The file cannot be read, or holds something else.
        """
        if not self.path.exists():
            return
        found = lines.read(self.path, self._end)
        lines.check_ours(self.path, found, self._n_lines)
        self.damaged += tuple(self._n_lines + number for number in found.damaged)
        self._end, self._n_lines = found.end, self._n_lines + found.n_lines
        for _, record in found.lines:
            self._take(record)

    @property
    def items(self) -> list[ReviewItem]:
        """All texts, in the order in which they were first withheld."""
        self.refresh()
        decided = {at: rest for at, *rest in self._decisions}
        return [
            replace(item, decision=said[0], note=said[1], decided_at=said[2])
            if (said := decided.get(item.id))
            else item
            for item in self._items.values()
        ]

    @property
    def pending(self) -> list[ReviewItem]:
        """The texts of which nothing is decided."""
        return [item for item in self.items if item.decision is None]

    def keep(self, id: str, note: str = "") -> None:
        """Decide that a text may be released.

        Args:
            id: The item's.
            note: Why, if you like.

        Raises:
            ProbeError: There is no such text, or the file cannot be written.
        """
        self._decide("keep", id, note)

    def drop(self, id: str, note: str = "") -> None:
        """Decide that a text stays withheld.

        Args:
            id: The item's.
            note: Why, if you like.

        Raises:
            ProbeError: There is no such text, or the file cannot be written.
        """
        self._decide("drop", id, note)

    def undo(self) -> ReviewItem | None:
        """Take the latest decision back, whoever made it, and return its text's item as it is now.

        Returns:
            None where there is no decision.

        Raises:
            ProbeError: The file cannot be written.
        """
        self.refresh()
        if not self._decisions:
            return None
        id = self._decisions[-1][0]
        lines.append(self.path, [{"event": "undo", "id": id, "time": lines.now()}])
        return next(item for item in self.items if item.id == id)

    def released(self) -> list[str]:
        """Return the texts that a person kept for every filter that withheld them, each once."""
        items = self.items
        held = {item.text for item in items if item.decision != "keep"}
        return list(dict.fromkeys(item.text for item in items if item.text not in held))

    def to_dataframe(self) -> pandas.DataFrame:
        r"""Return a frame of an item each; half a surrogate pair is shown as ``\ud83d``."""
        import pandas as pd

        names = list(ReviewItem.__dataclass_fields__)
        rows = [[writable(getattr(x, name)) for name in names] for x in self.items]
        return pd.DataFrame(rows, None, names)

    def __len__(self) -> int:
        """Return the number of texts."""
        return len(self.items)

    def __repr__(self) -> str:
        """Return one line: how many are decided, and how."""
        items = self.items
        counts = [sum(x.decision == said for x in items) for said in (None, "keep", "drop")]
        cut = f", {self.n_no_text} withheld that are no texts" if self.n_no_text else ""
        cut += f", {len(self.damaged)} damaged lines" if self.damaged else ""
        return (
            f"ReviewQueue({self.path.name}: {counts[0]} pending, {counts[1]} kept, {counts[2]} "
            f"dropped{cut})"
        )

    def _repr_html_(self) -> str:
        items = self.pending
        rows = "".join(
            f"<tr><td>{html.escape(x.id)}</td><td>{'' if x.score is None else f'{x.score:.4f}'}"
            f"</td><td>{html.escape(x.reason)}</td>"
            f'<td style="text-align:left;white-space:pre-wrap">{html.escape(x.text)}</td></tr>'
            for x in items[:_SHOWN]
        )
        head = "<tr><th>id</th><th>score</th><th>reason</th><th>text</th></tr>"
        more = f"<p>and {len(items) - _SHOWN} more</p>" if len(items) > _SHOWN else ""
        table = f"<p>{html.escape(repr(self))}</p><table>{head}{rows}</table>{more}"
        return str(writable(table))

    def _decide(self, decision: str, id: str, note: str) -> None:
        self.refresh()
        if id not in self._items:
            raise ProbeError(
                f"{self.path} has no text {id!r}{nearest(id, self._items)}; it has "
                f"{len(self._items)}"
            )
        record = {"event": decision, "id": id, "note": note, "time": lines.now()}
        lines.append(self.path, [record])

    def _add(self, records: list[Any]) -> int:
        self.refresh()
        new: dict[str, Mapping[str, Any]] = {}
        for record in records:
            if record.get("text") is not None and record["id"] not in self._items:
                new.setdefault(record["id"], {k: record[k] for k in _COPIED if k in record})
        lines.append(self.path, list(new.values()))
        self.refresh()
        return len(new)

    def _take(self, record: Mapping[str, Any]) -> None:
        event, id = record["event"], str(record.get("id"))
        if event == "undo":
            # The latest of that text: another's decision may have come in between.
            at = max((i for i, said in enumerate(self._decisions) if said[0] == id), default=None)
            if at is not None:
                del self._decisions[at]
        elif event in ("keep", "drop"):
            note, time = str(record.get("note", "")), str(record.get("time", ""))
            self._decisions.append((id, event, note, time))
        # What is no text cannot be released, so that there is nothing to decide.
        elif not isinstance(record.get("text"), str):
            self.n_no_text += 1
        elif id not in self._items:
            self._items[id] = ReviewItem(
                id=id,
                text=record["text"],
                score=record.get("score"),
                threshold=record.get("threshold"),
                reject=str(record.get("class", "")),
                reason=str(record.get("reason", "")),
                withheld_at=str(record.get("time", "")),
                probe=str(record.get("probe", "")),
                model=str(record.get("model", "")),
            )
