"""``neoscope heads``."""
