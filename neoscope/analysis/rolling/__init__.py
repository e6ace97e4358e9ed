"""Rollout and flow: attention followed down to the input."""
