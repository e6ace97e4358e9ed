"""Gradients: attribution patching, what mends it, and the audit that says how far to trust it."""
