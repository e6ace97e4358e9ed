"""Circuits: sets of edges that are meant to do a task, and how well they do it."""
