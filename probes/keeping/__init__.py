"""Probes and results on disk: cards, plain JSON values, and no code."""
