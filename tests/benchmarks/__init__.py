"""Side-by-side benchmarks: ``python -m tests.benchmarks`` lists them.

A benchmark is a module of this package with a docstring, whose first line the list shows, and a
function ``rows(settings: Settings) -> Iterator[Row]``. What its rows are called in tables, and
their targets, stand in ``targets``; why a target is missed, in ``shortfalls``.
"""
