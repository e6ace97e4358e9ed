"""The subspace of a site which carries a variable, searched for."""
