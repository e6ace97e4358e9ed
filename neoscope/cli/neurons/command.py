"""``neoscope neurons``: where a neuron or a direction is active in a corpus, and what it writes."""

from __future__ import annotations

import re
import time
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from neoscope.cli.neurons import options as o
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

if TYPE_CHECKING:
    from neoscope.analysis import TopActivations
    from neoscope.model import HookedGPTNeo

_ARGUMENT = re.compile(r"(?<![\w.-])(unit|layer|site|direction|on_error|truncation|k|context)=")
_SENTENCES = 500
# Without a file these have texts of their own.
_SPEAKERS = (
    "organism", "organism-random", "organism-before", "organism-during", "organism-after",
    "gates", "facts", "direction", "outliers", "zero-tail", "rotated",
)  # fmt: skip


def neurons(
    model: Model = "organism",
    layer: o.Layer = None,
    unit: o.Unit = None,
    site: o.Site = None,
    direction: o.Direction = None,
    file: o.File = None,
    text_column: o.TextColumn = "text",
    n: o.Count = None,
    prepend_bos: o.PrependBos = False,
    truncation: o.TruncationOption = o.Truncation.stride,
    on_error: o.OnErrorOption = o.OnError.fail,
    k: o.K = 10,
    context: o.Context = 10,
    unique: o.UniqueOption = None,
    out: o.Out = None,
    batch_tokens: o.BatchTokens = None,
    revision: Revision = None,
    dtype: DtypeOption = Dtype.float32,
    device: Device = "cpu",
    as_json: Json = False,
) -> None:
    """Show where units or directions are most active in a corpus, and what they do to the logits.

    Without --file: the bundled model's own sentences.
    """
    units = split_ints(unit, "--unit")
    if (units is None) == (direction is None):
        raise typer.BadParameter("give --unit, e.g. --unit 17, or --direction FILE, one of them")
    _check_texts(model, file, n)
    o.check_out(out)
    options: dict[str, Any] = {
        "layer": layer,
        "site": site,
        "unit": units,
        "direction": None if direction is None else o.read_direction(direction),
        "k": k,
        "context": context,
        "unique": None if unique is None else unique.value,
        "prepend_bos": prepend_bos,
        "truncation": truncation.value,
        "on_error": on_error.value,
        "text_column": text_column,
        "batch_tokens": batch_tokens,
        "progress": not as_json,
    }
    loaded = load_model(model, revision=revision, dtype=dtype, device=device, quiet=as_json)
    began = time.perf_counter()
    texts = file if file is not None else own_texts(model, loaded, _SENTENCES if n is None else n)
    found = _run(loaded, texts, options)
    seconds = time.perf_counter() - began
    written = None if out is None else found.save(out)
    from neoscope.cli.neurons import show as neurons_show

    if as_json:
        neurons_show.show_json(found, written, seconds=seconds)
    else:
        neurons_show.show(loaded, found, written, seconds=seconds)
    if not found.complete:
        kept = f"; {written} holds what was seen" if written else ""
        tokens = f"{found.n_tokens:,} token{'s' * (found.n_tokens != 1)}"
        raise KeyboardInterrupt(f"interrupted after {tokens}{kept}")


def _check_texts(model: str, file: Path | None, n: int | None) -> None:
    """Refuse texts that are not there, or are asked for twice, before a model is loaded.

    Raises:
        typer.BadParameter: Neither a file nor texts of the model's own, or both.
        AnalysisError: There is no such file.
    """
    if file is None and model not in _SPEAKERS:
        raise typer.BadParameter(
            f"--file is missing: {model!r} has no texts of its own (bundled models that have are "
            f"{', '.join(_SPEAKERS)})"
        )
    if file is not None and n is not None:
        raise typer.BadParameter("--n is for sentences of the model's own, not for a --file")
    o.check_file(file)


def _run(loaded: HookedGPTNeo, texts: Any, options: dict[str, Any]) -> TopActivations:
    """Run the library; what it says of its arguments is said in options.

    Raises:
        NeoscopeError: As the library raises.
    """
    from neoscope.analysis import top_activations
    from neoscope.errors import NeoscopeError

    try:
        with warnings.catch_warnings():
            # An interruption is told at the end, after what was seen.
            warnings.filterwarnings("ignore", message="interrupted: ", category=UserWarning)
            return top_activations(loaded, texts, **options)
    except NeoscopeError as error:
        said = _ARGUMENT.sub(lambda match: f"--{match[1].replace('_', '-')} ", str(error))
        raise type(error)(said) from error


def own_texts(name: str, model: HookedGPTNeo, n: int) -> list[str]:
    """Return texts of a bundled model: sentences of all its tasks, or its prompts as text.

    Args:
        name: Of the model.
        model: Its tokenizer writes prompts out.
        n: How many sentences; compiled models have a fixed set of prompts, where they can.
    """
    from neoscope.organism import compiled, language, sentences

    if name.startswith("organism"):
        tasks = list(language.TASKS)
        counts = [n // len(tasks) + (i < n % len(tasks)) for i in range(len(tasks))]
        drawn = [sentences(task, m) for task, m in zip(tasks, counts, strict=True) if m]
        return [sentence.text for group in drawn for sentence in group]
    if name == "gates":
        rows = [*compiled.gate_prompts("and").tolist(), *compiled.gate_prompts("or").tolist()]
    elif name == "facts":
        rows = compiled.fact_prompts().tokens.tolist()
    elif name == "direction":
        rows = compiled.direction_prompts(max(4, n // 4 * 4)).tokens.tolist()
    elif name == "outliers":
        rows = compiled.outlier_prompts().tolist()
    else:
        rows = compiled.lens_prompts().tolist()
    assert model.tokenizer is not None
    return [str(model.tokenizer.decode(row)) for row in rows]
