"""Composition scores: how much of what one head writes a later head reads, for every pair of heads.

Reference: Elhage et al. 2021, *A Mathematical Framework for Transformer Circuits*, section on
"Two-Layer Attention-Only Transformers": the Frobenius norm of the product of two circuits, over the
product of their norms.
"""

from __future__ import annotations

import itertools
import math
import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from neoscope.analysis.given import whole_number
from neoscope.analysis.reading import GivenModel, GivenProgress, as_model, check_progress, undivided
from neoscope.analysis.result import Result, counted, narrow, wrapped
from neoscope.analysis.weights.views import fold
from neoscope.errors import AnalysisError
from neoscope.progress import Progress

if TYPE_CHECKING:
    import pandas as pd

    from neoscope.model import HookedGPTNeo

Scores = Float[np.ndarray, "layer head later_layer later_head"]


@dataclass(frozen=True, eq=False, repr=False)
class Composition(Result):
    """How heads compose; see :func:`neoscope.analysis.composition`. NaN where they cannot."""

    model: str
    q: Scores
    """Through the later head's queries."""
    k: Scores
    """Through its keys."""
    v: Scores
    """Through its values."""
    baseline: float
    """What two random matrices score: 1 / sqrt(d_model)."""
    complete: bool = True
    """False where it was interrupted: pairs of layers that were not done are NaN too."""

    def heading(self) -> str:
        """Return what was measured."""
        n = int((~np.isnan(self.q)).sum())
        if not n:
            return (
                f"composition: {self.model} has one layer, so no head can read what one of an "
                "earlier layer wrote"
            )
        return (
            f"composition of {counted(n, 'pair')} of heads ({self.model}); random weights would "
            f"score {self.baseline:.3g}{'' if self.complete else '; interrupted'}"
        )

    def to_dataframe(self) -> pd.DataFrame:
        """Return ``layer``, ``head``, ``later_layer``, ``later_head``, ``q``, ``k`` and ``v``.

        A head composes with heads of later layers only; other pairs are left out.
        """
        import pandas as pd

        at = np.argwhere(~np.isnan(self.q))
        table = pd.DataFrame(at, columns=["layer", "head", "later_layer", "later_head"])
        for kind in "qkv":
            table[kind] = getattr(self, kind)[tuple(at.T)]
        return table

    def top(self, kind: str = "k", k: int = 10) -> pd.DataFrame:
        """Return the ``k`` pairs that compose most through ``"q"``, ``"k"`` or ``"v"``.

        Raises:
            AnalysisError: No such kind, or ``k`` is below 1.
        """
        if kind not in ("q", "k", "v"):
            raise AnalysisError(f"kind={kind!r} is none of q, k, v")
        number = whole_number(k, "k")
        table = self.to_dataframe()
        return (
            table.sort_values(kind, ascending=False, kind="stable")
            .head(number)
            .reset_index(drop=True)
        )

    def summary(self) -> pd.DataFrame:
        """Return the pairs with the largest score of any kind."""
        table = self.to_dataframe()
        order = table[["q", "k", "v"]].max(axis=1).sort_values(ascending=False, kind="stable").index
        return table.loc[order[:20]]

    def __str__(self) -> str:
        """Return the heading and the pairs with the largest scores, in 80 columns."""
        table, n = self.summary(), int((~np.isnan(self.q)).sum())
        if not n:
            return wrapped(self.heading())
        left = n - len(table)
        more = f"\n... {counted(left, 'more row')}: to_dataframe()" if left else ""
        return f"{wrapped(self.heading())}\n{narrow(table)}{more}"


