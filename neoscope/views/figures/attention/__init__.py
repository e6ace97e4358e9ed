"""Figures of attention: one head, all heads, a corpus, flow through layers."""
