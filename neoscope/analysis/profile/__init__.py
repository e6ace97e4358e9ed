"""Profiles: where heads look over a corpus, by how far back it lies."""
