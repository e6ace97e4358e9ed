"""``neoscope neurons``."""
