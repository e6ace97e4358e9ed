"""What says which token a row is, where ``pool="none"`` makes every token one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from neoscope.export.encoding import Encoded

TOKEN_COLUMNS = ("token_index", "token_id", "token_start", "token_stop", "token")


def token_rows(
    texts: Sequence[str | None], encoded: Encoded, tokenizer: Any
) -> dict[str, NDArray[Any]]:
    """Return, of every token: its number in its text, its id, its characters and its own text.

    Args:
        texts: The texts.
        encoded: Their tokens, with offsets.
        tokenizer: It names the token that was put before each text, if one was.
    """
    assert encoded.offsets is not None
    spans = [span for row in encoded.offsets for span in row]
    strings = np.empty(len(spans), object)
    strings[:] = [
        (texts[text] or "")[start:stop]
        for text, (start, stop) in zip(encoded.text.tolist(), spans, strict=True)
    ]
    added = (encoded.position == 0) & (encoded.ids == tokenizer.bos_token_id)
    for at in np.flatnonzero(added):
        # A space that the offsets leave out has no characters either, but is no such token.
        strings[at] = strings[at] or str(tokenizer.bos_token)
    start, stop = np.array(spans, np.int32).reshape(-1, 2).T
    index, ids = encoded.position.astype(np.int32), encoded.ids.astype(np.int32)
    return dict(zip(TOKEN_COLUMNS, (index, ids, start, stop, strings), strict=True))
