"""Losses by token."""
