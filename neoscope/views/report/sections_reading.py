"""Sections that read one run: head map, attention, lenses, attribution."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from markupsafe import Markup

from neoscope import views
from neoscope.analysis.result import counted
from neoscope.views.figures.lens.figure import MOST_WRITTEN
from neoscope.views.labels import visible
from neoscope.views.report.parts import Block, Picture, Prose, Table, grid, said, table
from neoscope.views.report.study import MOST_TOKENS, Study
from neoscope.views.report.truth import Beside, card_of, induction_beside_card

_LOOKED_AT = 8
"""Tokens that the table of attention names."""


def head_map(study: Study) -> Iterator[Block]:
    """Show what each head does."""
    scores = study.heads
    yield Picture(
        views.heads(scores, score="all"),
        "Scores of every head, one small map a score; the table below names the best of each.",
    )
    yield table("The best head of each kind", scores.summary())
    name = "induction"
    if name in scores.names:
        values = scores.score[scores.names.index(name)]
        columns = [f"head {i}" for i in range(values.shape[1])]
        yield grid("Induction score of each head, a share of its attention", values,
                   list(scores.layers), columns, "layer")  # fmt: skip
    if card_of(study) is not None:
        yield beside_table("Beside the truth card", induction_beside_card(study))
        yield Prose(
            "The two tables read different inputs, so that their numbers differ: the head map "
            "repeats random tokens of the whole vocabulary, the truth card random words of the "
            "organism's language, as in its training."
        )


def beside_table(caption: str, rows: tuple[Beside, ...]) -> Table:
    """Return measurements beside the truth card's.

    Args:
        caption: What they are.
        rows: What was measured.
    """
    columns = ("what", "head", "measured", "95 % interval", "truth card", "its 95 % interval")
    body = tuple(
        (row.what, row.head, said(row.measured, 3), interval(row.low, row.high),
         said(row.card, 3), interval(row.card_low, row.card_high))
        for row in rows
    )  # fmt: skip
    return Table(caption, columns, body)


def interval(low: float, high: float) -> str:
    """Return the ends of an interval, or a dash.

    Args:
        low: NaN where there is none.
        high: The same.
    """
    return said(low) if np.isnan(low) else f"{low:.3f} to {high:.3f}"


def attention(study: Study) -> Iterator[Block]:
    """Show where heads look in the text."""
    yield from _which_text(study)
    cache = study.cache
    yield Picture(
        views.attention_heads(cache),
        "Attention of every head over the text, on one scale; each panel is a head.",
    )
    layer, head = _busiest(study)
    yield Prose(
        f"Head {layer}.{head} (layer {layer}, head {head}) writes more than any other head for or "
        "against the likeliest next word:"
    )
    yield Picture(
        views.attention(cache, layer=layer, head=head),
        f"Attention of head {layer}.{head}: rows look, columns are looked at.",
    )
    yield _looked_at(study, layer, head)


def _busiest(study: Study) -> tuple[int, int]:
    heads = study.attribution.heads
    layer, head = np.unravel_index(int(np.abs(np.nan_to_num(heads)).argmax()), heads.shape)
    return int(layer), int(head)


def _looked_at(study: Study, layer: int, head: int) -> Table:
    pattern = study.cache["pattern", layer][0, head].float().cpu().numpy()
    rows = []
    for query in list(range(len(study.shown)))[-_LOOKED_AT:]:
        best = np.argsort(-pattern[query, : query + 1], kind="stable")[:2]
        cells = [f"{key} {visible(study.shown[key])} {pattern[query, key]:.2f}" for key in best]
        rows.append(
            (said(query), Markup(visible(study.shown[query])),
             *(Markup(cell) for cell in ([*cells, ""])[:2]))
        )  # fmt: skip
    caption = f"Head {layer}.{head}: where the last {len(rows)} tokens look most"
    return Table(caption, ("position", "token", "looks most at", "then at"), tuple(rows))


def _which_text(study: Study) -> Iterator[Block]:
    if study.text and study.left_out:
        yield Prose(
            f"The report's own text is longer than the model's context: what follows is about its "
            f"first {counted(len(study.tokens), 'token')}.", "warn",
        )  # fmt: skip
    if len(study.tokens) > MOST_TOKENS:
        yield Prose(
            f"The text has {len(study.tokens):,} tokens; what follows is about the first "
            f"{MOST_TOKENS} of them.", "warn",
        )  # fmt: skip


def last_positions(n: int) -> range | None:
    """Return the positions whose words a lens can write: all (None), or the last ones.

    Args:
        n: Tokens of the text.
    """
    return None if n <= MOST_WRITTEN else range(n - MOST_WRITTEN, n)


def lenses(study: Study) -> Iterator[Block]:
    """Show what each layer would say."""
    yield from _which_text(study)
    plain = study.logit_lens
    results = [plain] if study.lens is None else [plain, study.tuned_lens]
    yield Prose(" ".join(plain.caveat.split()), "warn")
    yield Picture(
        views.lens_calibration(results if len(results) > 1 else plain),
        "How far each layer's reading is from the model's output.",
    )
    only = "" if last_positions(len(study.shown)) is None else (
        f"; the last {MOST_WRITTEN} of {len(study.shown)} positions, the calibration is over all"
    )  # fmt: skip
    for result in results:
        yield Picture(
            views.lens(result, positions=last_positions(len(study.shown))),
            f"The {result.lens} lens: each layer's likeliest token at each position{only}.",
        )
        yield table(f"Calibration of the {result.lens} lens by layer", result.calibration())
    if study.lens is None:
        yield Prose("No tuned lens was given; TunedLens.train (neoscope lens --train) makes one.")
    if len(study.tokens) > 1:
        yield Picture(
            views.losses(study.losses),
            "Each token of the text, coloured by how surprising it was to the model.",
        )
        yield table("Surprisal of each token", study.losses.to_dataframe(), shut=True,
                    more="analysis.token_losses(model, text).to_dataframe()")  # fmt: skip


def attribution(study: Study) -> Iterator[Block]:
    """Show which parts write the answer."""
    yield from _which_text(study)
    found = study.attribution
    first, second = (Markup(visible(word)) for word in study.guesses)
    yield Prose(Markup(f"What is taken apart: the logit of “{first}” minus that of “{second}”, ")
                + "after the last token.")  # fmt: skip
    yield Picture(
        views.attribution(found),
        "What each component adds to the difference; the bars add up to the model's own.",
    )
    yield table("The components that matter most", found.top(12))
