"""``python -m neoscope``: the command line."""

from neoscope.cli import main

main()
