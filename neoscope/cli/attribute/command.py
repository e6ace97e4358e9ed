"""``neoscope attribute``: what writes a logit, or which input tokens move it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import typer

from neoscope.cli.attribute import options as o
from neoscope.cli.options import Device, Dtype, DtypeOption, Json, Model, Revision, load_model
from neoscope.cli.patch.words import errors_in_options

if TYPE_CHECKING:
    from neoscope.analysis import Attribution, InputAttribution
    from neoscope.model import HookedGPTNeo
    from neoscope.tokens import Tokens

_TEXT = "When Mary and John went to the store, John gave a drink to"
_ANSWER, _WRONG = " Mary", " John"


@dataclass(frozen=True)
class Question:
    """What is asked of which text."""

    text: str
    answer: str | None
    """None for the likeliest next token."""
    wrong: str | None
    position: int
    prepend_bos: bool
    truncate: bool


def attribute(
    model: Model = "organism",
    text: o.Text = None,
    answer: o.Answer = None,
    wrong: o.Wrong = None,
    by: o.ByOption = None,
    input: o.Input = None,
    position: o.Position = -1,
    baseline: o.Baseline = None,
    steps: o.Steps = None,
    top: o.Top = 15,
    out: o.Out = None,
    prepend_bos: o.PrependBos = False,
    truncate: o.Truncate = False,
    revision: Revision = None,
    dtype: DtypeOption = Dtype.float32,
    device: Device = "cpu",
    as_json: Json = False,
) -> None:
    """Split a logit, or the difference of two, into what each part of the model writes into it.

    The final LayerNorm's scale is held, so that the parts add up to the model's own logit. With
    --input: which tokens of the text move it. Without a text: the bundled model on a sentence of
    its own.
    """
    _check_usage(by, input, baseline, steps)
    if text is not None and len(text) > 1:
        raise typer.BadParameter(f"--text is given {len(text)} times; a logit is of one text")
    given = text[0] if text else None
    asked = _question(model, given, answer, wrong, position, prepend_bos, truncate)
    if out is not None and out.suffix.lower() not in (".json", ".safetensors"):
        raise typer.BadParameter(f"--out {out.name} ends in neither .json nor .safetensors")
    loaded = load_model(model, revision=revision, dtype=dtype, device=device, quiet=as_json)
    with errors_in_options():
        found = _found(loaded, asked, by, input, baseline, steps, quiet=as_json)
    from neoscope.cli.attribute import show as attribute_show

    path = None if out is None else found.save(out)
    if as_json:
        attribute_show.show_json(found, asked, path, top=top)
    else:
        attribute_show.show(loaded, found, asked, path, top=top)


def _check_usage(
    by: o.By | None, input: o.Method | None, baseline: str | None, steps: int | None
) -> None:
    if input is not None and by is not None:
        raise typer.BadParameter("--by splits what the model writes; --input judges its tokens")
    if input is None and (baseline is not None or steps is not None):
        raise typer.BadParameter("--baseline and --steps are for --input METHOD")
    if input is o.Method.saliency and baseline is not None:
        raise typer.BadParameter("--input saliency compares with no --baseline")
    if steps is not None and input is not o.Method.integrated_gradients:
        raise typer.BadParameter("--steps is for --input integrated-gradients")


def _question(
    model: str,
    text: str | None,
    answer: str | None,
    wrong: str | None,
    position: int,
    prepend_bos: bool,
    truncate: bool,
) -> Question:
    if text is None and model == "organism":
        if answer is None and wrong is None:
            answer, wrong = _ANSWER, _WRONG
        text = _TEXT
    if text is None:
        raise typer.BadParameter(
            "give a text: --text 'When Mary and John ...' --answer ' Mary' --wrong ' John'"
        )
    return Question(text, answer, wrong, position, prepend_bos, truncate)


def _found(
    model: HookedGPTNeo,
    asked: Question,
    by: o.By | None,
    input: o.Method | None,
    baseline: str | None,
    steps: int | None,
    *,
    quiet: bool,
) -> Attribution | InputAttribution:
    if input is None:
        return _direct(model, asked, (by or o.By.component).value)
    options: dict[str, Any] = {
        "method": input.value.replace("-", "_"),
        "baseline": baseline or "mean",
        "progress": not quiet,
    }
    return _input(model, asked, **options, **({} if steps is None else {"steps": steps}))


def _direct(model: HookedGPTNeo, asked: Question, by: str) -> Attribution:
    from neoscope.analysis import ATTRIBUTION_SITES, direct_logit_attribution

    tokens = _tokens(model, asked)
    logits, cache = model.run_with_cache(tokens, sites=ATTRIBUTION_SITES[by])
    answer = _answer(model, asked, logits)
    return direct_logit_attribution(cache, answer, asked.wrong, by=by, position=asked.position)


def _input(model: HookedGPTNeo, asked: Question, **options: Any) -> InputAttribution:
    from neoscope.analysis import input_attribution

    tokens = _tokens(model, asked)
    answer = asked.answer if asked.answer is not None else _answer(model, asked, model(tokens))
    options |= {"position": asked.position}
    return input_attribution(model, tokens, answer, asked.wrong, **options)


def _tokens(model: HookedGPTNeo, asked: Question) -> Tokens:
    return model.tokenize(asked.text, prepend_bos=asked.prepend_bos, truncate=asked.truncate)


def _answer(model: HookedGPTNeo, asked: Question, logits: Any) -> str | int:
    """What was asked for, or the likeliest next token."""
    if asked.answer is not None:
        return asked.answer
    from neoscope.errors import SiteError

    n = logits.shape[1]
    if not -n <= asked.position < n:
        raise SiteError(f"--position {asked.position} is out of range; the text has {n} tokens")
    return int(logits[0, asked.position].argmax())
