"""Figures of patching results."""
