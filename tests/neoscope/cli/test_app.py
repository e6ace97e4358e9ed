"""The command line's root: commands, exit codes, and errors of one line."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import sysconfig
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

import neoscope
from neoscope.cli import app, info
from neoscope.errors import CheckpointError

SCRIPT = str(Path(sysconfig.get_path("scripts")) / "neoscope")
RUNNER = CliRunner()


def script(*args: str, **options: Any) -> subprocess.CompletedProcess[str]:
    return subprocess.run([SCRIPT, *args], capture_output=True, text=True, check=False, **options)


def fail_with(error: BaseException, monkeypatch: pytest.MonkeyPatch) -> None:
    """Make ``neoscope info`` fail."""

    def fail(*args: object) -> None:
        raise error

    monkeypatch.setattr(info, "_facts", fail)


def test_version() -> None:
    result = RUNNER.invoke(app, ["--version"])
    assert result.exit_code == 0
    assert result.stdout == f"neoscope {neoscope.__version__}\n"


@pytest.mark.parametrize("option", ["-h", "--help"])
def test_help_names_every_command(option: str) -> None:
    result = RUNNER.invoke(app, [option])
    assert result.exit_code == 0
    assert all(name in result.stdout for name in ("info", "cache", "verify"))


@pytest.mark.parametrize("command", ["info", "cache", "verify"])
def test_help_of_every_command_explains_its_model(command: str) -> None:
    result = RUNNER.invoke(app, [command, "--help"], env={"COLUMNS": "100"})
    assert result.exit_code == 0
    assert "A hub id, a folder, a weight file" in result.stdout


@pytest.mark.parametrize(
    ("args", "message"),
    [
        ([], "Usage"),
        (["--debug"], "Usage"),
        (["bogus"], "No such command 'bogus'"),
        (["info", "--bogus"], "No such option"),
        (["info", "a", "b"], "unexpected extra argument"),
    ],
)
def test_wrong_usage_exits_with_2(args: list[str], message: str) -> None:
    result = RUNNER.invoke(app, args)
    assert result.exit_code == 2
    assert message in result.output


def test_library_error_is_one_line_and_exit_code_1() -> None:
    result = RUNNER.invoke(app, ["info", "no-such/model"])
    assert result.exit_code == 1
    assert result.stdout == ""
    assert result.stderr.count("\n") == 1
    assert result.stderr.startswith("error: 'no-such/model': ")


def test_message_of_several_lines_is_joined(monkeypatch: pytest.MonkeyPatch) -> None:
    fail_with(CheckpointError("first\n  second"), monkeypatch)
    assert RUNNER.invoke(app, ["info"]).stderr == "error: first second\n"


def test_debug_raises_it() -> None:
    result = RUNNER.invoke(app, ["--debug", "info", "no-such/model"])
    assert isinstance(result.exception, CheckpointError)


def test_script_shows_a_traceback_only_when_asked() -> None:
    for args in (("info", "no-such/model", "--debug"), ("--debug", "info", "no-such/model")):
        done = script(*args)
        assert done.returncode == 1
        assert "Traceback" in done.stderr
        assert "CheckpointError: 'no-such/model'" in done.stderr
    done = script("info", "no-such/model")
    assert done.returncode == 1
    assert done.stderr.startswith("error: ")
    assert done.stderr.count("\n") == 1


def test_debug_after_two_dashes_is_a_model() -> None:
    result = RUNNER.invoke(app, ["info", "--", "--debug"])
    assert result.exit_code == 1
    assert "--debug" in result.stderr
    assert isinstance(result.exception, SystemExit)


def test_bug_is_one_line_that_says_how_to_see_more(monkeypatch: pytest.MonkeyPatch) -> None:
    fail_with(ZeroDivisionError("division\nby zero"), monkeypatch)
    result = RUNNER.invoke(app, ["info"])
    assert result.exit_code == 1
    assert result.stderr.count("\n") == 1
    assert result.stderr.startswith("error: unexpected ZeroDivisionError: division by zero;")
    assert "--debug" in result.stderr
    assert isinstance(RUNNER.invoke(app, ["--debug", "info"]).exception, ZeroDivisionError)


@pytest.mark.parametrize(
    "error", [MemoryError(), RuntimeError("DefaultCPUAllocator: can't allocate memory: 9 bytes")]
)
def test_lack_of_memory_is_no_bug(error: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    fail_with(error, monkeypatch)
    result = RUNNER.invoke(app, ["info"])
    assert result.exit_code == 1
    assert result.stderr.startswith("error: not enough memory")


def test_interrupt_exits_with_130(monkeypatch: pytest.MonkeyPatch) -> None:
    fail_with(KeyboardInterrupt(), monkeypatch)
    result = RUNNER.invoke(app, ["info"])
    assert result.exit_code == 130
    assert result.stderr.count("\n") == 1


def test_errors_are_red_unless_no_color_is_set() -> None:
    plain = {"NO_COLOR": "1"}
    assert "\x1b[31m" in RUNNER.invoke(app, ["info", "no/model"], color=True).stderr
    assert "\x1b" not in RUNNER.invoke(app, ["info", "no/model"], color=True, env=plain).stderr


def test_module_runs_as_the_script_does() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "neoscope", "--version"], capture_output=True, text=True, check=True
    )
    assert done.stdout == script("--version").stdout


@pytest.mark.skipif(os.name == "nt", reason="signals are POSIX's")
def test_ctrl_c_while_writing_leaves_no_file(tmp_path: Path) -> None:
    program = """
