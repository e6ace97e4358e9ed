"""Figures of words: text coloured by a number for each token."""
