"""QK and OV circuits: what a head looks for and what it copies, as factored matrices.

Reference: Elhage et al. 2021, *A Mathematical Framework for Transformer Circuits*. Rows are what is
read: a score is ``x_query @ QK @ x_key``, and a head adds ``attention * x_source @ OV`` to the
residual stream. GPT-Neo does not divide its scores by sqrt(d_head). A 50257 x 50257 product is
never formed: TransformerLens's ``FactoredMatrix`` has norms, singular values and eigenvalues
without it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, SupportsIndex

import torch
from jaxtyping import Float
from torch import Tensor

from neoscope.analysis.reading import GivenModel, as_model
from neoscope.analysis.weights.views import fold
from neoscope.errors import AnalysisError
from neoscope.indices import whole

if TYPE_CHECKING:
    from transformer_lens import FactoredMatrix

    from neoscope.model import HookedGPTNeo


def qk_circuit(
    model: GivenModel,
    layer: SupportsIndex,
    head: SupportsIndex,
    *,
    fold_ln: bool = True,
    tokens: bool = False,
    center: bool = False,
) -> FactoredMatrix:
    """Return how a head scores a query (rows) against a key (columns), ``W_Q @ W_K.T``.

    Biases, which LayerNorm's own makes, are not part of it.

    Args:
        model: Whose weights; they are copied.
        layer: From the front, or from the back if negative.
        head: Of that layer; the same.
        fold_ln: Put LayerNorm's gain in, and its centring; what is read is then the normalised
            residual stream.
        tokens: In the basis of tokens, ``W_E @ W_Q @ W_K.T @ W_E.T``, [d_vocab, d_vocab]; else
            [d_model, d_model].
        center: With ``tokens``: take the mean over the vocabulary out of the embeddings first,
            which GPT-Neo's large shared offset would otherwise drown everything in.

    Raises:
        AnalysisError: No such layer or head, or ``center`` without ``tokens``.

    Example:
        >>> import neoscope as ns
        >>> from neoscope.analysis import qk_circuit
        >>> qk_circuit(ns.load("organism"), 0, 0, tokens=True).shape
        torch.Size([750, 750])
    """
    from transformer_lens import FactoredMatrix

    model = as_model(model, "qk_circuit")
    place = read_head(model, layer, head)
    _check_center(tokens, center)
    left, right = (_read(model, *place, which, fold_ln) for which in (0, 1))
    if not tokens:
        return FactoredMatrix(left, right.T)
    table = embedding(model, center=center)
    return FactoredMatrix(table @ left, (table @ right).T)


def ov_circuit(
    model: GivenModel,
    layer: SupportsIndex,
    head: SupportsIndex,
    *,
    fold_ln: bool = True,
    tokens: bool = False,
    center: bool = False,
) -> FactoredMatrix:
    """Return what a head adds for what it attends to, ``W_V @ W_O``.

    Biases are not part of it.

    Args:
        model: Whose weights; they are copied.
        layer: From the front, or from the back if negative.
        head: Of that layer; the same.
        fold_ln: Put LayerNorm's gain and centring in: before the head, and with ``tokens`` the
            final one's before the unembedding.
        tokens: In the basis of tokens, ``W_E @ W_V @ W_O @ W_U``, [d_vocab, d_vocab]; else
            [d_model, d_model].
        center: With ``tokens``: take the mean over the vocabulary out of the embeddings and the
            unembedding first; without it GPT-Neo's shared offset makes one giant eigenvalue.

    Raises:
        AnalysisError: No such layer or head, or ``center`` without ``tokens``.

    Example:
        >>> import neoscope as ns
        >>> from neoscope.analysis import ov_circuit
        >>> ov = ov_circuit(ns.load("induction"), 1, 0, tokens=True, center=True)
        >>> values = ov.eigenvalues
        >>> round(float(values.real.sum() / values.abs().sum()), 2)  # it copies
        1.0
    """
    from transformer_lens import FactoredMatrix

    model = as_model(model, "ov_circuit")
    place = read_head(model, layer, head)
    _check_center(tokens, center)
    value = _read(model, *place, 2, fold_ln)
    out = _raised(model.blocks[place[0]].attn.W_O[place[1]])
    if not tokens:
        return FactoredMatrix(value, out)
    table = embedding(model, center=center)
    return FactoredMatrix(table @ value, out @ unembedding(model, fold_ln=fold_ln, center=center))


def read_head(model: HookedGPTNeo, layer: Any, head: Any) -> tuple[int, int]:
    """Return a layer and a head counted from the front.

    Raises:
        AnalysisError: There is no such layer or head.
    """
    found = []
    sizes = (("layer", layer, model.config.n_layers), ("head", head, model.config.n_heads))
    for name, given, n in sizes:
        number = whole(given)
        if number is None or not -n <= number < n:
            raise AnalysisError(
                f"{name}={given!r} does not exist; the model has {name}s 0 to {n - 1} (or -{n} to "
                "-1)"
            )
        found.append(number % n)
    return found[0], found[1]


def _check_center(tokens: bool, center: bool) -> None:
    if center and not tokens:
        raise AnalysisError(
            "center=True takes the mean over the vocabulary out of the embeddings; it needs "
            "tokens=True"
        )


def _raised(x: Tensor) -> Tensor:
    """A copy, in float32 where it was in half precision."""
    return x.detach().to(torch.promote_types(x.dtype, torch.float32), copy=True)


def _read(
    model: HookedGPTNeo, layer: int, head: int, which: int, fold_ln: bool
) -> Float[Tensor, "d_model d_head"]:
    """Return a head's W_Q, W_K or W_V (0, 1, 2), as it reads the normalised stream."""
    block = model.blocks[layer]
    weight = _raised((block.attn.W_Q, block.attn.W_K, block.attn.W_V)[which][head])
    return fold(weight, _raised(block.ln1.w)) if fold_ln else weight


def embedding(model: HookedGPTNeo, *, center: bool) -> Float[Tensor, "d_vocab d_model"]:
    """Return a copy of the token embeddings, less their mean over the vocabulary if ``center``."""
    table = _raised(model.W_E)
    return table - table.mean(0) if center else table


def unembedding(
    model: HookedGPTNeo, *, fold_ln: bool, center: bool
) -> Float[Tensor, "d_model d_vocab"]:
    """Return a copy of the unembedding, with the final LayerNorm's gain and centring in it.

    Args:
        model: Whose.
        fold_ln: Whether these are in it.
        center: Take the mean over the vocabulary out, which no probability depends on.
    """
    table = _raised(model.W_U)
    if fold_ln:
        table = fold(table, _raised(model.ln_final.w))
    return table - table.mean(-1, keepdim=True) if center else table
