"""Figures of heads: their scores, and how they compose."""
