"""``neoscope verify``."""
