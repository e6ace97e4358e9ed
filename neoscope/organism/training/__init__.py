"""How the organism was trained: ``python -m neoscope.organism.training --seed 0 --minutes 45``."""
