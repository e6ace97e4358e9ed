"""``neoscope eval``."""
