"""Figures of similarity between layers, and of the shape of their states."""
