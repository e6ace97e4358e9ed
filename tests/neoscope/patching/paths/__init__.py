"""Tests of path patching."""
