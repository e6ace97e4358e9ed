"""Path patching: what one part of the model tells another, and nothing else."""
