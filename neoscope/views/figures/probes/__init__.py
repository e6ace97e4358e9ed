"""Figures of probes: sweeps, confusion, use, and the desk where labels are reviewed."""
