"""Texts that cannot be used, and those that are only strange."""

from __future__ import annotations

import numpy as np
import pytest

from neoscope.export.extractor import Extractor
from neoscope.export.spec import FeatureSpec
from tests.neoscope.export.extracting import DERIVED, EVERYTHING, MODEL, OF_PATTERNS, POOLS
from tests.neoscope.export.oracle import OUTSIDE, TEXTS, TINY, check, run, same


def test_bad_texts_change_nothing_for_their_neighbours() -> None:
    mixed = [None, TEXTS[0], "", f"x {OUTSIDE}", TEXTS[2], None, TEXTS[3]]
    spec = FeatureSpec(EVERYTHING.sites, layers=[0, -1], pool=POOLS, max_length=20)
    extractor = Extractor(MODEL, spec, batch_tokens=40)
    encoded = extractor.encode(mixed, problems={5: "the text is int, not a string: 5"})
    assert sorted(encoded.problems) == [0, 2, 3, 5]
    assert encoded.problems[0] == "the text is null"
    assert encoded.problems[2] == "the text is empty: it gives no tokens"
    assert encoded.problems[3] == "token id 270 is outside the model's vocabulary of 270"
    assert encoded.problems[5] == "the text is int, not a string: 5"
    found = extractor.run(encoded)
    same(found, run(MODEL, spec, [TEXTS[0], TEXTS[2], TEXTS[3]]), [1, 4, 6])
    for name, values in found.features.items():
        assert not found.filled[name][[0, 2, 3, 5]].any()
        assert np.isnan(values[[0, 2, 3, 5]]).all()


def test_short_texts_beside_bad_ones_are_still_means() -> None:
    # As many tokens as rows, as if every row took one token.
    spec = FeatureSpec(layers=0, pool=["mean", "weighted_mean"])
    same(run(MODEL, spec, ["ab", None, ""]), run(MODEL, spec, ["ab"]), [0])


@pytest.mark.parametrize("pool", [*POOLS, "none"])
@pytest.mark.parametrize("sites", [("resid_post", *DERIVED), OF_PATTERNS])
def test_nothing_but_bad_texts_gives_nothing(pool: str, sites: tuple[str, ...]) -> None:
    found = run(MODEL, FeatureSpec(sites, pool=pool), ["", OUTSIDE])
    assert len(found.encoded.problems) == 2
    for name, values in found.features.items():
        assert len(values) == (0 if pool == "none" else 2)
        assert not found.filled[name].any()
        assert np.isnan(values).all()
    assert not run(MODEL, FeatureSpec(sites, pool=pool), []).encoded.n_texts


@pytest.mark.parametrize(
    ("text", "n"), [("a", 1_000_000), ("é😀", 100_000), ("\0", 250_000), ("the film ", 1_000_000)]
)
def test_a_million_characters_are_cut(text: str, n: int) -> None:
    text = text * (n // len(text))
    found = run(MODEL, FeatureSpec(layers=0, pool=["mean", "last"]), [text, "a"])
    assert not found.encoded.problems
    assert int(found.encoded.lengths[0]) == TINY.n_ctx
    assert found.encoded.cut[0] > 200_000
    same(found, run(MODEL, FeatureSpec(layers=0, pool=["mean", "last"]), ["a"]), [1])


def test_text_of_nothing_but_nul_is_text() -> None:
    check(MODEL, FeatureSpec(layers=0, pool=POOLS), ["\0", "\0\0\0", "a"])
