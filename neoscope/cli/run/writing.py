"""The work of ``neoscope run``: batches of prompts, shown as they are done, or as they come."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from neoscope.cli.options import print_json
from neoscope.errors import GenerationError
from neoscope.files import atomic
from neoscope.generate.checks import check as check_options

if TYPE_CHECKING:
    from rich.console import Console

    from neoscope.generate import Generated
    from neoscope.model import HookedGPTNeo

Record = dict[str, Any]


def check(options: Mapping[str, Any], out: Path | None) -> None:
    """Refuse what would fail later, before a model is loaded.

    Raises:
        GenerationError: Options contradict each other, or the file has no folder.
        typer.BadParameter: The file's name says another format.
    """
    check_options(options)
    if out is not None and out.suffix != ".jsonl":
        raise typer.BadParameter(f"--out {out}: a .jsonl file is written, a text a line")
    if out is not None and not out.expanduser().parent.is_dir():
        raise GenerationError(f"cannot write {out}: there is no folder {out.parent}")


def write(
    model: HookedGPTNeo,
    prompts: Sequence[str],
    options: Mapping[str, Any],
    *,
    seed: int | None,
    stream: bool | None,
    batch_size: int,
    out: Path | None,
    as_json: bool,
) -> None:
    """Continue prompts, show each text when it is done, and write the file at the end.

    Args:
        model: Who writes.
        prompts: Any number.
        options: Of ``model.generate``.
        seed: Of the first batch; later ones count on. None draws one.
        stream: Whether to show tokens as they come; None decides.
        batch_size: Prompts that run at once.
        out: A .jsonl file.
        as_json: Print JSON alone.
    """
    from rich.console import Console

    console = Console(highlight=False, markup=False, soft_wrap=True)
    single = max(options.get("num_beams", 1), options.get("num_return_sequences", 1)) == 1
    if stream and (not single or as_json):
        raise typer.BadParameter("--stream shows one text: no beams, no --n, no --json")
    flows = single and not as_json and (console.is_terminal if stream is None else stream)
    if options.get("do_sample") and seed is None:
        seed = int.from_bytes(os.urandom(4), "big")
    shown = {"progress": not as_json, **options}
    size = 1 if flows else batch_size
    records: list[Record] = []
    try:
        for first in range(0, len(prompts), size):
            batch = list(prompts[first : first + size])
            drawn: dict[str, Any] = {} if seed is None else {"seed": seed + first}
            if flows:
                drawn["streamer"] = _streamer(model, batch[0], console)
            result = model.generate(batch, return_type="result", **shown, **drawn)
            records += (new := list(_records(result, batch)))
            if not flows and not as_json:
                for record in new:
                    _show(console, record)
    except KeyboardInterrupt:
        _tell(model, records, out, seed=seed, options=options, as_json=as_json)
        done = f"interrupted after {len(records)} of {len(prompts)} prompts' texts"
        raise KeyboardInterrupt(done) from None
    _tell(model, records, out, seed=seed, options=options, as_json=as_json)


def _tell(
    model: HookedGPTNeo,
    records: Sequence[Record],
    out: Path | None,
    *,
    seed: int | None,
    options: Mapping[str, Any],
    as_json: bool,
) -> None:
    """Write what is to be written, and say so."""
    if out is not None:
        _save(records, out)
    if as_json:
        print_json({"model": model.cfg.model_name, "seed": seed, "texts": records})
        return
    if options.get("do_sample"):
        typer.echo(f"drawn with --seed {seed}", err=True)
    if out is not None:
        typer.echo(f"wrote {out} ({len(records)} text{'s' * (len(records) != 1)})", err=True)


def _records(result: Generated, prompts: Sequence[str]) -> Iterator[Record]:
    n = len(result.tokens) // len(prompts)
    for row, text in enumerate(result.texts):
        yield {
            "prompt": prompts[row // n],
            "text": text,
            "continuation": result.continuations[row],
            "tokens": result.tokens[row],
            "log_probs": None if result.log_probs is None else result.log_probs[row],
            "score": None if result.scores is None else result.scores[row],
            "stopped": result.stopped[row],
        }


def _show(console: Console, record: Record) -> None:
    """Print a text, its prompt set apart where the terminal can."""
    from rich.text import Text

    console.print(Text(record["prompt"], style="dim") + Text(record["continuation"]))


def _streamer(model: HookedGPTNeo, prompt: str, console: Console) -> Any:
    """Return what prints a prompt, then words as they are finished."""
    from rich.text import Text
    from transformers.generation.streamers import TextStreamer

    class Words(TextStreamer):
        def on_finalized_text(self, text: str, stream_end: bool = False) -> None:
            console.print(Text(text), end="\n" if stream_end else "")
            console.file.flush()

    console.print(Text(prompt, style="dim"), end="")
    assert model.tokenizer is not None
    return Words(model.tokenizer, skip_prompt=True, skip_special_tokens=True)


def _save(records: Sequence[Record], out: Path) -> None:
    lines = [json.dumps(record, ensure_ascii=False) + "\n" for record in records]
    try:
        with atomic(out.expanduser()) as temporary:
            temporary.write_text("".join(lines), encoding="utf-8")
    except OSError as error:
        raise GenerationError(f"cannot write {out}: {error.strerror or error}") from error
