"""The options of ``neoscope probe``, and how their values are read."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from neoscope.cli.export.options import Truncation, TruncationOption, read_layers
from neoscope.cli.options import split_sites
from neoscope.cli.spelling import one_of, underscored

__all__ = ["Truncation", "TruncationOption", "read_layers"]


class Kind(StrEnum):
    """Which probe is trained."""

    logistic = "logistic"
    ridge = "ridge"
    mlp = "mlp"
    mass_mean = "mass-mean"
    centroid = "centroid"

    def class_name(self, *, regression: bool) -> str:
        """Return what the package calls it.

        Args:
            regression: Whether labels are numbers.
        """
        if regression and self is Kind.mlp:
            return "MLPRegressorProbe"
        return {
            "logistic": "LogisticProbe",
            "ridge": "RidgeProbe",
            "mlp": "MLPProbe",
            "mass-mean": "MassMeanProbe",
            "centroid": "CentroidProbe",
        }[self.value]


class Pool(StrEnum):
    """How the tokens of a text become a row."""

    mean = "mean"
    weighted_mean = "weighted_mean"
    last = "last"
    first = "first"
    max = "max"


class OnError(StrEnum):
    """What a text that cannot be read does."""

    fail = "fail"
    null = "null"


_DATA, _FEATURES, _PROBE, _RUN = "The texts", "The features", "The probe", "The run"

Data = Annotated[
    Path,
    typer.Option(
        "--data",
        "--file",
        metavar="FILE",
        help="Labelled texts: a .jsonl, .ndjson, .csv, .tsv or .parquet file, or a folder of "
        ".parquet files.",
        rich_help_panel=_DATA,
    ),
]
TextColumn = Annotated[str, typer.Option(help="The texts.", rich_help_panel=_DATA)]
LabelColumn = Annotated[str, typer.Option(help="Their labels.", rich_help_panel=_DATA)]
GroupColumn = Annotated[
    str | None,
    typer.Option(
        help="What must not be on both sides of a split, such as the document; default each text, "
        "equal ones together.",
        rich_help_panel=_DATA,
    ),
]
Regression = Annotated[
    bool,
    typer.Option("--regression", help="Labels are numbers, not classes.", rich_help_panel=_DATA),
]
Site = Annotated[
    str,
    typer.Option(
        "--sites", "--site", help="Comma-separated, e.g. resid_post,mlp_out,z.",
        rich_help_panel=_FEATURES,
    ),
]  # fmt: skip
Layers = Annotated[
    str,
    typer.Option(
        "--layers",
        "--layer",
        help="Comma-separated, e.g. 0,3,-1 or 0-3, or all; -1 is the last.",
        rich_help_panel=_FEATURES,
    ),
]
Heads = Annotated[
    bool,
    typer.Option("--heads", help="Of sites such as z: each head.", rich_help_panel=_FEATURES),
]
PoolOption = Annotated[
    Pool,
    typer.Option(
        **one_of(Pool),
        help="How the tokens of a text become one vector.",
        rich_help_panel=_FEATURES,
    ),
]
MaxLength = Annotated[
    int | None,
    typer.Option(
        min=1, help="Most tokens of a text; default the context.", rich_help_panel=_FEATURES
    ),
]
PrependBos = Annotated[
    bool,
    typer.Option(
        "--prepend-bos",
        help="Put the beginning-of-text token first.",
        rich_help_panel=_FEATURES,
    ),
]
KindOption = Annotated[
    Kind | None,
    typer.Option(
        "--probe", **one_of(Kind), help="Default logistic; of numbers ridge, or mlp.",
        rich_help_panel=_PROBE,
    ),
]  # fmt: skip
Metric = Annotated[
    str | None,
    typer.Option(
        callback=underscored,
        help="What layers and strengths are chosen by; default accuracy, of numbers r2. Of "
        "log_loss and mae less is better, of selectivity always more.",
        rich_help_panel=_PROBE,
    ),
]
Folds = Annotated[
    int, typer.Option("--cv", min=2, help="Folds that choices are made on.", rich_help_panel=_PROBE)
]
TestSize = Annotated[
    float,
    typer.Option(help="Share of the texts that no choice sees.", rich_help_panel=_PROBE),
]
Controls = Annotated[
    bool,
    typer.Option(
        "--controls/--no-controls",
        help="Also learn labels that mean nothing, one for each last word of a text.",
        rich_help_panel=_PROBE,
    ),
]
Baselines = Annotated[
    bool,
    typer.Option(
        "--baselines/--no-baselines",
        help="Compare with the majority, a bag of embeddings and a random twin of the model.",
        rich_help_panel=_PROBE,
    ),
]
Mdl = Annotated[
    bool,
    typer.Option("--mdl", help="Also measure description length.", rich_help_panel=_PROBE),
]
Seed = Annotated[int, typer.Option(min=0, help="Of splits and draws.", rich_help_panel=_RUN)]
Out = Annotated[
    Path | None,
    typer.Option(
        help="Write the best probe, and the table, to this folder; an earlier probe there is "
        "replaced.",
        metavar="FOLDER",
    ),
]
Work = Annotated[
    Path | None,
    typer.Option(
        help="Keep features and finished layers in this folder: the same command goes on, and "
        "memory holds one layer at a time.",
        metavar="FOLDER",
        rich_help_panel=_RUN,
    ),
]
BatchTokens = Annotated[
    int | None,
    typer.Option(min=1, help="Most tokens run at once; default by device.", rich_help_panel=_RUN),
]

Probe = Annotated[
    Path, typer.Argument(metavar="PROBE", help="The folder that --out of 'neoscope probe' wrote.")
]
File = Annotated[
    Path,
    typer.Option(
        "--file",
        "--data",
        metavar="FILE",
        help="Texts: a .txt (one a line; its number, from 0, is its id), .jsonl, .ndjson, .csv, "
        ".tsv or .parquet file.",
    ),
]
ApplyModel = Annotated[
    str | None,
    typer.Option("--model", help="The model that it was trained on, if it lies elsewhere now."),
]
AnySource = Annotated[
    bool,
    typer.Option("--any-source", help="Apply it to another model than it was trained on."),
]
OnErrorOption = Annotated[
    OnError,
    typer.Option(
        **one_of(OnError),
        help="What a text that cannot be read does: end the run, or go without a label.",
    ),
]
ApplyOut = Annotated[
    Path | None,
    typer.Option(
        help="Write a line of JSON a text to this .jsonl or .ndjson file.", metavar="PATH"
    ),
]
ApplyJson = Annotated[
    bool, typer.Option("--json", help="Print a line of JSON a text instead of a table.")
]
Top = Annotated[int, typer.Option(min=1, help="How many texts the table shows.")]


def read_sites(value: str) -> list[str]:
    """Read ``"resid_post,mlp_out"``.

    Raises:
        typer.BadParameter: There is nothing in it.
    """
    return split_sites(value, "--sites") or []
