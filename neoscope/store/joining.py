"""Features put beside the rows of a frame by id."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

from neoscope.errors import StoreError, nearest

if TYPE_CHECKING:
    import pandas as pd

    from neoscope.store.feature_store import FeatureStore


def join(
    store: FeatureStore,
    frame: pd.DataFrame,
    on: str,
    how: Literal["left", "inner"],
    columns: Sequence[str],
) -> pd.DataFrame:
    """Do what `FeatureStore.join` says."""
    import pandas as pd

    if not isinstance(frame, pd.DataFrame):
        if not hasattr(frame, "to_pandas"):
            raise StoreError(f"the frame is {type(frame).__name__}; expected one of pandas")
        frame = frame.to_pandas()
    if how not in ("left", "inner"):
        raise StoreError(f"how is 'left' or 'inner', not {how!r}")
    if on not in frame.columns:
        known = [str(name) for name in frame.columns]
        raise StoreError(f"the frame has no column {on!r}, only {known}{nearest(on, known)}")
    if both := [name for name in columns if name in frame.columns]:
        raise StoreError(f"columns in both the frame and the store: {both}; rename or drop them")
    # Objects: ids are compared as they are, whatever pandas makes of a column's type.
    known_ids = pd.Index(store.to_arrow([on])[on].to_pylist(), dtype=object)
    if not known_ids.is_unique:
        twice = known_ids[known_ids.duplicated()][0]
        raise StoreError(
            f"{on} {twice!r} stands in several rows of {store.path}: they cannot be told apart"
        )
    wanted = pd.Index(frame[on].tolist(), dtype=object)
    found = known_ids.get_indexer(wanted)
    missing = wanted[found < 0]
    if how == "left" and len(missing):
        ours, theirs = (
            sorted({type(i).__name__ for i in ids[:100]}) for ids in (known_ids, wanted)
        )
        types = "" if ours == theirs else f" (there {ours}, in the frame {theirs})"
        raise StoreError(
            f"{len(missing):,} of {len(wanted):,} ids of the frame are not in {store.path}, first "
            f"{missing[0]!r}{types}; how='inner' leaves such rows out"
        )
    features = store.select(rows=found[found >= 0]).to_pandas(columns)
    kept = frame[found >= 0]
    return pd.concat([kept, features.set_axis(kept.index, axis=0)], axis=1)
