"""Text generation: transformers' options and words, with hooks, edits and a KV cache."""

from __future__ import annotations

from neoscope.generate.generating import Generating
from neoscope.generate.result import Generated

__all__ = ["Generated", "Generating"]
