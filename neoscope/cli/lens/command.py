"""``neoscope lens``: what each layer would say, and how far that can be trusted."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from neoscope.cli.heads.options import read_texts
from neoscope.cli.lens import options as o
from neoscope.cli.options import (
    Device,
    Dtype,
    DtypeOption,
    Json,
    Model,
    Revision,
    load_model,
    split_ints,
)
from neoscope.errors import AnalysisError

if TYPE_CHECKING:
    from neoscope.analysis.tuned.weights import TunedLens
    from neoscope.model import HookedGPTNeo

_OWN_TEXT = "When Mary and John went to the store, John gave a drink to"
_SUFFIXES = (".json", ".safetensors")
_TRAINING = "steps|epochs|batch_tokens|lr|optimizer|precision|held_out|seed"
_ARGUMENT = re.compile(rf"\b({_TRAINING})='?([\w.+-]+)'?")


def lens(
    model: Model = "organism",
    text: o.Text = None,
    file: o.File = None,
    site: o.SiteOption = o.Site.resid_post,
    layers: o.Layers = None,
    positions: o.Positions = None,
    k: o.K = 10,
    target: o.Targets = None,
    mean_corrected: o.MeanCorrected = False,
    tuned: o.Tuned = None,
    train: o.Train = None,
    data: o.Data = None,
    steps: o.Steps = None,
    epochs: o.Epochs = None,
    batch_tokens: o.BatchTokens = None,
    lr: o.Rate = None,
    optimizer: o.OptimizerOption = None,
    bias_only: o.BiasOnly = False,
    precision: o.PrecisionOption = None,
    held_out: o.HeldOut = None,
    seed: o.Seed = None,
    prepend_bos: o.PrependBos = False,
    truncate: o.Truncate = False,
    out: o.Out = None,
    revision: Revision = None,
    dtype: DtypeOption = Dtype.float32,
    device: Device = "cpu",
    as_json: Json = False,
) -> None:
    """Read every layer as the output is read: logit lens, or a tuned lens that is trained here.

    Without a text: the bundled model on a sentence of its own.
    """
    _check_usage(tuned, train, data, site, mean_corrected)
    training = _training(
        train, steps=steps, epochs=epochs, batch_tokens=batch_tokens, lr=lr, optimizer=optimizer,
        bias_only=bias_only or None, precision=precision, held_out=held_out, seed=seed,
    )  # fmt: skip
    _check_out(out)
    reading: dict[str, Any] = {
        "site": site.value,
        "layers": split_ints(layers, "--layers"),
        "positions": split_ints(positions, "--positions"),
        "k": k,
        "targets": target,
    }
    texts = read_texts(text, file)
    if not texts and train is None and model != "organism":
        raise typer.BadParameter("give --text or --file: only 'organism' has a text of its own")
    corpus = [line for path in data or () for line in read_texts(None, path) or ()]
    loaded = load_model(model, revision=revision, dtype=dtype, device=device, quiet=as_json)
    given: TunedLens | None = None
    if train is not None:
        given = _trained(loaded, corpus, train, quiet=as_json, prepend_bos=prepend_bos, **training)
    elif tuned is not None:
        from neoscope.analysis.tuned.weights import TunedLens

        given = TunedLens.load(tuned)
    options = {"prepend_bos": prepend_bos, "truncate": truncate}
    _read(
        loaded, texts or [_OWN_TEXT], given, reading, mean_corrected, options, out, as_json=as_json
    )


def _check_usage(
    tuned: Path | None,
    train: Path | None,
    data: list[Path] | None,
    site: o.Site,
    mean_corrected: bool,
) -> None:
    if train is not None and tuned is not None:
        raise typer.BadParameter("--train reads through the lens it trains; leave out --tuned")
    if train is not None and not data:
        raise typer.BadParameter("--train needs text to train on: --data FILE, a text a line")
    if data and train is None:
        raise typer.BadParameter("--data is what --train FOLDER trains on")
    if (train or tuned) and site not in (o.Site.resid_post, o.Site.resid_pre):
        raise typer.BadParameter(
            f"--site {site.value} has no translators; a tuned lens reads resid_post and resid_pre"
        )
    if (train or tuned) and mean_corrected:
        raise typer.BadParameter("--mean-corrected is for the logit lens; a tuned lens learned it")


def _training(train: Path | None, **options: Any) -> dict[str, Any]:
    """Return the options of a training that were given; refuse those that would have no effect."""
    given = {name: getattr(x, "value", x) for name, x in options.items() if x is not None}
    if given and train is None:
        said = ", ".join(f"--{name.replace('_', '-')}" for name in given)
        raise typer.BadParameter(f"{said}: only --train FOLDER trains a lens")
    if {"steps", "epochs"} <= given.keys():
        raise typer.BadParameter("--steps and --epochs both say how long to train; give one")
    return given


def _check_out(out: Path | None) -> None:
    if out is None:
        return
    if out.suffix.lower() not in _SUFFIXES:
        raise typer.BadParameter(f"--out {out}: its name must end in {' or '.join(_SUFFIXES)}")
    if not out.expanduser().absolute().parent.is_dir():
        raise AnalysisError(f"cannot write {out}: the folder {out.parent} does not exist")


def _trained(
    model: HookedGPTNeo, corpus: list[str], folder: Path, *, quiet: bool, **options: Any
) -> TunedLens:
    """Train, with a bar on a terminal.

    Raises:
        AnalysisError: As the library raises, said in options.
        KeyboardInterrupt: What was trained is in the folder, and the same command goes on.
    """
    import warnings

    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TimeRemainingColumn

    from neoscope.analysis.tuned.weights import TunedLens

    console = Console(stderr=True, quiet=quiet)
    columns = ("training steps", BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    hidden = quiet or not console.is_terminal
    with (
        Progress(*columns, console=console, transient=True, disable=hidden) as bar,
        warnings.catch_warnings(),
    ):
        warnings.filterwarnings("ignore", message="interrupted: ")
        task = bar.add_task("steps", total=None)
        try:
            found = TunedLens.train(
                model,
                corpus,
                folder=folder,
                progress=lambda done, total: bar.update(task, completed=done, total=total),
                **options,
            )
        except AnalysisError as error:
            said = _ARGUMENT.sub(lambda x: f"--{x[1].replace('_', '-')} {x[2]}", str(error))
            raise AnalysisError(said) from error
    total = found.card["settings"]["steps"]
    if found.card["steps"] < total:
        raise KeyboardInterrupt(
            f"interrupted; {found.card['steps']:,} of {total:,} steps are done; the same command "
            f"goes on from {folder}"
        )
    return found


def _read(
    model: HookedGPTNeo,
    texts: list[str],
    given: TunedLens | None,
    reading: dict[str, Any],
    mean_corrected: bool,
    options: dict[str, Any],
    out: Path | None,
    *,
    as_json: bool,
) -> None:
    import torch

    from neoscope.analysis.lens.reading import logit_lens, tuned_lens
    from neoscope.cli.lens import show as lens_show

    sites = {"components": ["embed", "pos_embed", "attn_out", "mlp_out"], "heads": ["z"]}
    wanted = sites.get(reading["site"], ["resid_pre", reading["site"]])
    tokens = model.tokenize(texts, **options)
    with torch.no_grad():
        _, cache = model.run_with_cache(
            tokens, sites=list(dict.fromkeys([*wanted, "resid_post"])), return_type=None
        )
    if given is not None:
        found = tuned_lens(cache, given, model, **reading)
    else:
        found = logit_lens(cache, model, mean_corrected=mean_corrected, **reading)
    path = None if out is None else found.save(out)
    if as_json:
        lens_show.show_json(found, texts, given, path)
    else:
        lens_show.show(model, found, texts, given, path)
