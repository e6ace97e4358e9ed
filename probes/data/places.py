"""Place and Source: where in which model a matrix of features comes from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any


@dataclass(frozen=True)
class Place:
    """One matrix of features: a site in one layer, or one head of it.

    Example:
        >>> str(Place("resid_post", 3)), str(Place("z", 2, 1)), str(Place("embed"))
        ('resid_post 3', 'z 2.1', 'embed')
    """

    site: str
    """Short name, such as ``resid_post``; ``X`` for an array that came from anywhere."""
    layer: int | None = None
    """None for a site that the model has once, and for arrays."""
    head: int | None = None
    """None for the whole site."""

    def __str__(self) -> str:
        """Return what errors and tables call it."""
        if self.layer is None:
            return self.site
        return f"{self.site} {self.layer}{'' if self.head is None else f'.{self.head}'}"


@dataclass(frozen=True)
class Source:
    """What the features of some data were made by; None where nobody knows."""

    model: str | None = None
    """Fingerprint of config and weights, as ``model.fingerprint()`` gives it."""
    model_name: str | None = None
    """What the model was loaded from."""
    pool: str | None = None
    """How the tokens of a row became one vector: ``mean``, ``last``, ..."""
    more: Mapping[str, Any] = field(default_factory=dict)
    """Whatever else changes the numbers: ``prepend_bos``, ``max_length``, ``dtype``, ..."""

    def record(self) -> dict[str, Any]:
        """Return it as plain JSON values."""
        return asdict(self)
