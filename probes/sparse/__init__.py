"""Probes that read few neurons."""
