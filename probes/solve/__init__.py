"""Solvers that fit many probes of one design matrix together, as products of matrices."""
