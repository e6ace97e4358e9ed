"""Causal tracing: noise on a subject, and single states restored."""
