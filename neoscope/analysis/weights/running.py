"""A forward with the weights of a view, and its comparison with the model; nothing is hooked."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from neoscope.analysis.reading import as_model
from neoscope.errors import AnalysisError
from neoscope.inputs import is_text, read_tokens, visibility_of
from neoscope.mlp import activation
from neoscope.visibility import Visibility

if TYPE_CHECKING:
    from neoscope.analysis.weights.views import WeightView
    from neoscope.model import HookedGPTNeo

_HALF = (torch.bfloat16, torch.float16)


def view_logits(
    view: WeightView, model: HookedGPTNeo, tokens: Any
) -> Float[Tensor, "batch pos d_vocab"]:
    """Return the logits that a view's weights give; see :meth:`WeightView.logits`.

    Raises:
        AnalysisError: The model has another shape.
    """
    model = as_model(model, "WeightView.logits")
    c = model.config
    if len(view.W_Q) != c.n_layers or view.W_E.shape != model.W_E.shape:
        raise AnalysisError(
            f"the view is of another model: its embedding is {list(view.W_E.shape)}, the model's "
            f"{[c.d_vocab, c.d_model]}"
        )
    ids, visibility = _read(model, tokens)
    w, eps = view, c.ln_eps
    with torch.no_grad():
        x = w.W_E[ids] + w.W_pos[visibility.query_positions()]
        for layer in range(c.n_layers):
            n = _norm(x, w.ln1_w[layer], w.ln1_b[layer], eps)
            x = x + _attention(w, layer, n, visibility, c.window(layer))
            n = _norm(x, w.ln2_w[layer], w.ln2_b[layer], eps)
            post = activation(c.act_fn)(n @ w.W_in[layer] + w.b_in[layer])
            x = x + post @ w.W_out[layer] + w.b_out[layer]
        out: Tensor = _norm(x, w.ln_final_w, w.ln_final_b, eps) @ w.W_U + w.b_U
    return out


def _read(model: HookedGPTNeo, tokens: Any) -> tuple[Tensor, Visibility]:
    read = read_tokens(
        model.tokenize(tokens) if is_text(tokens) else tokens, None, model.config, model.device
    )
    assert read.ids is not None
    return read.ids, visibility_of(read, None, model.config, model.device)


def _norm(x: Tensor, w: Tensor, b: Tensor, eps: float) -> Tensor:
    return F.layer_norm(x, x.shape[-1:], w, b, eps)


def _attention(
    w: WeightView, layer: int, n: Tensor, visibility: Visibility, window: int | None
) -> Tensor:
    q, k, v = (
        torch.einsum("bpd,hde->bhpe", n, weight[layer]) + bias[layer][:, None]
        for weight, bias in ((w.W_Q, w.b_Q), (w.W_K, w.b_K), (w.W_V, w.b_V))
    )
    span = (0, visibility.n_query)
    hidden = ~visibility.allowed(window, span, span)
    pattern = (q @ k.transpose(-1, -2)).masked_fill(hidden, -torch.inf).softmax(-1)
    return torch.einsum("bhpe,hed->bpd", pattern @ v, w.W_O[layer]) + w.b_O[layer]


def compare(view: WeightView, model: HookedGPTNeo, tokens: Any, tolerance: float | None) -> float:
    """Return how far a view is from its model; see :meth:`WeightView.check`.

    Raises:
        AnalysisError: More than the tolerance, or the model is edited.
    """
    model = as_model(model, "WeightView.check")
    if model.is_edited:
        raise AnalysisError(
            "edits or hooks are in force, which a view of the weights knows nothing of; check it "
            "outside of them"
        )
    found = view_logits(view, model, tokens).double()
    ids, visibility = _read(model, tokens)
    with torch.no_grad():
        expected = model(ids, visibility.mask).double()
    real = slice(None) if visibility.mask is None else visibility.mask
    pairs = [(found.log_softmax(-1), expected.log_softmax(-1))]
    if "center_unembed" not in view.folded:
        pairs.append((found, expected))
    worst = max(float((x - y)[real].abs().max()) for x, y in pairs)
    limit = tolerance
    if limit is None:
        # Half precision rounds every hidden state and every logit.
        kinds = (model.dtype, view.W_E.dtype)
        eps = max((torch.finfo(kind).eps for kind in kinds if kind in _HALF), default=0.0)
        limit = max(1e-4, 4 * eps * float(expected[real].abs().max()))
    if not worst <= limit:
        raise AnalysisError(
            f"the view's log-probabilities are {worst:.3g} from the model's, more than {limit:.3g};"
            " it is a view of other weights, or these have changed"
        )
    return worst
