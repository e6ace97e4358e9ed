"""``neoscope export``."""
