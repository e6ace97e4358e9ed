"""Probes of trees: depths and distances under a linear projection."""
