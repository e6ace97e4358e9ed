"""How the bundled organism was made: the scripts that train it and measure its truth card.

``python -m neoscope.making.training --seed 0`` and ``python -m neoscope.making.truth FOLDER``. They
run the model, which loads the organism; so they stand above both, and the rest below.
"""
