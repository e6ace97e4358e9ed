"""``neoscope heads``: what each attention head does, and what its window rules out."""

from __future__ import annotations

import re
import time
import warnings
from typing import TYPE_CHECKING, Any

import typer

from neoscope.cli.heads import options as o
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
    from neoscope.analysis import HeadScores
    from neoscope.model import HookedGPTNeo

_ARGUMENT = re.compile(r"(?<![\w.-])(gap|length|n|batch_tokens)(?=[= ])=?")


def heads(
    model: Model = "organism",
    text: o.Text = None,
    file: o.File = None,
    gap: o.Gap = None,
    length: o.Length = None,
    n: o.Count = None,
    prepend_bos: o.PrependBos = None,
    score: o.Score = None,
    weighted: o.Weighted = o.Weighting.attention,
    seed: o.Seed = 0,
    top: o.Top = 10,
    out: o.Out = None,
    batch_tokens: o.BatchTokens = 4096,
    revision: Revision = None,
    dtype: DtypeOption = Dtype.float32,
    device: Device = "cpu",
    as_json: Json = False,
) -> None:
    """Show what each head does: previous token, duplicate, induction, copying and more.

    Without texts: repeats of random tokens. What a local head's window rules out is "cannot".
    """
    texts = o.read_texts(text, file)
    gaps = split_ints(gap, "--gap")
    repeats = {"--gap": gaps, "--length": length, "--n": n}
    for name, value in repeats.items():
        if texts is not None and value is not None:
            raise typer.BadParameter(f"{name} is for repeats of random tokens, not for texts")
    o.check_out(out)
    if score is not None:
        from neoscope.analysis.head.kinds import check

        check(score)
    loaded = load_model(model, revision=revision, dtype=dtype, device=device, quiet=as_json)
    began = time.perf_counter()
    found = _run(
        loaded,
        score,
        texts=texts,
        gap=gaps,
        length=length,
        n=n,
        prepend_bos=prepend_bos,
        weighted=weighted.value,
        seed=seed,
        batch_tokens=batch_tokens,
        progress=not as_json,
    )
    seconds = time.perf_counter() - began
    written = None if out is None else found.save(out)
    from neoscope.cli.heads import show as heads_show

    if as_json:
        heads_show.show_json(found, score, top, written, seconds=seconds)
    else:
        heads_show.show(loaded, found, score, top, written, seconds=seconds)
    if not found.complete:
        kept = f"; {written} holds what was measured" if written else ""
        raise KeyboardInterrupt(f"interrupted after {found.n_texts:,} texts{kept}")


def _run(model: HookedGPTNeo, score: str | None, **options: Any) -> HeadScores:
    """Measure, what the library says of its arguments said in options.

    Raises:
        NeoscopeError: As the library raises.
    """
    from neoscope.analysis.head.kinds import HEAD_SCORES, threshold
    from neoscope.analysis.head.reading import heads
    from neoscope.errors import NeoscopeError

    scores = None if score is None else [score]
    twin = f"{score}_beyond"
    if scores and twin in HEAD_SCORES and threshold(model.config) is not None:
        scores.append(twin)
    try:
        with warnings.catch_warnings():
            # An interruption is told at the end, after what was measured.
            warnings.filterwarnings("ignore", message="interrupted: ", category=UserWarning)
            return heads(model, scores=scores, **options)
    except NeoscopeError as error:
        said = _ARGUMENT.sub(lambda match: f"--{match[1].replace('_', '-')} ", str(error))
        raise type(error)(" ".join(said.split())) from error
