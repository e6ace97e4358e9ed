"""A checkup as plain lines: for pipes and files, and where rich or typer cannot be imported."""

from __future__ import annotations

from collections.abc import Iterator

from neoscope.doctor.checkup import Checkup

HEADINGS = {
    "broken": "broken: neoscope cannot run without it",
    "missing": "missing, and for what",
    "note": "worth knowing",
}
"""What stands above the facts of each state, in the order in which they are shown."""
WELL = "everything that loading and running a model needs works"
"""What ends a report in which nothing is broken."""


def lines(found: Checkup) -> Iterator[str]:
    """Yield the report line by line; none is wrapped, since paths and commands are to be copied.

    Args:
        found: What ``check`` returned.
    """
    for group in found.groups:
        facts = found.group(group)
        wide = max(len(fact.name) for fact in facts)
        yield group
        for fact in facts:
            mark = "" if fact.state == "ok" else f" [{fact.state}]"
            about = f"  {fact.purpose}" if group == "extras" else ""
            yield f"  {fact.name:{wide}}  {fact.value}{mark}{about}".rstrip()
    for state, heading in HEADINGS.items():
        facts = found.in_state(state)
        if facts:
            yield ""
            yield heading
        for fact in facts:
            about = f"{fact.name}: {fact.value}" if state != "missing" else fact.name
            yield f"  {about}; for {fact.purpose}"
            yield f"    {fact.cure}"
    if found.ok:
        yield ""
        yield WELL
