"""``neoscope run``."""
