"""A queue remembers every decision, through crashes and beside other readers and writers."""

from __future__ import annotations

import json
import os
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from neoscope.errors import ProbeError
from probes.filtering import lines
from probes.filtering.review import ReviewQueue
from probes.filtering.screened import Screened


def screened(*texts: Any, reject: str = "bad", probe: str = "p" * 64) -> Screened:
    scores = np.linspace(0.9, 0.5, len(texts))
    reasons = {i: f"bad with probability {score:.2f}" for i, score in enumerate(scores)}
    return Screened(texts, scores, reasons, 0.4, reject, probe, "m" * 32)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "review.jsonl"


@pytest.fixture
def queue(path: Path) -> ReviewQueue:
    return ReviewQueue.open(path, screened("one", "two", "<i>three</i>"))


def ids(queue: ReviewQueue) -> list[str]:
    return [item.id for item in queue.items]


def test_only_what_a_person_kept_is_released(queue: ReviewQueue) -> None:
    assert queue.released() == []
    one, two, three = ids(queue)
    queue.keep(two, note="harmless: ä")
    queue.drop(one)
    assert queue.released() == ["two"]
    assert [item.id for item in queue.pending] == [three]
    found = {item.id: item for item in queue.items}
    assert found[two].note == "harmless: ä" and found[two].decided_at is not None
    assert found[one].decision == "drop"
    assert (found[three].score, found[three].threshold) == (0.5, 0.4)
    assert repr(queue) == "ReviewQueue(review.jsonl: 1 pending, 1 kept, 1 dropped)"
    frame = queue.to_dataframe()
    assert len(frame) == 3 and frame["text"].tolist() == ["one", "two", "<i>three</i>"]


def test_queue_goes_on_where_it_was_left(queue: ReviewQueue, path: Path) -> None:
    queue.keep(ids(queue)[0])
    again = ReviewQueue.open(path)
    assert again.items == queue.items
    # What is there already is not added again, decided or not.
    again = ReviewQueue.open(path, screened("two", "one", "four"))
    assert [item.text for item in again.items] == ["one", "two", "<i>three</i>", "four"]
    assert again.released() == ["one"]


def test_change_of_mind_and_undo(queue: ReviewQueue) -> None:
    one, two, _ = ids(queue)
    queue.keep(one)
    queue.drop(two)
    queue.drop(one)
    assert queue.released() == []
    undone = queue.undo()
    assert undone is not None and (undone.id, undone.decision) == (one, "keep")
    undone = queue.undo()
    assert undone is not None and (undone.id, undone.decision) == (two, None)
    assert queue.released() == ["one"]
    queue.undo()
    assert queue.undo() is None
    assert len(queue.pending) == 3


def test_audit_file_is_itself_a_queue(path: Path) -> None:
    lines.append(path, screened("one", None, "two").audit_records())
    queue = ReviewQueue.open(path)
    assert [item.text for item in queue.items] == ["one", "two"]
    queue.keep(ids(queue)[0])
    # The filter goes on writing while somebody decides.
    lines.append(path, screened("one", "three").audit_records())
    assert [item.text for item in queue.pending] == ["two", "three"]
    assert queue.released() == ["one"]


def test_queue_of_its_own_leaves_the_audit_alone(path: Path, tmp_path: Path) -> None:
    audit = tmp_path / "audit.jsonl"
    lines.append(audit, screened("one", "two").audit_records())
    before = audit.read_bytes()
    queue = ReviewQueue.open(path, audit)
    queue.drop(ids(queue)[1])
    assert audit.read_bytes() == before
    assert len(ReviewQueue.open(path)) == 2


def test_several_open_queues_agree(queue: ReviewQueue, path: Path) -> None:
    other = ReviewQueue.open(path)
    queue.keep(ids(queue)[0])
    assert other.released() == ["one"]
    other.drop(ids(queue)[0])
    assert queue.released() == []
    assert len(queue.pending) == len(other.pending) == 2


@pytest.mark.parametrize("other", [{"reject": "private"}, {"probe": "q" * 64}])
def test_one_filter_s_release_is_not_another_s(other: dict[str, str], queue: ReviewQueue) -> None:
    queue.keep(ids(queue)[0])
    assert queue.released() == ["one"]
    assert queue.add(screened("one", **other)) == 1
    assert [item.text for item in queue.pending] == ["two", "<i>three</i>", "one"]
    assert queue.released() == []
    queue.keep(ids(queue)[3])
    assert queue.released() == ["one"]
    queue.drop(ids(queue)[0])
    assert queue.released() == []


def test_what_is_no_text_is_counted(path: Path) -> None:
    lines.append(path, screened("one", None, 3).audit_records())
    queue = ReviewQueue.open(path)
    assert (len(queue), queue.n_no_text) == (1, 2)
    assert "1 pending, 0 kept, 0 dropped, 2 withheld that are no texts" in repr(queue)


