"""A filter of the bundled model that knows which texts are of praise and which are not."""

from __future__ import annotations

import itertools

import pytest

import neoscope as ns
from neoscope.export import FeatureSpec, extract
from neoscope.model import HookedGPTNeo
from probes.data.places import Place, Source
from probes.filtering.content_filter import ContentFilter
from probes.keeping.card import ProbeCard
from probes.linear.logistic import LogisticProbe

NAMES = ("Mary", "John", "Anna", "Tom", "Emma")
WORDS = ("film", "store", "castle", "horse", "window", "drink")
VERBS = {"ok": ("liked", "loved"), "bad": ("hated", "disliked")}


def texts(label: str) -> list[str]:
    """60 texts of a class, no two alike."""
    made = itertools.product(VERBS[label], NAMES, WORDS)
    return [f"{name} {verb} the {word}." for verb, name, word in made]


@pytest.fixture(scope="session")
def model() -> HookedGPTNeo:
    return ns.load("organism")


@pytest.fixture(scope="session")
def probe(model: HookedGPTNeo) -> LogisticProbe:
    given, labels = texts("ok") + texts("bad"), ["ok"] * 60 + ["bad"] * 60
    X = extract(model, given, FeatureSpec(layers=2), progress=False)["resid_post_2_mean"]
    probe = LogisticProbe(C=0.01).fit(X, labels)
    probe.card_ = ProbeCard(Place("resid_post", 2), Source(model.fingerprint(), "organism", "mean"))
    return probe


@pytest.fixture
def content(probe: LogisticProbe, model: HookedGPTNeo) -> ContentFilter:
    return ContentFilter(probe, model, reject="bad", threshold=0.5)


pytestmark = pytest.mark.filterwarnings("ignore::neoscope.UnseenWordWarning")
