"""``neoscope lens``."""
