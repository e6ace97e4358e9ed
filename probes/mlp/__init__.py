"""Probes with hidden layers."""
