"""``neoscope probe`` and ``neoscope probe apply``."""
