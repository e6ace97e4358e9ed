"""Sweeps: one probe for every site, layer and head, chosen on folds, judged on untouched data."""
