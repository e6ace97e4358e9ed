"""How the organism was trained: ``python -m neoscope.making.training --seed 0 --minutes 45``."""
