"""``neoscope run``: let a model write, whole or with parts of it switched off."""

from __future__ import annotations

import sys
from typing import Any

import typer

from neoscope.cli.ablating import edits_of, read_ablations
from neoscope.cli.options import Device, Dtype, DtypeOption, Json, Model, Revision, load_model
from neoscope.cli.run import options as o

# A taste of what the bundled model can do: indirect objects, agreement, negation, facts.
_OWN_PROMPTS = (
    "When Mary and John went to the store, John gave a drink to",
    "The keys near the cabinet",
    "The film was not good, so I",
    "Captain Harlan plays the",
)


def run(
    model: Model = "organism",
    prompt: o.Prompt = None,
    file: o.File = None,
    prepend_bos: o.PrependBos = False,
    max_new_tokens: o.MaxNewTokens = None,
    max_length: o.MaxLength = None,
    min_new_tokens: o.MinNewTokens = None,
    min_length: o.MinLength = None,
    stop: o.Stop = None,
    do_sample: o.DoSample = False,
    temperature: o.Temperature = None,
    top_k: o.TopK = None,
    top_p: o.TopP = None,
    min_p: o.MinP = None,
    typical_p: o.TypicalP = None,
    repetition_penalty: o.RepetitionPenalty = None,
    no_repeat_ngram_size: o.NoRepeatNgramSize = None,
    num_beams: o.NumBeams = None,
    length_penalty: o.LengthPenalty = None,
    early_stopping: o.EarlyStopping = False,
    num_return_sequences: o.Count = None,
    seed: o.Seed = None,
    ablate: o.Ablate = None,
    stream: o.Stream = None,
    batch_size: o.BatchSize = 8,
    out: o.Out = None,
    revision: Revision = None,
    dtype: DtypeOption = Dtype.float32,
    device: Device = "cpu",
    as_json: Json = False,
) -> None:
    """Continue prompts.

    Without arguments: the bundled model on prompts of its own.
    """
    options: dict[str, Any] = {
        "max_new_tokens": max_new_tokens, "max_length": max_length,
        "min_new_tokens": min_new_tokens, "min_length": min_length, "stop_strings": stop or None,
        "do_sample": do_sample or None, "temperature": temperature, "top_k": top_k, "top_p": top_p,
        "min_p": min_p, "typical_p": typical_p, "repetition_penalty": repetition_penalty,
        "no_repeat_ngram_size": no_repeat_ngram_size, "num_beams": num_beams,
        "length_penalty": length_penalty, "early_stopping": early_stopping or None,
        "num_return_sequences": num_return_sequences,
    }  # fmt: skip
    options = {name: value for name, value in options.items() if value is not None}
    ablations = read_ablations(ablate)
    prompts = o.read_prompts(prompt, file, sys.stdin)
    if not prompts and model != "organism":
        raise typer.BadParameter("give --prompt or --file: only 'organism' has prompts of its own")
    from neoscope.cli.run import writing as run_writing
    from neoscope.cli.run.words import errors_in_options

    with errors_in_options():
        run_writing.check(options, out)
    loaded = load_model(model, revision=revision, dtype=dtype, device=device, quiet=as_json)
    texts = prompts or list(_OWN_PROMPTS)
    how: dict[str, Any] = {"seed": seed, "stream": stream, "batch_size": batch_size, "out": out}
    options |= {"edits": edits_of(ablations), "prepend_bos": prepend_bos}
    with errors_in_options():
        run_writing.write(loaded, texts, options, as_json=as_json, **how)
