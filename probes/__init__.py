"""Trainers of probes over cached and stored activations land here."""

__all__: list[str] = []
