"""check: look at everything that neoscope stands on."""

from __future__ import annotations

from neoscope.doctor import bundled, hub_cache, machine, packages, pictures, trial
from neoscope.doctor.checkup import Checkup


def check() -> Checkup:
    """Look at versions, extras, devices, threads, the hub's cache, the bundled model and pictures.

    Versions are read from what pip wrote down, and torch is tried in a process of its own, so that
    a broken installation is a fact of the result and no error. Nothing is downloaded, no file is
    left behind, and no network is asked. It takes a few seconds, most of them to import torch.

    Example:
        >>> found = check()
        >>> found.ok
        True
        >>> [fact.name for fact in found.group("organism")]
        ['files', 'widget and report', 'runs']
    """
    tried = trial.run()
    return Checkup(
        (
            *trial.imports(tried, tuple(packages.core())),
            *packages.extras(),
            *trial.devices(tried),
            *trial.threads(tried),
            *hub_cache.facts(),
            *bundled.facts(tried),
            *pictures.facts(),
            *machine.facts(),
        )
    )
