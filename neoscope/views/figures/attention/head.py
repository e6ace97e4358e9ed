"""attention: one head's pattern over the tokens of a text, with its window."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from neoscope.analysis import reading
from neoscope.views.figures.attention.reading import (
    kind_of,
    model_name,
    one_layer,
    read_head,
    read_patterns,
    read_text,
)
from neoscope.views.figures.attention.square import square

if TYPE_CHECKING:
    import plotly.graph_objects as go


def attention(cache: reading.GivenCache, *, layer: Any, head: Any, text: Any = 0) -> go.Figure:
    """Draw where a head looks: each row is a token that looks, each column one that is looked at.

    Later tokens are blank. Keys that a local layer's window hides are grey, and a line runs along
    its edge; a share of 0 is the lightest colour of the scale. Padding is left out.

    Args:
        cache: With ``pattern`` of the layer; it may come from a file, or keep some positions.
        layer: Counted from the front or, if negative, from the back.
        head: The same.
        text: Which text of the batch.

    Returns:
        A figure; values are shares of a token's attention, 0 to 1. Where an edit left other
        values, the scale reaches as far as they do.

    Raises:
        ViewError: The cache does not hold that layer's patterns (the message says which it holds),
            or there is no such text.
        SiteError: There is no such layer or head.

    Example:
        >>> import neoscope as ns
        >>> _, cache = ns.load("organism").run_with_cache("The keys near the cabinet")
        >>> figure = ns.views.attention(cache, layer=1, head=-1)
        >>> figure.layout.title.text
        'Attention of head 1.3 (local, window 32)'
        >>> figure.data[0].y[3]
        '3 ·the'
    """
    number = one_layer(cache, layer, "attention")
    which = read_head(head, cache.config.n_heads)
    found = read_text(cache, number, text, "attention")
    window = cache.config.window(number)
    return square(
        read_patterns(cache, number, found)[which],
        hidden=found.hidden(window),
        future=~found.seen(None),
        rows=found.query_names,
        columns=found.names,
        unit="share of attention",
        title=f"Attention of head {number}.{which} ({kind_of(window)})",
        subtitle=described(cache, found.said(), len(found.keys), len(found.rows)),
        hidden_says=f"<b>cannot</b>: beyond the window of {window} keys",
    )


def described(cache: reading.GivenCache, text: str, n_keys: int, n_queries: int) -> str:
    """Return a subtitle: the model, the text, how many tokens.

    Args:
        cache: What was recorded.
        text: Which text, where there are several.
        n_keys: Tokens of the text.
        n_queries: Tokens whose attention was kept.
    """
    tokens = f"{n_keys:,} token{'s' * (n_keys != 1)}"
    if n_queries < n_keys:
        tokens += f", attention of {n_queries:,} of them kept"
    return ", ".join(filter(None, (model_name(cache), text, tokens)))
