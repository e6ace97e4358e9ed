"""Reading whatever a patching experiment saved, as the class that wrote it."""

from __future__ import annotations

import importlib
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from neoscope.errors import PatchingError
from neoscope.patching.results.saved import kind_of

if TYPE_CHECKING:
    from neoscope.patching.circuits.circuit import Circuit
    from neoscope.patching.circuits.result import Faithfulness, Minimality
    from neoscope.patching.gradient.audit import Audit
    from neoscope.patching.gradient.edge_scores import EdgeScores
    from neoscope.patching.gradient.result import AttributionResult
    from neoscope.patching.results.result import PatchingResult
    from neoscope.patching.subspace.result import DasResult
    from neoscope.patching.sweeps.first_look import Every

_HOMES = {
    "PatchingResult": "neoscope.patching.results.result",
    "TraceResult": "neoscope.patching.tracing.result",
    "AttributionResult": "neoscope.patching.gradient.result",
    "EdgeScores": "neoscope.patching.gradient.edge_scores",
    "Circuit": "neoscope.patching.circuits.circuit",
    "Every": "neoscope.patching.sweeps.first_look",
    "DasResult": "neoscope.patching.subspace.result",
    "Faithfulness": "neoscope.patching.circuits.result",
    "Minimality": "neoscope.patching.circuits.result",
    "Audit": "neoscope.patching.gradient.audit",
}


def load(
    path: str | os.PathLike[str],
) -> (
    PatchingResult
    | AttributionResult
    | EdgeScores
    | Circuit
    | Every
    | DasResult
    | Faithfulness
    | Minimality
    | Audit
):
    """Read what any ``save`` of :mod:`neoscope.patching` wrote.

    Args:
        path: The file; what is in it is seen from itself.

    Returns:
        What was saved: a :class:`PatchingResult`, :class:`TraceResult`, :class:`Every`,
        :class:`AttributionResult`, :class:`EdgeScores`, :class:`Audit`, :class:`Circuit`,
        :class:`Faithfulness`, :class:`Minimality` or :class:`DasResult`. One that needs a model to
        be audited has none any more.

    Raises:
        PatchingError: There is no such file, or it is damaged or something else.

    Example:
        >>> from tempfile import TemporaryDirectory
        >>> from neoscope.patching.circuits.circuit import Circuit
        >>> from neoscope.patching.circuits.graph import Graph
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
