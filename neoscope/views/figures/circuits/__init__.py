"""Figures of circuits: graphs, paths, faithfulness."""
