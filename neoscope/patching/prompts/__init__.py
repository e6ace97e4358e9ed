"""Pairs of prompts, aligned token by token."""
