"""``neoscope cache``."""
