"""Figures: a folder for each kind of result, and in it what draws it."""