def test_half_a_surrogate_pair_is_shown_as_letters(path: Path) -> None:
    queue = ReviewQueue.open(path, screened("a\ud83d"))
    assert queue.to_dataframe()["text"].tolist() == ["a\\ud83d"]
    assert "a\\ud83d" in queue._repr_html_()
    queue.keep(ids(queue)[0])
    assert queue.released() == ["a\ud83d"]


@pytest.mark.parametrize("cut", range(1, 12))
def test_crash_in_a_line_loses_no_earlier_one(cut: int, queue: ReviewQueue, path: Path) -> None:
    one, two, three = ids(queue)
    queue.keep(one)
    queue.drop(two)
    data = path.read_bytes()
    path.write_bytes(data[:-cut])
    again = ReviewQueue.open(path)
    assert again.released() == ["one"]
    assert len(again.pending) == 2
    again.keep(three)
    found = ReviewQueue.open(path)
    assert found.released() == ["one", "<i>three</i>"]
    assert again.items == found.items
    # Without its last byte alone, the line is still whole.
    assert found.damaged == (() if cut == 1 else (5,))
    assert ("damaged" in repr(found)) == (cut > 1)


def test_line_that_is_being_written_is_left_for_later(queue: ReviewQueue, path: Path) -> None:
    line = json.dumps({"event": "keep", "id": ids(queue)[0]}).encode() + b"\n"
    with path.open("ab") as file:
        file.write(line[:10])
        file.flush()
        assert queue.released() == []
        file.write(line[10:])
        file.flush()
    assert queue.released() == ["one"]
    assert queue.damaged == ()


def test_full_disk_leaves_no_half_line(
    queue: ReviewQueue, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before, write = path.read_bytes(), os.write
    calls = 0

    def fail(handle: int, data: Any) -> int:
        nonlocal calls
        calls += 1
        if calls > 1:
            raise OSError(28, "No space left on device")
        return write(handle, bytes(data)[:7])

    with monkeypatch.context() as patched:
        patched.setattr(os, "write", fail)
        with pytest.raises(ProbeError, match=r"cannot write .*No space left"):
            queue.keep(ids(queue)[0])
    assert path.read_bytes() == before
    assert queue.released() == []


def test_writers_at_once_lose_nothing(path: Path) -> None:
    texts = [[f"text {i} of {k} {'x' * 3000}" for i in range(20)] for k in range(4)]

    def write(mine: list[str]) -> None:
        for text in mine:
            lines.append(path, screened(text).audit_records())

    threads = [threading.Thread(target=write, args=(mine,)) for mine in texts]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    queue = ReviewQueue.open(path)
    assert sorted(item.text for item in queue.items) == sorted(
        text for mine in texts for text in mine
    )
    assert queue.damaged == ()


def test_any_text_comes_back_as_it_was(path: Path) -> None:
    texts = ["", "\n\r\n", "\u2028\x85\x1b[31m", "\ud800", '"\\', "日本", "x" * 100_000]
    assert [x.text for x in ReviewQueue.open(path, screened(*texts)).items] == texts
    assert [x.text for x in ReviewQueue.open(path).items] == texts


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('{"text": "a"}\n', "line 1 is no line of an audit or a review: its event is None"),
        ('{"event": "withheld", "id": "a", "text": "x"}\n{"event": "kept"}\n', "line 2 is no line"),
        ("once upon a time\n", "holds no lines of an audit or a review"),
        ("once upon a time", "holds no lines of an audit or a review"),
    ],
)
def test_file_of_something_else_is_refused(content: str, message: str, path: Path) -> None:
    path.write_text(content)
    with pytest.raises(ProbeError, match=message):
        ReviewQueue.open(path)
    assert path.read_text() == content


def test_missing_files_and_texts_are_named(queue: ReviewQueue, tmp_path: Path) -> None:
    with pytest.raises(ProbeError, match=r"there is no queue .*give source="):
        ReviewQueue.open(tmp_path / "none.jsonl")
    with pytest.raises(ProbeError, match="cannot read"):
        ReviewQueue.open(tmp_path / "new.jsonl", tmp_path / "none.jsonl")
    known = ids(queue)[0]
    with pytest.raises(ProbeError, match=f"has no text '{known[:-1]}'; did you mean '{known}'"):
        queue.keep(known[:-1])


def test_table_escapes_what_it_shows(queue: ReviewQueue) -> None:
    shown = queue._repr_html_()
    assert "<i>" not in shown and "&lt;i&gt;three&lt;/i&gt;" in shown
    queue.add(screened(*(f"text {i}" for i in range(60))))
    assert "and 13 more" in queue._repr_html_()
