"""The command line: one command a file; each parses, calls the library and prints."""

from __future__ import annotations

from neoscope.cli.app import app, main

__all__ = ["app", "main"]
