"""``neoscope organism`` and its commands."""
