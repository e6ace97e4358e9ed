"""``neoscope patch``."""
