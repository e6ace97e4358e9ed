"""What all probes share: scikit-learn's interface, arguments, scaling and descent."""
