"""ProbeCard: what a probe was trained on, kept beside it and compared with what it is given."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from probes.data.places import Place, Source


@dataclass(frozen=True)
class ProbeCard:
    """What a fitted probe was trained on and how good it was."""

    place: Place
    """Where its features come from."""
    source: Source = field(default_factory=Source)
    """The model that made them."""
    label: str | None = None
    """What it predicts, such as ``upos``."""
    n_rows: int = 0
    """Rows that it was trained on."""
    n_groups: int = 0
    """Sentences, documents or whatever was kept together."""
    metrics: Mapping[str, Any] = field(default_factory=dict)
    """Figures on untouched test data, by name."""
    version: str = ""
    """Of neoscope, when it was trained."""
    notes: Mapping[str, Any] = field(default_factory=dict)
    """Whatever else should be remembered, as plain JSON values."""
