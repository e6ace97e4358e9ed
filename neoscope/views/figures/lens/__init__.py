"""Figures of lenses: what each layer would say, its calibration, its training."""
