"""Data for probes: rows of features by place, their labels, groups and splits."""
