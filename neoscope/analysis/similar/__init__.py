"""Similarity of layers, and the shape of their clouds of states."""