import signal, time
from pathlib import Path
import safetensors.torch
signal.signal(signal.SIGINT, signal.default_int_handler)
def slow(tensors, path, metadata):
    Path(path).write_bytes(b"half")
    print("writing", flush=True)
    time.sleep(60)
safetensors.torch.save_file = slow
from neoscope.cli import main
main()
"""
    process = subprocess.Popen(
        [sys.executable, "-c", program, "cache", "--out", str(tmp_path / "run.safetensors")],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "writing\n"
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=30)
    assert process.returncode == 130
    assert out == ""
    assert err.splitlines()[-1].startswith("interrupted")
    assert "Traceback" not in err
    assert list(tmp_path.iterdir()) == []


PAUSED = """
import signal, sys, types
from pathlib import Path
signal.signal(signal.SIGINT, signal.default_int_handler)
folder, during = sys.argv[1:]
Path(folder, "plotly.py").write_text(
    "import time\\nprint('importing', flush=True)\\n"
    "try:\\n    time.sleep(60)\\nexcept BaseException:\\n    pass\\nraise AttributeError('lost')"
)
from neoscope.cli import info, main
def slow(*args):
    if during == "plotly":
        import plotly
    print("working", flush=True)
    import time
    time.sleep(60)
info._facts = slow
sys.argv[1:] = ["info"]
main()
"""


@pytest.mark.skipif(os.name == "nt", reason="signals are POSIX's")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("during", ["plotly", "work"])
def test_both_signals_end_a_command_in_one_line(
    number: signal.Signals, during: str, tmp_path: Path
) -> None:
    """While libraries load, too: there the exception would be lost."""
    process = subprocess.Popen(
        [sys.executable, "-c", PAUSED, str(tmp_path), during],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
    )  # fmt: skip
    assert process.stdout is not None
    assert process.stdout.readline() in ("importing\n", "working\n")
    process.send_signal(number)
    _, err = process.communicate(timeout=30)
    assert process.returncode == 128 + number
    assert err.startswith("interrupted") and err.count("\n") == 1


def test_what_is_not_there_is_wrong_use() -> None:
    for args in (["cache", "--layers", "9"], ["cache", "--file", "no.txt"], ["info", "--no"]):
        result = RUNNER.invoke(app, args)
        assert result.exit_code == 2, result.output
    assert RUNNER.invoke(app, ["info", "./no-such-folder"]).exit_code == 1


def test_arguments_are_named_as_options() -> None:
    result = RUNNER.invoke(app, ["cache", "--device", "cuda:77"])
    assert result.stderr.startswith("error: --device 'cuda:77': torch ")


@pytest.mark.skipif(os.name == "nt", reason="pipes are POSIX's")
@pytest.mark.parametrize("args", [["info"], ["info", "--json"], ["--help"]], ids=" ".join)
def test_closed_pipe_is_met_in_silence(args: list[str]) -> None:
    read, write = os.pipe()
    os.close(read)
    done = subprocess.run(
        [SCRIPT, *args], stdout=write, stderr=subprocess.PIPE, text=True, check=False
    )
    os.close(write)
    assert done.stderr == ""
    assert done.returncode == 141


def test_package_that_breaks_when_imported_is_no_bug_of_neoscope(tmp_path: Path) -> None:
    (tmp_path / "pandas.py").write_text("raise ImportError('odd')")
    done = script("info", env={**os.environ, "PYTHONPATH": str(tmp_path)})
    assert done.returncode == 1
    assert done.stderr == (
        "error: the package 'pandas' cannot be imported "
        f"(ImportError: odd; {tmp_path / 'pandas.py'}); neoscope doctor says more\n"
    )


def test_command_line_without_typer_says_where_to_look(tmp_path: Path) -> None:
    (tmp_path / "typer.py").write_text("raise ImportError('odd')")
    done = script("info", env={**os.environ, "PYTHONPATH": str(tmp_path)})
    assert done.returncode == 1
    assert done.stderr.startswith("error: the package 'typer' cannot be imported (")
    assert done.stderr.endswith("; python -m neoscope.doctor says more\n")
    assert done.stderr.count("\n") == 1


def test_no_color_outdoes_force_color() -> None:
    done = script("--help", env={**os.environ, "FORCE_COLOR": "1", "NO_COLOR": "1"})
    assert "\x1b" not in done.stdout


def test_terminal_that_knows_few_letters_gets_question_marks(tmp_path: Path) -> None:
    out = str(tmp_path / "run.safetensors")
    environment = os.environ | {"PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0"}
    done = script("cache", "--text", "Zoë smiled when", "--out", out, env=environment)
    assert done.returncode == 0
    assert re.search(r"^after Zo\? smiled when$", done.stdout, re.MULTILINE)
