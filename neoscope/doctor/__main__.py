"""``python -m neoscope.doctor``: the report where the command line itself cannot be imported."""

from __future__ import annotations

import sys

from neoscope.doctor.checking import check
from neoscope.doctor.plain import lines


def main() -> int:
    """Write the report, and return the exit status: 1 where something is broken."""
    found = check()
    sys.stdout.write("\n".join(lines(found)) + "\n")
    return 0 if found.ok else 1


if __name__ == "__main__":
    sys.exit(main())
