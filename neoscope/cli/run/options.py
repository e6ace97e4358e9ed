"""The options of ``neoscope run``, and how their values are read."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

_PROMPTS, _LENGTH, _CHOICE, _RUN = "The prompts", "The length", "The next token", "The run"

Prompt = Annotated[
    list[str] | None,
    typer.Option(
        "--prompt", "-p", help="A prompt; may be given several times. '-' reads one from stdin.",
        rich_help_panel=_PROMPTS,
    ),
]  # fmt: skip
File = Annotated[
    str | None,
    typer.Option(
        "--file",
        "--data",
        help="A text file, one prompt a line; '-' is stdin.",
        rich_help_panel=_PROMPTS,
    ),
]
PrependBos = Annotated[
    bool,
    typer.Option(
        "--prepend-bos",
        help="Put the beginning-of-text token first.",
        rich_help_panel=_PROMPTS,
    ),
]
MaxNewTokens = Annotated[
    int | None,
    typer.Option(help="Most new tokens of a text; default 20.", rich_help_panel=_LENGTH),
]
MaxLength = Annotated[
    int | None,
    typer.Option(help="Most tokens of a text with its prompt.", rich_help_panel=_LENGTH),
]
MinNewTokens = Annotated[
    int | None,
    typer.Option(help="No end of text before so many new tokens.", rich_help_panel=_LENGTH),
]
MinLength = Annotated[
    int | None,
    typer.Option(help="No end of text before so many tokens.", rich_help_panel=_LENGTH),
]
Stop = Annotated[
    list[str] | None,
    typer.Option(
        help="End a text once it holds this; may be given several times.", rich_help_panel=_LENGTH
    ),
]
DoSample = Annotated[
    bool,
    typer.Option(
        "--do-sample", help="Draw tokens; else the likeliest is taken.", rich_help_panel=_CHOICE
    ),
]
Temperature = Annotated[
    float | None, typer.Option(help="Divides logits before a draw.", rich_help_panel=_CHOICE)
]
TopK = Annotated[
    int | None,
    typer.Option(help="Draw from so many likeliest tokens; default 50.", rich_help_panel=_CHOICE),
]
TopP = Annotated[
    float | None,
    typer.Option(
        help="Draw from the likeliest tokens with so much probability.", rich_help_panel=_CHOICE
    ),
]
MinP = Annotated[
    float | None,
    typer.Option(
        help="Draw from tokens with this share of the likeliest one's probability.",
        rich_help_panel=_CHOICE,
    ),
]
TypicalP = Annotated[
    float | None,
    typer.Option(
        help="Draw from the most typical tokens with so much probability.", rich_help_panel=_CHOICE
    ),
]
RepetitionPenalty = Annotated[
    float | None,
    typer.Option(help="Makes tokens that came before unlikelier.", rich_help_panel=_CHOICE),
]
NoRepeatNgramSize = Annotated[
    int | None,
    typer.Option(help="Let no n-gram of this length come twice.", rich_help_panel=_CHOICE),
]
NumBeams = Annotated[
    int | None, typer.Option(help="Beams of a beam search.", rich_help_panel=_CHOICE)
]
LengthPenalty = Annotated[
    float | None,
    typer.Option(help="Beams: score divided by length to this power.", rich_help_panel=_CHOICE),
]
EarlyStopping = Annotated[
    bool,
    typer.Option(
        "--early-stopping", help="Beams: end with as many texts as beams.", rich_help_panel=_CHOICE
    ),
]
Count = Annotated[
    int | None,
    typer.Option(
        "--num-return-sequences", "--n", "-n", help="Texts for each prompt.",
        rich_help_panel=_CHOICE,
    ),
]  # fmt: skip
Seed = Annotated[
    int | None,
    typer.Option(help="Fixes the draws; the output says which it was.", rich_help_panel=_CHOICE),
]
Ablate = Annotated[
    list[str] | None,
    typer.Option(
        help="Switch a part off at every step: 2.1 (head 1 of layer 2) or SITE:LAYER[.HEAD], e.g. "
        "mlp_out:3; may be given several times.",
        rich_help_panel=_RUN,
    ),
]
Stream = Annotated[
    bool | None,
    typer.Option(
        help="Show tokens as they come; default on a terminal, for one text at a time.",
        rich_help_panel=_RUN,
    ),
]
BatchSize = Annotated[
    int, typer.Option(min=1, help="Prompts that run at once.", rich_help_panel=_RUN)
]
Out = Annotated[
    Path | None,
    typer.Option(help="Write a .jsonl file, a text a line.", rich_help_panel=_RUN),
]


def read_prompts(prompt: list[str] | None, file: str | None, stdin: Any) -> list[str]:
    """Return the prompts of the command line, of a file, or of stdin.

    Args:
        prompt: Texts; ``"-"`` is all of stdin.
        file: A path, or ``"-"``: a prompt a line.
        stdin: What to read.

    Raises:
        typer.BadParameter: Stdin is asked for twice.
        TokenizationError: A file cannot be read, or holds nothing.
    """
    from neoscope.errors import TokenizationError

    if [*(prompt or []), file].count("-") > 1:
        raise typer.BadParameter("stdin can be read once: '-' stands there twice")
    texts = [_ending_cut(stdin.read()) if text == "-" else text for text in prompt or []]
    if file is not None:
        try:
            whole = stdin.read() if file == "-" else Path(file).read_text(encoding="utf-8-sig")
        except UnicodeDecodeError as error:
            raise TokenizationError(f"cannot read {file}: it is no UTF-8 text") from error
        except OSError as error:
            raise TokenizationError(f"cannot read {file}: {error.strerror or error}") from error
        lines = [line.removesuffix("\r") for line in whole.split("\n") if line.strip()]
        if not lines:
            raise TokenizationError(f"{file} holds no prompt: every line is blank")
        texts += lines
    return texts


def _ending_cut(text: str) -> str:
    """Return what was piped in without the line end that a shell adds."""
    return text.removesuffix("\n").removesuffix("\r")
