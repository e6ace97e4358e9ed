"""Eraser: an affine map that takes a few directions out of representations, and nothing else."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float
from numpy.typing import NDArray

from neoscope.errors import ProbeError

if TYPE_CHECKING:
    from neoscope.edits import Edit

Array = NDArray[Any]
_FORMAT, _FILE, _KEY = 2, "eraser.safetensors", "neoscope_eraser"


@dataclass(frozen=True, eq=False)
class Eraser:
    """The map ``r(x) = x - left right (x - mean)``; ``right left`` is the identity.

    So erasing twice is erasing once, and the mean stays where it is.
    """

    mean: Float[np.ndarray, " features"]
    left: Float[np.ndarray, "features rank"]
    right: Float[np.ndarray, "rank features"]
    method: str = "leace"
    """``leace``, ``mean projection``, ``projection`` or what else made it."""

    @property
    def rank(self) -> int:
        """How many directions it takes out; of K classes usually K - 1."""
        return int(self.left.shape[1])

    @property
    def n_features(self) -> int:
        """Length of the vectors that it takes."""
        return len(self.mean)

    def __repr__(self) -> str:
        """Return one line without the numbers."""
        return f"Eraser({self.method}: rank {self.rank} of {self.n_features} features)"

    def matrix(self) -> Float[np.ndarray, "features features"]:
        """Return P of ``r(x) = mean + P (x - mean)``, an idempotent matrix."""
        return np.asarray(np.eye(self.n_features) - self.left @ self.right)

    def __call__(self, x: Any) -> Any:
        """Return x without the concept.

        Args:
            x: [..., features], numpy (or a list), or a torch tensor.

        Returns:
            As it came: of numpy float64, so that what is erased is gone to the last digits; of
            torch the tensor's own type, on its device (half precision is computed in float32).

        Raises:
            ProbeError: The last axis has another length.
        """
        if type(x).__module__.partition(".")[0] == "torch":
            return _Torch(self)(x)
        rows = np.asarray(x, np.float64)
        self._check(rows.shape)
        return rows - ((rows - self.mean) @ self.right.T) @ self.left.T

    def edit(self, site: str, layer: Any = None, **where: Any) -> Edit:
        """Return the edit that erases in a running model.

        Args:
            site: Short or full name, such as ``"resid_post"``.
            layer: One layer, several, or None for all.
            where: ``head``, ``positions`` or ``unit``. At a site of heads without ``head`` the
                features are those of all heads, one after the other.
        """
        from neoscope.edits import transform

        return transform(site, layer, _Torch(self), **where)

    def save(self, folder: str | os.PathLike[str]) -> Path:
        """Write ``eraser.safetensors``, whole or not at all; its header says what it is.

        Args:
            folder: Made if it is not there. An eraser in it is replaced.

        Returns:
            The folder.
        """
        from safetensors.numpy import save_file

        from neoscope.files import atomic

        at = Path(folder)
        at.mkdir(parents=True, exist_ok=True)
        # One file, because of two the process may die between the one and the other.
        card = {
            "format": _FORMAT,
            "method": self.method,
            "rank": self.rank,
            "n_features": self.n_features,
        }
        tensors = {"mean": self.mean, "left": self.left, "right": self.right}
        kept = {name: np.ascontiguousarray(x) for name, x in tensors.items()}
        with atomic(at / _FILE) as path:
            save_file(kept, path, metadata={_KEY: json.dumps(card)})
        return at

    @classmethod
    def load(cls, folder: str | os.PathLike[str]) -> Eraser:
        """Read what :meth:`save` wrote.

        Raises:
            ProbeError: There is no eraser in the folder, or it is damaged.
        """
        from safetensors import SafetensorError, safe_open

        at = Path(folder)
        try:
            with safe_open(at / _FILE, framework="numpy") as file:
                card = json.loads((file.metadata() or {})[_KEY])
                mean, left, right = (file.get_tensor(name) for name in ("mean", "left", "right"))
            eraser = cls(mean, left, right, str(card["method"]))
        except FileNotFoundError as error:
            raise ProbeError(f"there is no eraser in {at}: expected {_FILE}") from error
        except (OSError, SafetensorError, ValueError, KeyError, TypeError) as error:
            raise ProbeError(f"cannot read the eraser in {at}: {error}") from error
        d, k = card.get("n_features"), card.get("rank")
        found = (eraser.mean.shape, eraser.left.shape, eraser.right.shape)
        if card.get("format") != _FORMAT or found != ((d,), (d, k), (k, d)):
            raise ProbeError(
                f"the eraser in {at} is damaged: its header says format {card.get('format')!r}, "
                f"{d} features, rank {k}; its tensors have shapes {found}"
            )
        return eraser

    def _check(self, shape: tuple[int, ...]) -> None:
        if not shape or shape[-1] != self.n_features:
            raise ProbeError(
                f"the eraser takes vectors of {self.n_features} features; found shape {shape}"
            )


class _Torch:
    """The same map on tensors, its numbers kept where the last tensor was."""

    def __init__(self, eraser: Eraser) -> None:
        self._eraser = eraser
        self._at: Any = None
        self._tensors: tuple[Any, ...] = ()

    def __call__(self, x: Any) -> Any:
        import torch

        eraser = self._eraser
        d = eraser.n_features
        # A site of heads, all of them: their vectors one after the other.
        heads = x.ndim > 1 and x.shape[-1] != d and x.shape[-1] * x.shape[-2] == d
        flat = x.flatten(-2) if heads else x
        eraser._check(tuple(flat.shape))
        dtype = x.dtype if x.dtype in (torch.float32, torch.float64) else torch.float32
        if self._at != (x.device, dtype):
            parts = (eraser.mean, eraser.left, eraser.right)
            self._tensors = tuple(torch.as_tensor(p).to(x.device, dtype) for p in parts)
            self._at = (x.device, dtype)
        mean, left, right = self._tensors
        rows = flat.to(dtype)
        return (rows - ((rows - mean) @ right.T) @ left.T).to(x.dtype).reshape(x.shape)
