"""doctor: what is installed here, what works, and what is missing for what.

::

    found = doctor.check()      # nothing is downloaded, and no network is asked
    found.ok                    # whether a model can be loaded and run here
    print(found)
"""

from __future__ import annotations

from neoscope.doctor.checking import check
from neoscope.doctor.checkup import Checkup, Fact

__all__ = ["Checkup", "Fact", "check"]
