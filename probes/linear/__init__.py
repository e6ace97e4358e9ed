"""Linear probes of classes and numbers, fitted together over folds and strengths."""
