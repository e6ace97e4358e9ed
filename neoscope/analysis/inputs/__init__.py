"""Input attribution: which tokens of a text move a logit."""
