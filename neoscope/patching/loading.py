"""Reading whatever a patching experiment saved, as the class that wrote it."""

from __future__ import annotations

import importlib
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from neoscope.errors import PatchingError
from neoscope.patching.saved import kind_of

if TYPE_CHECKING:
    from neoscope.patching.gradient.circuit import Circuit
    from neoscope.patching.gradient.edge_scores import EdgeScores
    from neoscope.patching.gradient.result import AttributionResult
    from neoscope.patching.result import PatchingResult

_HOMES = {
    "PatchingResult": "neoscope.patching.result",
    "TraceResult": "neoscope.patching.trace_result",
    "AttributionResult": "neoscope.patching.gradient.result",
    "EdgeScores": "neoscope.patching.gradient.edge_scores",
    "Circuit": "neoscope.patching.gradient.circuit",
}


def load(
    path: str | os.PathLike[str],
) -> PatchingResult | AttributionResult | EdgeScores | Circuit:
    """Read what any ``save`` of :mod:`neoscope.patching` wrote.

    Args:
        path: The file; what is in it is seen from itself.

    Returns:
        A :class:`PatchingResult`, :class:`TraceResult`, :class:`AttributionResult`,
        :class:`EdgeScores` or :class:`Circuit`, equal to the one that was saved. One that needs a
        model to be audited has none any more.

    Raises:
        PatchingError: There is no such file, or it is damaged or something else.

    Example:
        >>> from tempfile import TemporaryDirectory
        >>> from neoscope.patching.gradient.circuit import Circuit
        >>> from neoscope.patching.gradient.graph import Graph
        >>> circuit = Circuit.of(Graph(2, 1), ["embed->a0.h0<v>", "a0.h0->logits"])
        >>> with TemporaryDirectory() as folder:
        ...     load(circuit.save(f"{folder}/circuit.json")) == circuit
        True
    """
    source = Path(path).expanduser()
    if not source.is_file():
        raise PatchingError(f"there is no result file {source}")
    kind = kind_of(source)
    if kind is None:
        raise PatchingError(
            f"{source} is damaged or no result of neoscope's; expected what was saved by one of "
            f"{', '.join(_HOMES)}"
        )
    owner: Any = getattr(importlib.import_module(_HOMES[kind]), kind)
    return owner.load(source)  # type: ignore[no-any-return]
