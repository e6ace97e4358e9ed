"""Figures of what parts of the model add to a logit."""
