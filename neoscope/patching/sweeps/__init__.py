"""Sweeps: the exact effects of all cells of a grid."""
