from __future__ import annotations

import subprocess
import sys
from types import ModuleType

import pytest

import neoscope
from neoscope import analysis, store


def test_an_unknown_name_is_an_attribute_error_that_knows_where_it_was_looked_for() -> None:
    with pytest.raises(AttributeError, match=r"module 'neoscope\.store' has no attribute") as found:
        store.xyz  # noqa: B018
    assert (found.value.name, found.value.obj) == ("xyz", store)


def test_the_message_itself_names_the_nearest_public_name() -> None:
    with pytest.raises(AttributeError, match="'logit_lense'; did you mean 'logit_lens'"):
        analysis.logit_lense  # noqa: B018
    assert not hasattr(analysis, "__wrapped__")


def test_a_traceback_names_the_nearest_public_name_once() -> None:
    code = "import neoscope; neoscope.ActivationCach"
    ended = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False
    )
    assert ended.stderr.lower().count("did you mean") == 1
    assert "did you mean 'ActivationCache'?" in ended.stderr


def test_public_names_are_listed_before_they_are_used() -> None:
    assert set(neoscope.__all__) <= set(dir(neoscope))


@pytest.mark.parametrize("package", [neoscope, analysis, store])
def test_nothing_but_public_names_is_listed(package: ModuleType) -> None:
    assert {name for name in dir(package) if not name.startswith("__")} == set(package.__all__)
