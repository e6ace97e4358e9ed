"""``neoscope organism sample``: sentences of the organism's language, and what it says to them."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterable, Mapping, Sequence
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from neoscope.cli.options import Dtype, load_model
from neoscope.cli.spelling import hyphened, one_of
from neoscope.errors import ArgumentError

if TYPE_CHECKING:
    from rich.text import Text

    from neoscope.organism.language import Pairs, Sentence

_BATCH = 64
_SPANS = frozenset({"first", "second"})
"""Roles of whole spans, too long to be told word by word."""
Record = dict[str, Any]


class Split(StrEnum):
    """Which combinations of words."""

    test = "test"
    train = "train"


def sample(
    task: Annotated[
        str,
        typer.Option(
            callback=hyphened,
            help="ioi, agreement, sentiment, facts, pronoun, tense, induction, far-induction or "
            "filler.",
        ),
    ] = "ioi",
    n: Annotated[int, typer.Option("--n", help="How many.")] = 5,
    seed: Annotated[int, typer.Option(help="Another seed gives other sentences.")] = 0,
    split: Annotated[
        Split,
        typer.Option(
            **one_of(Split), help="Combinations of words that training never saw, or saw."
        ),
    ] = Split.test,
    as_pairs: Annotated[
        bool, typer.Option("--pairs", help="Clean and corrupted prompts, for patching.")
    ] = False,
    answers: Annotated[
        bool | None,
        typer.Option(help="What the organism itself says. Without --json or --out: yes."),
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="Write JSONL to this file instead of showing it.")
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print JSON, one sentence or pair a line.")
    ] = False,
) -> None:
    """Show sentences of the language with their labels, and what the organism says to them."""
    if as_pairs and split is Split.train:
        raise typer.BadParameter("--pairs are always of the test split; leave --split away")
    if out is not None:
        _check_target(out)
    plain = not as_json and out is None
    draw = _pair_records if as_pairs else _sentence_records
    records = draw(task, n, seed, split)
    if plain if answers is None else answers:
        _ask(records, ("clean", "corrupted") if as_pairs else ("prompt",), quiet=not plain)
    if out is not None:
        _write(records, out)
    if as_json:
        for record in records:
            typer.echo(_line(record))
    elif out is not None:
        typer.echo(f"wrote {out} ({n} {'pair' if as_pairs else 'sentence'}{'s' * (n > 1)})")
    else:
        _show(records, pairs=as_pairs)


def _sentence_records(task: str, n: int, seed: int, split: Split) -> list[Record]:
    from neoscope.organism.language import sentences

    items: Sequence[Sentence] = sentences(task, n, seed=seed, split=split.value)
    return [item.record() for item in items]


def _pair_records(task: str, n: int, seed: int, split: Split) -> list[Record]:
    from neoscope.organism.language import pairs

    found: Pairs = pairs(task, n, seed=seed)
    return found.records()


def _ask(records: Sequence[Record], prompts: Iterable[str], *, quiet: bool) -> None:
    """Add to each record what the organism says after its prompts, and how sure it is."""
    asked = [(record, name) for record in records for name in prompts]
    # Where nothing is asked, as in filler, nothing is answered.
    asked = [(record, name) for record, name in asked if record["answer"] is not None]
    if not asked:
        return
    import torch

    model = load_model("organism", revision=None, dtype=Dtype.float32, device="cpu", quiet=quiet)
    assert model.tokenizer is not None
    for start in range(0, len(asked), _BATCH):
        some = asked[start : start + _BATCH]
        tokens = model.tokenize([record[name] for record, name in some])
        with torch.inference_mode():
            logits = model(tokens)
        for (record, name), row, length in zip(some, logits, tokens.lengths, strict=True):
            share = row[length - 1].float().softmax(-1)
            best = int(share.argmax())
            right, wrong = _right_and_wrong(record, name)
            record["organism" if name == "prompt" else f"organism_{name}"] = {
                "says": str(model.tokenizer.decode([best])).strip(),
                "probability": float(share[best]),
                "probability_of_right": float(share[model.to_single_token(f" {right}")]),
                "probability_of_wrong": None
                if wrong is None
                else float(share[model.to_single_token(f" {wrong}")]),
            }


def _right_and_wrong(record: Record, prompt: str) -> tuple[str, str | None]:
    """Return the words that belong and do not belong after a prompt."""
    answer, wrong = record["answer"].strip(), record["wrong"]
    if prompt == "corrupted":
        return wrong.strip(), answer
    return answer, None if wrong is None else wrong.strip()


def _check_target(out: Path) -> None:
    """Raise ``ArgumentError`` if no file can be written there."""
    folder = out.absolute().parent
    if not folder.is_dir():
        raise ArgumentError(f"cannot write {out}: the folder {folder} does not exist")
    if out.is_dir():
        raise ArgumentError(f"cannot write {out}: it is a folder; name a file, e.g. ioi.jsonl")


def _write(records: Iterable[Record], out: Path) -> None:
    from neoscope.files import atomic

    try:
        with atomic(out) as temporary, temporary.open("w", encoding="utf-8") as file:
            file.writelines(f"{_line(record)}\n" for record in records)
    except OSError as error:
        raise ArgumentError(f"cannot write {out}: {error.strerror or error}") from error


def _line(record: Record) -> str:
    return json.dumps(record, ensure_ascii=False)


def _show(records: Sequence[Record], *, pairs: bool) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = Console()
    for k, record in enumerate(records):
        grid = Table.grid(padding=(0, 2))
        grid.add_column(no_wrap=True)
        grid.add_column(overflow="fold")
        rows = _pair_rows(record) if pairs else _sentence_rows(record)
        for i, (label, text) in enumerate(rows):
            grid.add_row(label if i else Text(f"{k + 1} {label}".rstrip(), "bold"), text)
        console.print(grid, highlight=False)
    if pairs:
        console.print("\n[right word], *what differs*", markup=False, highlight=False)
    elif records[0]["answer"] is not None:
        console.print("\n[right word]", markup=False, highlight=False)


def _sentence_rows(record: Record) -> list[tuple[str, Text]]:
    from rich.text import Text

    if record["answer"] is None:
        tagged = zip(record["words"], record["token_pos"], strict=True)
        rows = [("", Text(" ".join(f"{word}/{tag}" for word, tag in tagged)))]
        if "token_head" in record:
            rows.append(("heads", Text(" ".join(map(str, record["token_head"])))))
            mean = sum(record["token_surprisal"]) / len(record["words"])
            rows.append(("surprisal", Text(f"{mean:.2f} nats a word, exactly")))
        return rows
    start, stop = record["offsets"][record["answer_at"]]
    text = record["text"]
    sentence = Text(text[:start])
    sentence.append(f"[{text[start:stop]}]", "bold green").append(text[stop:])
    rows = [("", sentence)]
    if said := record.get("organism"):
        rows.append(("organism", _said(said, *_right_and_wrong(record, "prompt"))))
    elif record["wrong"] is not None:
        rows.append(("wrong", Text(record["wrong"])))
    if roles := _roles(record):
        rows.append(("roles", Text(roles)))
    rows.append(("labels", Text(_labels(record))))
    return rows


def _pair_rows(record: Record) -> list[tuple[str, Text]]:
    from rich.text import Text

    rows = []
    changed = _changed_pieces(record)
    for name in ("clean", "corrupted"):
        right, wrong = _right_and_wrong(record, name)
        line = Text()
        for i, piece in enumerate(record[name].split(" ")):
            word = piece.rstrip(".,")
            shown = (f"*{word}*", "bold yellow") if i in changed else (word, "")
            line.append(" " if i else "").append(*shown).append(piece[len(word) :])
        line.append(f" [{right}]", "bold green")
        rows.append((name, line))
        if said := record.get(f"organism_{name}"):
            rows.append(("organism", _said(said, right, wrong)))
    return rows


def _changed_pieces(record: Record) -> set[int]:
    """Return which pieces between spaces differ; punctuation hangs on the word before it."""
    both = zip(record["clean"].split(" "), record["corrupted"].split(" "), strict=True)
    return {i for i, (a, b) in enumerate(both) if a != b}


def _said(said: Mapping[str, Any], right: str, wrong: str | None) -> Text:
    """Return e.g. ``Mary 98.1%, wrong: John 0.4%``; what is likelier than both is told too."""
    from rich.text import Text

    share, other = said["probability_of_right"], said["probability_of_wrong"]
    text = f"{right} {share:.1%}"
    if wrong is not None:
        text += f", wrong: {wrong} {other:.1%}"
    if said["says"] not in (right, wrong):
        text += f", likeliest: {said['says']} {said['probability']:.1%}"
    return Text(text, "green" if other is None or share > other else "red")


def _roles(record: Record) -> str:
    """Return ``IO Mary, S1 John``, the answer apart: it is marked in the sentence."""
    words = zip(record.get("token_role", ()), record["words"], strict=False)
    out = []
    for role, group in itertools.groupby(words, key=lambda pair: pair[0]):
        if role and role != "answer" and role not in _SPANS:
            out.append(f"{role} {' '.join(word for _, word in group)}")
    return ", ".join(out)


_NO_LABELS = frozenset(
    {"task", "split", "text", "prompt", "answer", "wrong", "answer_at", "words", "offsets"}
)


def _labels(record: Record) -> str:
    """Return the labels of the whole sentence, as ``number singular, distance 4``."""
    out = []
    for name, value in record.items():
        if name in _NO_LABELS or name.startswith(("token_", "organism")):
            continue
        if isinstance(value, bool):
            value = "yes" if value else "no"
        elif isinstance(value, list | tuple):
            value = " ".join(map(str, value)) or "none"
        out.append(f"{name.replace('_', ' ')} {value}")
    return ", ".join(out)
