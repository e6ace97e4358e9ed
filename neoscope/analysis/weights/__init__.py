"""Weights read by themselves: views of them, circuits, their composition, and the embeddings."""
