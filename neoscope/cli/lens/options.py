"""The options of ``neoscope lens``."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from neoscope.cli.spelling import one_of


class Site(StrEnum):
    """What is read."""

    resid_post = "resid_post"
    resid_pre = "resid_pre"
    resid_mid = "resid_mid"
    components = "components"
    attn_out = "attn_out"
    mlp_out = "mlp_out"
    heads = "heads"


class Optimizer(StrEnum):
    """What trains a lens."""

    sgd = "sgd"
    adam = "adam"


class Precision(StrEnum):
    """What the products with the vocabulary are computed in while a lens is trained."""

    float32 = "float32"
    bfloat16 = "bfloat16"


Text = Annotated[list[str] | None, typer.Option(help="A text to read; repeat it for several.")]
File = Annotated[
    Path | None, typer.Option(help="A text file: every line that is not blank is a text to read.")
]
SiteOption = Annotated[
    Site,
    typer.Option(
        "--site", "--sites", **one_of(Site),
        help="The stream, or what parts of the model write into it.",
    ),
]  # fmt: skip
Layers = Annotated[
    str | None,
    typer.Option("--layers", "--layer", help="Comma-separated, e.g. 0,3,-1 or 0-3; default all."),
]
Positions = Annotated[
    str | None, typer.Option(help="Tokens of each text, e.g. 0,-1; -1 is its last; default all.")
]
K = Annotated[
    int,
    typer.Option("-k", "--k", "--top", min=1, help="Top tokens kept in --json and --out."),
]
Targets = Annotated[
    list[str] | None,
    typer.Option("--target", help="A token whose rank is wanted, e.g. ' Mary'; repeatable."),
]
MeanCorrected = Annotated[
    bool,
    typer.Option(
        "--mean-corrected", help="Give each layer the mean of the last; needs no training."
    ),
]
Tuned = Annotated[
    Path | None, typer.Option(help="Read through the tuned lens in this folder.", metavar="FOLDER")
]
Train = Annotated[
    Path | None,
    typer.Option(
        help="Train a tuned lens on --data into this folder, or go on with it; then read through "
        "it.",
        metavar="FOLDER",
    ),
]
Data = Annotated[
    list[Path] | None,
    typer.Option(
        "--data", help="A text file to train on, a text a line; repeat it for several.",
        metavar="FILE",
    ),
]  # fmt: skip
# None where an option is not given: without --train one that is would have no effect.
Steps = Annotated[int | None, typer.Option(min=1, help="Of training; default once over --data.")]
Epochs = Annotated[
    int | None, typer.Option(min=1, help="Times over --data, instead of --steps; default 1.")
]
BatchTokens = Annotated[
    int | None, typer.Option(min=1, help="Most tokens of a step; default 2048.")
]
Rate = Annotated[float | None, typer.Option("--lr", help="Factor of the learning rate; default 1.")]
OptimizerOption = Annotated[
    Optimizer | None,
    typer.Option(**one_of(Optimizer), help="SGD with momentum, the default, or Adam."),
]
HeldOut = Annotated[
    int | None,
    typer.Option(
        min=0,
        help="Tokens of --data kept back for judging, at most a tenth of it; 0 trains on all; "
        "default 4096.",
    ),
]
BiasOnly = Annotated[
    bool, typer.Option("--bias-only", help="Train the debiased lens: an offset for each layer.")
]
PrecisionOption = Annotated[
    Precision | None,
    typer.Option(
        **one_of(Precision),
        help="Of the products with the vocabulary in training; default float32.",
    ),
]
Seed = Annotated[int | None, typer.Option(min=0, help="Of the order of --data; default 0.")]
PrependBos = Annotated[
    bool, typer.Option("--prepend-bos", help="Put the beginning-of-text token first.")
]
Truncate = Annotated[bool, typer.Option("--truncate", help="Cut texts at the context length.")]
Out = Annotated[
    Path | None,
    typer.Option(help="Keep the result in this .json or .safetensors file.", metavar="PATH"),
]
