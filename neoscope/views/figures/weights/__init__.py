"""Figures of weights alone: singular vectors of a head, and the embedding in numbers."""
