"""``neoscope probe``: what each layer knows of labelled texts, and a probe kept of the best."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import typer
from typer.core import TyperCommand, TyperGroup

from neoscope.cli.options import Device, Dtype, DtypeOption, Json, Model, Revision, existing
from neoscope.cli.probe import options as o
from neoscope.cli.probe.apply import apply

_TRAIN = "train"


class _Probe(TyperGroup):
    """``apply`` is a command; whatever else follows belongs to training, as a model's name does."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Put the hidden command's name before its arguments."""
        rest = args if args[:1] == ["apply"] else [_TRAIN, *args]
        return super().parse_args(ctx, rest)

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """Let usage lines not say the hidden name."""
        name, command, rest = super().resolve_command(ctx, args)
        return (None if name == _TRAIN else name), command, rest


_Context: Any = TyperCommand.context_class


class _TrainContext(_Context):  # type: ignore[misc]  # it is Any
    """Of a command without a name of its own."""

    @property
    def command_path(self) -> str:
        """What usage lines call the command."""
        return str(super().command_path).rstrip()


class _Train(TyperCommand):
    context_class = _TrainContext


app = typer.Typer(
    cls=_Probe,
    help="What each layer knows of labelled texts; 'probe apply' applies a probe to new ones.",
)
app.command("apply")(apply)


@app.command(_TRAIN, hidden=True, cls=_Train)
def probe(
    data: o.Data,
    model: Model = "organism",
    text_column: o.TextColumn = "text",
    label_column: o.LabelColumn = "label",
    group_column: o.GroupColumn = None,
    regression: o.Regression = False,
    site: o.Site = "resid_post",
    layers: o.Layers = "all",
    heads: o.Heads = False,
    pool: o.PoolOption = o.Pool.mean,
    max_length: o.MaxLength = None,
    truncation: o.TruncationOption = o.Truncation.truncate,
    prepend_bos: o.PrependBos = False,
    kind: o.KindOption = None,
    metric: o.Metric = None,
    cv: o.Folds = 5,
    test_size: o.TestSize = 0.2,
    controls: o.Controls = True,
    baselines: o.Baselines = True,
    mdl: o.Mdl = False,
    seed: o.Seed = 0,
    out: o.Out = None,
    work: o.Work = None,
    batch_tokens: o.BatchTokens = None,
    revision: Revision = None,
    dtype: DtypeOption = Dtype.float32,
    device: Device = "cpu",
    as_json: Json = False,
) -> None:
    """Train a probe at every layer, and show how well each does on texts that no choice saw.

    Beside each stand a control task (can the probe learn labels that mean nothing?), the same layer
    of a random twin of the model, the majority class and a bag of embeddings. 'neoscope probe
    apply PROBE' applies what --out wrote to new texts.
    """
    _check_kind(kind, regression=regression)
    reading = {
        "site": o.read_sites(site), "layers": o.read_layers(layers), "heads": heads,
        "pool": pool.value, "max_length": max_length, "truncation": truncation.value,
        "prepend_bos": prepend_bos, "batch_tokens": batch_tokens,
        "kind": "regression" if regression else None, "label": label_column,
    }  # fmt: skip
    options = {
        "cv": cv, "metric": metric, "test_size": test_size, "controls": controls,
        "baselines": baselines, "mdl": mdl, "seed": seed,
    }  # fmt: skip
    from neoscope.cli.probe import folders as probe_folders
    from neoscope.cli.probe import run as probe_run
    from neoscope.cli.probe import show as probe_show

    probe_folders.check_folders(out, work)
    existing(data)
    rows = probe_run.read(data, text_column, label_column, group_column, regression=regression)
    loading = {"revision": revision, "dtype": dtype, "device": device}
    found = probe_run.run(
        model, rows, reading, options, kind=kind, work=work, quiet=as_json, loading=loading
    )
    written: Path | None = None
    if out is not None and found.sweep.complete:
        written = probe_run.save(found.sweep, out)
    probe_show.show(found, data, written, as_json=as_json)
    if not found.sweep.complete:
        raise KeyboardInterrupt(probe_run.interruption(found, work))


def _check_kind(kind: o.Kind | None, *, regression: bool) -> None:
    if kind is o.Kind.ridge and not regression:
        raise typer.BadParameter("--probe ridge is for --regression")
    if kind not in (None, o.Kind.ridge, o.Kind.mlp) and regression:
        raise typer.BadParameter(f"--probe {kind.value} is of classes; --regression has ridge, mlp")
