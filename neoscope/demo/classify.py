"""A classifier of exported features, with pandas and scikit-learn alone.

It knows nothing of neoscope, and a copy of it lies in every demonstration's folder:
``python demo/classify.py`` reads ``demo/features/*.parquet`` and prints what it finds.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any


def classify(folder: Path, column: str, *, seed: int = 0) -> dict[str, Any]:
    """Train on four fifths of the rows, and score on the rest.

    Args:
        folder: Holds Parquet files with ``text``, ``label`` and a column of vectors.
        column: Which column of vectors.
        seed: Of the split.

    Returns:
        Accuracy of the features, of a bag of words on the same split, and of always saying the
        most frequent label; and how many rows there were.
    """
    import numpy as np
    import pandas as pd
    from sklearn.dummy import DummyClassifier
    from sklearn.feature_extraction.text import CountVectorizer
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import train_test_split
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    table = pd.read_parquet(sorted(folder.glob("*.parquet")))
    train, test = train_test_split(table, test_size=0.2, random_state=seed, stratify=table["label"])

    def score(model: Any, known: Any, new: Any) -> float:
        return float(model.fit(known, train["label"]).score(new, test["label"]))

    linear = make_pipeline(StandardScaler(), LogisticRegression(C=0.1, max_iter=2000))
    words = make_pipeline(CountVectorizer(), LogisticRegression(max_iter=2000))
    vectors = [np.stack([np.asarray(x) for x in part[column]]) for part in (train, test)]
    return {
        "column": column,
        "train": len(train),
        "test": len(test),
        "features": score(linear, *vectors),
        "bag_of_words": score(words, train["text"], test["text"]),
        "majority": score(DummyClassifier(), train["text"], test["text"]),
    }


if __name__ == "__main__":
    here = Path(__file__).resolve().parent / "features"
    import pyarrow.parquet as pq

    names = pq.read_schema(sorted(here.glob("*.parquet"))[0]).names
    for name in names if len(sys.argv) < 2 else sys.argv[1:]:
        if name.startswith("resid_post"):
            found = classify(here, name)
            sys.stdout.write(
                f"{name}: {found['features']:.3f} on {found['test']} texts; bag of words "
                f"{found['bag_of_words']:.3f}, majority {found['majority']:.3f}\n"
            )
