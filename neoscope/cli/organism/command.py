"""``neoscope organism``: the bundled model and its language."""

from __future__ import annotations

import typer

from neoscope.cli.organism import card as organism_card
from neoscope.cli.organism import eval as organism_eval
from neoscope.cli.organism import sample as organism_sample

app = typer.Typer(
    no_args_is_help=True,
    help="The bundled model and its language: what it is, sentences of it, and its exam.",
)
app.command("card")(organism_card.card)
app.command("sample")(organism_sample.sample)
app.command("eval")(organism_eval.evaluate)
