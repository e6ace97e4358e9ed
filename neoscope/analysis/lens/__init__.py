"""The lens: what the model would say if it stopped at a layer."""
