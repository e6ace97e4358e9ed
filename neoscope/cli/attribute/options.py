"""The options of ``neoscope attribute``."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from neoscope.cli.spelling import word_of


class By(StrEnum):
    """How finely a logit is split."""

    component = "component"
    layer = "layer"
    head = "head"
    mlp = "mlp"
    neuron = "neuron"
    source = "source"


class Method(StrEnum):
    """How input tokens are judged."""

    integrated_gradients = "integrated-gradients"
    gradient_x_input = "gradient-x-input"
    saliency = "saliency"
    occlusion = "occlusion"


_QUESTION, _INPUT = "The question", "Input tokens"

Text = Annotated[
    list[str] | None,
    typer.Option(
        help="The text, one; of the bundled model, a sentence of its own.",
        rich_help_panel=_QUESTION,
    ),
]
Answer = Annotated[
    str | None,
    typer.Option(
        help="Whose logit, one token with its space: ' Mary'; default the likeliest next token.",
        rich_help_panel=_QUESTION,
    ),
]
Wrong = Annotated[
    str | None,
    typer.Option(help="Whose logit is subtracted: ' John'.", rich_help_panel=_QUESTION),
]
Position = Annotated[
    int,
    typer.Option(help="The token after which is asked; -1 is the last.", rich_help_panel=_QUESTION),
]
PrependBos = Annotated[
    bool,
    typer.Option(
        "--prepend-bos",
        help="Put the beginning-of-text token first.",
        rich_help_panel=_QUESTION,
    ),
]
Truncate = Annotated[
    bool,
    typer.Option(
        "--truncate",
        help="Cut the text at the model's context length.",
        rich_help_panel=_QUESTION,
    ),
]
ByOption = Annotated[
    By | None,
    typer.Option(
        parser=word_of(By),
        metavar="NAME",
        help=f"Split the logit by {', '.join(By)}; default component.",
    ),
]
Input = Annotated[
    Method | None,
    typer.Option(
        "--input",
        parser=word_of(Method),
        metavar="METHOD",
        help=f"Judge the input tokens instead, by {', '.join(Method)} (needs captum).",
        rich_help_panel=_INPUT,
    ),
]
Baseline = Annotated[
    str | None,
    typer.Option(
        help="With --input: what stands for a token's absence: mean (default), zero, or a token.",
        rich_help_panel=_INPUT,
    ),
]
Steps = Annotated[
    int | None,
    typer.Option(
        min=1,
        max=100_000,
        help="With --input integrated-gradients: points of the integral; default 50.",
        rich_help_panel=_INPUT,
    ),
]
Top = Annotated[int, typer.Option(min=1, help="How many rows are shown, the largest.")]
Out = Annotated[
    Path | None,
    typer.Option(help="Write everything to this .json or .safetensors file.", metavar="PATH"),
]
