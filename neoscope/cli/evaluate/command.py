"""``neoscope eval``: scores on tasks and local files, beside what was published."""

from __future__ import annotations

from neoscope.cli.ablating import edits_of, read_ablations
from neoscope.cli.evaluate import options as o
from neoscope.cli.options import (
    Device,
    Dtype,
    DtypeOption,
    Json,
    Model,
    Revision,
    load_model,
    split_list,
)


def evaluate(
    model: Model = "organism",
    suite: o.Suite = None,
    tasks: o.Tasks = None,
    file: o.File = None,
    kind: o.Kind = None,
    name: o.Name = None,
    columns: o.Columns = None,
    regex: o.Regex = None,
    stop: o.Stop = None,
    max_new_tokens: o.MaxNewTokens = None,
    ignore_case: o.IgnoreCase = False,
    ignore_punctuation: o.IgnorePunctuation = False,
    include: o.Include = None,
    num_fewshot: o.NumFewshot = None,
    limit: o.Limit = None,
    ablate: o.Ablate = None,
    compare: o.Compare = False,
    published: o.Published = None,
    batch_tokens: o.BatchTokens = None,
    seed: o.Seed = 1234,
    samples: o.Samples = None,
    out: o.Out = None,
    revision: Revision = None,
    dtype: DtypeOption = Dtype.float32,
    device: Device = "cpu",
    as_json: Json = False,
) -> None:
    """Evaluate a model on tasks of lm-evaluation-harness, a published suite, or local files.

    Needs the extra "eval". Stock tasks download their data once; local files need no network.
    """
    names, files = split_list(tasks, "--tasks") or [], file or []
    o.check_what(suite, names, files)
    given = o.given_of(kind=kind, name=name, columns=columns)
    ignored = {"ignore_case": ignore_case, "ignore_punctuation": ignore_punctuation}
    answering = o.given_of(regex=regex, stop=stop, max_new_tokens=max_new_tokens, **ignored)
    o.check_files(files, given, answering)
    o.check_published(suite, published, compare=compare)
    o.check_out(out)
    o.check_compare(ablate or [], samples, compare=compare)
    ablations = read_ablations(ablate)
    examples, called = o.read_limit(limit), o.read_columns(columns)
    from neoscope.cli.evaluate import run

    local = run.local_tasks(files, None if kind is None else kind.value, name, called, answering)
    loaded = load_model(model, revision=revision, dtype=dtype, device=device, quiet=as_json)
    found, seconds = run.measured(
        loaded,
        None if suite is not None else [*names, *local],
        compare=compare,
        quiet=as_json,
        suite=None if suite is None else suite.value,
        include=include or [],
        num_fewshot=num_fewshot,
        limit=examples,
        edits=edits_of(ablations),
        batch_tokens=batch_tokens,
        published=None if published is None else published.value,
        samples=samples is not None,
        seed=seed,
    )
    run.tell(found, out, samples, as_json=as_json, seconds=seconds)
