"""Whatever the library returns as a result, plot draws; what it does not draw is named here."""

from __future__ import annotations

import dataclasses
import importlib
import inspect
import re
import sys
from collections.abc import Iterator
from types import ModuleType
from typing import Any

from neoscope.analysis.result import Result
from neoscope.views.dispatch import VIEWS

PACKAGES = (
    "neoscope", "neoscope.analysis", "neoscope.patching", "neoscope.evaluate", "neoscope.generate",
    "neoscope.export", "probes", "probes.judging", "probes.filtering", "probes.use",
    "probes.erasure",
)  # fmt: skip
FEW_NUMBERS = "a few numbers, which it prints"
GIVEN = "it is given to the library again, and says nothing by itself"
WITHOUT = {
    "Applied": "predictions: views.confusion draws them beside the truth",
    "Axis": GIVEN,
    "CodeBlocks": GIVEN,
    "ConlluSentence": "a text",
    "ControlTask": GIVEN,
    "Edge": GIVEN,
    "Edit": GIVEN,
    "Effect": "a row of a CausalReport, which is drawn",
    "Eraser": GIVEN,
    "Estimate": FEW_NUMBERS,
    "Exact": "effects of any list of places; sweep gives them axes, and is drawn",
    "ExportReport": FEW_NUMBERS,
    "Feature": GIVEN,
    "FilterCalibration": FEW_NUMBERS,
    "Interval": FEW_NUMBERS,
    "JointFit": GIVEN,
    "Judgement": FEW_NUMBERS,
    "LogisticPrepared": GIVEN,
    "Prompts": GIVEN,
    "Ratio": FEW_NUMBERS,
    "ReviewItem": "a text: views.review shows the queue",
    "RidgePrepared": GIVEN,
    "SampleComplexity": FEW_NUMBERS,
    "Screened": "texts: views.review shows those that are to be looked at",
    "Scrubbing": GIVEN,
    "Selectivity": FEW_NUMBERS,
    "SiteRef": GIVEN,
    "Source": GIVEN,
    "Tokens": GIVEN,
    "Values": GIVEN,
    "WeightView": GIVEN,
}
"""Classes that public functions return and no view draws, and why."""


def functions(package: ModuleType) -> Iterator[Any]:
    """Yield the public functions of a package, and the public methods of its classes."""
    for name in package.__all__:
        given = getattr(package, name)
        if inspect.isclass(given):
            for base in given.__mro__:
                if base.__module__.split(".")[0] in ("neoscope", "probes"):
                    yield from (
                        one for key, one in vars(base).items()
                        if key[0] != "_" and inspect.isfunction(one)
                    )  # fmt: skip
        elif callable(given):
            yield given


def returned() -> set[str]:
    """Return the names of the dataclasses that public functions say they return."""
    named = {
        word
        for package in PACKAGES
        for one in functions(importlib.import_module(package))
        for word in re.findall(r"\w+", str(getattr(one, "__annotations__", {}).get("return", "")))
    }
    own = [one for one in all_classes() if dataclasses.is_dataclass(one)]
    return {one.__name__ for one in own if one.__name__ in named}


def all_classes() -> list[type]:
    """Return the library's classes, of all that its public names import."""
    for package in (*PACKAGES, "neoscope.store"):
        module = importlib.import_module(package)
        for name in getattr(module, "__all__", ()):
            getattr(module, name)
    return [
        one
        for name, module in list(sys.modules.items())
        if name.split(".")[0] in ("neoscope", "probes") and module is not None
        # The command line's own are nobody's results, and loaded by other tests or not.
        if not name.startswith("neoscope.cli")
        for one in vars(module).values()
        if inspect.isclass(one)
    ]


def test_plot_draws_every_result_that_a_public_function_returns() -> None:
    found = returned()
    assert {"LensResult", "SweepResult", "PatchingResult", "Evaluation"} <= found
    assert found - set(VIEWS) - set(WITHOUT) == {"Result"}, "these have no view"


def test_what_has_no_view_is_there_and_has_none() -> None:
    assert set(WITHOUT) <= returned()
    assert not set(WITHOUT) & set(VIEWS)


def test_plot_draws_every_result_of_analysis_and_evaluate() -> None:
    # A class with subclasses is what they share, and no result itself.
    own = [one for one in all_classes() if issubclass(one, Result) and not one.__subclasses__()]
    named = {one.__name__ for one in own if one.__module__.split(".")[0] == "neoscope"}
    assert len(named) > 20
    assert named - set(VIEWS) == set()


def test_every_name_of_the_table_is_a_class() -> None:
    assert set(VIEWS) <= {one.__name__ for one in all_classes()}
