"""What the tests of to_store share."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from neoscope import HookedGPTNeo
from neoscope.export import FeatureSpec, to_store

LAST = FeatureSpec(layers=-1)


def export(model: HookedGPTNeo, source: Any, out: Path, *args: Any, **options: Any) -> Any:
    return to_store(model, source, out, *args, **{"progress": False, "shard_rows": 16, **options})


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir()) if path.is_file()}
