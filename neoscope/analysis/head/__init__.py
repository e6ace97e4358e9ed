"""Heads: scored for what they are known to do, and profiled over texts."""
