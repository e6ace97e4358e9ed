"""Figures of neurons and the texts which drive them."""
