"""Neurons: the texts which drive them most."""
