"""What the tests of views share: the organism, a microscope's desk, a whole report."""

from __future__ import annotations

import pytest
import torch

import neoscope as ns
from neoscope.views.microscope.desk import MicroscopeDesk
from neoscope.views.report import Report
from neoscope.views.report.study import Study
from tests.neoscope.views.microscope_cases import JOHN, MARY


@pytest.fixture(scope="session")
def model() -> ns.HookedGPTNeo:
    """The organism; a test that changes it puts it back."""
    return ns.load("organism")


@pytest.fixture
def desk(model: ns.HookedGPTNeo) -> MicroscopeDesk:
    """Two prompts, and a direction whose name has to be quoted."""
    direction = torch.linspace(-1, 1, model.config.d_model)
    return MicroscopeDesk(model, MARY, other=JOHN, directions={"it's a slope": direction})


@pytest.fixture(scope="session")
def report(model: ns.HookedGPTNeo) -> Report:
    """A report with every section: nobody changes it."""
    return Report(model, study=Study(model, n_pairs=8, n_sentences=80), progress=False)
