"""What every test shares: no network, few threads, and a skip where a GPU is needed and absent."""

from __future__ import annotations

import os
import signal

# Set before huggingface_hub is imported, which reads them once.
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"

import pytest
import torch
from hypothesis import settings

# A shell lets what it starts in the background ignore Ctrl-C, which some tests send.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# Without a database of earlier failures, a run does not depend on the runs before it.
settings.register_profile("house", database=None, deadline=None, print_blob=True)
settings.load_profile("house")

# Two threads in all: one in each of two pytest-xdist workers, or both in a single process.
torch.set_num_threads(1 if "PYTEST_XDIST_WORKER" in os.environ else 2)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    if torch.cuda.is_available():
        return
    for item in items:
        if item.get_closest_marker("gpu"):
            item.add_marker(pytest.mark.skip(reason="no CUDA device"))
