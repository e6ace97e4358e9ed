"""Side-by-side benchmarks: ``python -m tests.benchmarks`` lists them.

A benchmark is a module of this package with a docstring, whose first line the list shows, and a
function ``rows(settings: Settings) -> Iterator[Contest | Figure]``. It is found by its name; a
module without ``rows`` is no benchmark.
"""
