"""``neoscope attribute``."""
