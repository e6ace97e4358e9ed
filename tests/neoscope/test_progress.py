"""Progress is a bar on a terminal, whole lines in a log, and silent for what is soon done."""

from __future__ import annotations

import io
import sys

import pytest

from neoscope import progress


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_terminal_gets_a_bar(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "QUIET_SECONDS", 0.0)
    monkeypatch.setattr(sys, "stderr", Terminal())
    with progress.open_bar(3, "row") as bar:
        bar.update(3)
    assert "\r" in sys.stderr.getvalue() and "3/3" in sys.stderr.getvalue()  # type: ignore[attr-defined]


def test_a_log_gets_whole_lines(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(progress, "LINE_SECONDS", 0.0)
    for total in (1200, None):
        with progress.open_bar(total, "row") as bar:
            bar.set_postfix_str("7 tokens", refresh=False)
            bar.update(1000)
    assert capsys.readouterr().err.splitlines() == [
        "1,000 of 1,200 rows in 0 s, 7 tokens",
        "1,000 rows in 0 s, 7 tokens",
    ]


def test_a_line_comes_twice_a_minute_at_most(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    clock = iter(range(0, 1000, 10))
    monkeypatch.setattr("neoscope.progress.time.monotonic", lambda: next(clock))
    with progress.Progress(True, 9, "site") as bar:
        for _ in range(9):
            bar.update()
    said = capsys.readouterr().err.splitlines()
    assert said == [f"{n} of 9 sites in {n * 10} s" for n in (3, 6, 9)]
