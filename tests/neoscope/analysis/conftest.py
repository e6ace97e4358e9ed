"""What the tests of the readings share: nobody changes it, so it is made once a process."""

from __future__ import annotations

import pytest

import neoscope as ns
from neoscope import analysis
from neoscope.analysis import HeadScores


@pytest.fixture(scope="session")
def model() -> ns.HookedGPTNeo:
    return ns.load("organism")


@pytest.fixture(scope="session")
def measured() -> HeadScores:
    return analysis.heads(ns.load("organism"), progress=False)


@pytest.fixture(scope="session")
def short_scores() -> HeadScores:
    return analysis.heads(ns.load("induction-short-window"), progress=False)
