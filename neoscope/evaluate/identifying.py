"""identity: is a checkpoint what it is said to be? Its embedding beside what others measured."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float

from neoscope.analysis.weights.embedding_figures import embedding_statistics
from neoscope.evaluate.kept import Kept
from neoscope.evaluate.published import EMBEDDING, SHAPES, Statistic, shaped_as

if TYPE_CHECKING:
    import pandas as pd

    from neoscope.model import HookedGPTNeo

_COUNTED = "counted from its published configuration"


@dataclass(frozen=True, eq=False, repr=False)
class Identity(Kept):
    """Statistics of a checkpoint beside the published ones of the model that has its shape."""

    model: str
    published_as: str | None
    """The published model of this shape; None where there is none, and no row."""
    what: tuple[str, ...]
    value: Float[np.ndarray, " row"]
    published: Float[np.ndarray, " row"]
    within: Float[np.ndarray, " row"]
    """How far a value of the same checkpoint may be from the published one."""
    source: tuple[str, ...]

    @property
    def ok(self) -> bool | None:
        """Whether every value is within its bound; None where nothing could be compared."""
        if not self.what:
            return None
        return bool((np.abs(self.value - self.published) <= self.within).all())

    def heading(self) -> str:
        """Return what is compared."""
        if self.published_as is None:
            return f"{self.model}: no figures are published of a model of this shape"
        return f"{self.model} beside what is published of gpt-neo-{self.published_as}"

    def to_dataframe(self) -> pd.DataFrame:
        """Return a row for each figure: ``what, value, published, within, ok, source``."""
        import pandas as pd

        return pd.DataFrame(
            {
                "what": self.what,
                "value": self.value,
                "published": self.published,
                "within": self.within,
                "ok": np.abs(self.value - self.published) <= self.within,
                "source": self.source,
            }
        )


def identity(model: HookedGPTNeo) -> Identity:
    """Compare a model with what is published of the checkpoint that has its shape.

    Of every published size that is the number of parameters; of gpt-neo-125m also how alike its
    token embeddings are, which tells it from a random or a retrained model.

    Args:
        model: The model; hooks and edits do not matter.

    Example:
        >>> import neoscope as ns
        >>> found = identity(ns.load("organism"))
        >>> found.published_as, found.ok, len(found.what)
        (None, None, 0)
    """
    name = shaped_as(model.config)
    rows: list[tuple[Statistic, float]] = []
    if name is not None:
        count = Statistic("n_params", "parameters", float(SHAPES[name].n_params), 0.0, _COUNTED)
        rows.append((count, float(sum(weight.numel() for weight in model.parameters()))))
    if name is not None and name in EMBEDDING:
        measured = embedding_statistics(model)
        rows += [(statistic, getattr(measured, statistic.name)) for statistic in EMBEDDING[name]]
    return Identity(
        model=str(model.cfg.model_name),
        published_as=name,
        what=tuple(statistic.what for statistic, _ in rows),
        value=np.array([value for _, value in rows], dtype=float),
        published=np.array([statistic.value for statistic, _ in rows], dtype=float),
        within=np.array([statistic.within for statistic, _ in rows], dtype=float),
        source=tuple(statistic.source for statistic, _ in rows),
    )
