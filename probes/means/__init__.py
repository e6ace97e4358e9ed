"""Probes that learn class means and nothing else, or their covariance too."""
