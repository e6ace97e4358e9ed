"""A small corpus to export."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.neoscope.cli.exporting import texts


@pytest.fixture(scope="session")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("corpus") / "corpus.jsonl"
    rows = ({"id": f"r{i}", "text": t, "label": i % 3, "at": 1} for i, t in enumerate(texts(90)))
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "features"
