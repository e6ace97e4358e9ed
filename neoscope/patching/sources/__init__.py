"""Sources: what a patch puts in the place of what it takes away."""
