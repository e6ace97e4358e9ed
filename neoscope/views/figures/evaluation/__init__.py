"""Figures of evaluations, one or several compared."""