def composition(
    model: GivenModel, *, fold_ln: bool = True, progress: GivenProgress = True
) -> Composition:
    """Return Q-, K- and V-composition scores of every pair of heads in different layers.

    Args:
        model: Whose weights; nothing is run, and nothing changed.
        fold_ln: Put LayerNorms' gains and centring in, as the later head reads through them.
        progress: True for a bar after two seconds, False for none, or a function of the pairs of
            layers done and in all.

    Raises:
        AnalysisError: It is no model.
        KeyboardInterrupt: No pair of layers is done yet; later those that are done are returned,
            with ``complete=False`` and a warning.

    Example:
        >>> import neoscope as ns
        >>> from neoscope.analysis import composition
        >>> composition(ns.load("induction")).top("k", 1).iloc[0, :4].astype(int).tolist()
        [0, 0, 1, 0]
    """
    model = as_model(model, "composition")
    progress = check_progress(progress, "composition")
    c = model.config
    n, h = c.n_layers, c.n_heads
    found = {kind: np.full((n, h, n, h), np.nan) for kind in "qkv"}
    pairs = list(itertools.combinations(range(n), 2))
    done = 0
    with undivided("composition"), Progress(progress, len(pairs), "pair of layers") as bar:
        try:
            parts = [_parts(model, layer, fold_ln) for layer in range(n)]
            for early, late in pairs:
                for kind, scores in _pair(parts[early], parts[late]).items():
                    found[kind][early, :, late] = scores.double().cpu().numpy()
                done += 1
                bar.update()
        except KeyboardInterrupt:
            if not done:
                raise
            for early, late in pairs[done:]:
                for scores_of in found.values():
                    scores_of[early, :, late] = np.nan
            said = f"interrupted: {done} of {counted(len(pairs), 'pair')} of layers are done"
            warnings.warn(said, stacklevel=2)
    return Composition(
        model=model.cfg.model_name, baseline=1 / math.sqrt(c.d_model),
        q=found["q"], k=found["k"], v=found["v"], complete=done == len(pairs),
    )  # fmt: skip


def _parts(model: HookedGPTNeo, layer: int, fold_ln: bool) -> dict[str, Tensor]:
    """What a layer writes and reads, each with the half that no partner sees shrunk to its root.

    ``|A M B|`` depends on a tall ``A`` only through the root of ``A.T @ A``, [d_head, d_head], so
    that a pair of layers costs one product of two [d_model, d_model] matrices.
    """
    block = model.blocks[layer]
    kept = torch.promote_types(model.dtype, torch.float32)
    high = torch.float32 if model.device.type == "mps" else torch.float64
    w = {kind: getattr(block.attn, f"W_{kind}").detach().to(high) for kind in "QKVO"}
    if fold_ln:
        gain = block.ln1.w.detach().to(high)
        w |= {kind: fold(w[kind], gain) for kind in "QKV"}
    root = {kind: _root(w[kind]) for kind in "QKV"} | {"O": _root(w["O"].mT)}
    size = {"qk": _size(root["Q"], root["K"]), "ov": _size(root["V"], root["O"])}
    out = {
        "writes": root["V"] @ w["O"],
        "q": w["Q"] @ root["K"].mT,
        "k": w["K"] @ root["Q"].mT,
        "v": w["V"] @ root["O"].mT,
    }
    return {name: x.to(kept) for name, x in (out | size).items()}


def _root(x: Float[Tensor, "head d_model d_head"]) -> Float[Tensor, "head d_head d_head"]:
    """Return ``R`` with ``R.T @ R == x.T @ x``; a head without weights has one too."""
    gram = x.mT @ x
    lower, failed = torch.linalg.cholesky_ex(gram)
    found: Tensor = lower.mT
    if bool(failed.any()):  # some head reads fewer than d_head directions
        values, vectors = torch.linalg.eigh(gram)
        found = values.clamp(min=0).sqrt()[..., None] * vectors.mT
    return found


def _size(left: Tensor, right: Tensor) -> Float[Tensor, "head"]:
    found: Tensor = (left @ right.mT).norm(dim=(-2, -1))
    return found


def _pair(early: dict[str, Tensor], late: dict[str, Tensor]) -> dict[str, Tensor]:
    """Scores [head, later_head]; what has no weights composes with nothing."""
    heads, d_head, d_model = early["writes"].shape
    written = early["writes"].reshape(-1, d_model)
    out = {}
    for kind, circuit in (("q", "qk"), ("k", "qk"), ("v", "ov")):
        product = written @ late[kind].transpose(0, 1).reshape(d_model, -1)
        blocks = product.view(heads, d_head, heads, d_head)
        sizes = early["ov"][:, None] * late[circuit]
        out[kind] = torch.where(sizes > 0, blocks.norm(dim=(1, 3)) / sizes, 0.0)
    return out
