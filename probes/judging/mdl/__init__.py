"""Minimum description length: how many bits the labels cost given the features."""
