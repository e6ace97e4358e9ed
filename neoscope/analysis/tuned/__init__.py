"""Tuned lenses: translators from each layer to the last, trained, kept and judged."""
