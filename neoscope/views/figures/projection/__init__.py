"""Figures of features projected to two dimensions."""
