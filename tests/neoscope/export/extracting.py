"""What the tests of the extractor share: a model, what is asked of it, and every text alone."""

from __future__ import annotations

import functools
from typing import Any

from torch import Tensor

from neoscope.export.spec import FeatureSpec
from tests.neoscope.export.oracle import TEXTS, ids_of, run, tiny

MODEL = tiny()
POOLS = ("mean", "weighted_mean", "last", "first", "max")
DERIVED = ("hidden", "loss", "surprisal", "entropy")
OF_PATTERNS = ("attn_to_first", "attn_to_previous", "attn_entropy")
EVERYTHING = FeatureSpec(("resid_post", "z", "pre", *DERIVED), layers=[0, -1], pool=POOLS)
N_TOKENS = sum(len(ids_of(text, EVERYTHING)) for text in TEXTS)


@functools.cache
def whole() -> Any:
    """Every text alone."""
    return run(MODEL, EVERYTHING, TEXTS, batch_tokens=1)


def hooked() -> Any:
    """A model with a hook that does nothing, for which batches are padded."""
    model = tiny()
    model.blocks[0].hook_resid_pre.add_hook(_pass_on)
    return model


def _pass_on(x: Tensor, hook: Any) -> Tensor:
    return x
