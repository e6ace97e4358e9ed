"""Weight views: a model's weights with LayerNorm folded in and shared offsets removed, as copies.

The transformations are TransformerLens's (``ProcessWeights``): *fold_ln* moves each LayerNorm's
gain and bias into the weights that read it, and takes out of these what a centred input cannot
show; *fold_value_biases* moves the value biases that this makes into the attention's output bias;
*center_writing* takes the mean over the residual dimensions out of all that is written, which every
LayerNorm removes anyway; *center_unembed* takes the mean over the vocabulary out of the
unembedding, which shifts all logits of a position alike. GPT-Neo's unembedding is its embedding:
here the two are separate copies, and the model is not touched.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Float
from torch import Tensor

from neoscope.analysis.reading import GivenModel, as_model
from neoscope.errors import AnalysisError

if TYPE_CHECKING:
    from neoscope.model import HookedGPTNeo


@dataclass(frozen=True, eq=False, repr=False)
class WeightView:
    """All weights of a model under TransformerLens's names, stacked over layers; new tensors.

    What was folded away is one (gains) or zero (biases).
    """

    model_name: str
    folded: tuple[str, ...]
    """Which of fold_ln, fold_value_biases, center_writing and center_unembed were done."""
    W_E: Float[Tensor, "d_vocab d_model"]
    W_pos: Float[Tensor, "n_ctx d_model"]
    ln1_w: Float[Tensor, "layer d_model"]
    ln1_b: Float[Tensor, "layer d_model"]
    W_Q: Float[Tensor, "layer head d_model d_head"]
    b_Q: Float[Tensor, "layer head d_head"]  # noqa: N815
    W_K: Float[Tensor, "layer head d_model d_head"]
    b_K: Float[Tensor, "layer head d_head"]  # noqa: N815
    W_V: Float[Tensor, "layer head d_model d_head"]
    b_V: Float[Tensor, "layer head d_head"]  # noqa: N815
    W_O: Float[Tensor, "layer head d_head d_model"]
    b_O: Float[Tensor, "layer d_model"]  # noqa: N815
    ln2_w: Float[Tensor, "layer d_model"]
    ln2_b: Float[Tensor, "layer d_model"]
    W_in: Float[Tensor, "layer d_model d_mlp"]
    b_in: Float[Tensor, "layer d_mlp"]
    W_out: Float[Tensor, "layer d_mlp d_model"]
    b_out: Float[Tensor, "layer d_model"]
    ln_final_w: Float[Tensor, "d_model"]
    ln_final_b: Float[Tensor, "d_model"]
    W_U: Float[Tensor, "d_model d_vocab"]
    b_U: Float[Tensor, "d_vocab"]  # noqa: N815

    def tensors(self) -> Iterator[tuple[str, Tensor]]:
        """Yield every weight with its name."""
        for field in fields(self):
            value = getattr(self, field.name)
            if isinstance(value, Tensor):
                yield field.name, value

    @property
    def nbytes(self) -> int:
        """Bytes of memory held."""
        return sum(x.numel() * x.element_size() for _, x in self.tensors())

    def logits(self, model: HookedGPTNeo, tokens: Any) -> Float[Tensor, "batch pos d_vocab"]:
        """Run a forward with these weights.

        Args:
            model: Of the same shape; it lends its windows, its activation and its tokenizer.
            tokens: Text, texts, token ids or :class:`Tokens`.
        """
        from neoscope.analysis.weights.running import view_logits

        return view_logits(self, model, tokens)

    def check(self, model: HookedGPTNeo, tokens: Any, *, tolerance: float | None = None) -> float:
        """Refuse a view that does not say what the model says.

        Compared are log-probabilities at every real token, and the logits themselves unless the
        unembedding was centred.

        Args:
            model: Whose weights these are; no edits or hooks may be in force.
            tokens: Text, texts, token ids or :class:`Tokens`.
            tolerance: Default 1e-4, more where the model or the view is in half precision.

        Returns:
            The largest difference.

        Raises:
            AnalysisError: It is above the tolerance, or what was given is edited or no model.
        """
        from neoscope.analysis.weights.running import compare

        return compare(self, model, tokens, tolerance)

    def __repr__(self) -> str:
        """Return what it is a view of, on one line."""
        done = ", ".join(self.folded) or "nothing folded"
        kept = str(self.W_E.dtype).removeprefix("torch.")
        return f"WeightView({self.model_name!r}: {done}; {kept}, {self.nbytes / 2**20:.1f} MiB)"


def weight_view(
    model: GivenModel,
    *,
    fold_ln: bool = True,
    fold_value_biases: bool = True,
    center_writing: bool = True,
    center_unembed: bool = True,
    dtype: torch.dtype | None = None,
) -> WeightView:
    """Return a model's weights with LayerNorm folded in and offsets removed; the model stays.

    Args:
        model: Whose weights; edits and hooks do not matter.
        fold_ln: Move gains and biases of LayerNorms into the weights that read them.
        fold_value_biases: Move value biases, which only ``fold_ln`` makes, into ``b_O``.
        center_writing: Take the mean over the residual dimensions out of all that is written.
        center_unembed: Take the mean over the vocabulary out of the unembedding.
        dtype: Of the copies; default the model's own, float32 for half precision. All is computed
            in float64.

    Raises:
        AnalysisError: ``dtype`` is no floating-point type.

    Example:
        >>> import neoscope as ns
        >>> from neoscope.analysis import weight_view
        >>> model = ns.load("organism")
        >>> view = weight_view(model)
        >>> view.check(model, "The keys to the cabinet") < 1e-4
        True
        >>> bool(view.W_E.mean(-1).abs().max() < 1e-6), bool(model.W_E.mean(-1).abs().max() < 1e-6)
        (True, False)
    """
    model = as_model(model, "weight_view")
    kept = torch.promote_types(model.dtype, torch.float32) if dtype is None else dtype
    if not isinstance(kept, torch.dtype) or not kept.is_floating_point:
        raise AnalysisError(f"dtype={dtype!r}; expected a floating-point type of torch")
    w = _copied(model)
    if fold_ln:
        _fold_norms(w)
    if fold_value_biases:
        w["b_O"] += torch.einsum("lhe,lhed->ld", w["b_V"], w["W_O"])
        w["b_V"].zero_()
    if center_writing:
        for name in ("W_E", "W_pos", "W_O", "b_O", "W_out", "b_out"):
            w[name] -= w[name].mean(-1, keepdim=True)
    if center_unembed:
        w["W_U"] -= w["W_U"].mean(-1, keepdim=True)
        w["b_U"] -= w["b_U"].mean()
    done = {
        "fold_ln": fold_ln,
        "fold_value_biases": fold_value_biases and fold_ln,
        "center_writing": center_writing,
        "center_unembed": center_unembed,
    }
    folded = tuple(name for name, is_done in done.items() if is_done)
    return WeightView(model.cfg.model_name, folded, **{k: x.to(kept) for k, x in w.items()})


def _copied(model: HookedGPTNeo) -> dict[str, Tensor]:
    """Copies in float64 (float32 where a device has none), in the layout of the view."""
    high = torch.float32 if model.device.type == "mps" else torch.float64

    def stacked(part: str, name: str) -> Tensor:
        rows = [getattr(getattr(block, part), name).detach() for block in model.blocks]
        return torch.stack(rows).to(high)

    w = {"W_E": model.W_E, "W_pos": model.W_pos, "W_U": model.W_U, "b_U": model.b_U,
         "ln_final_w": model.ln_final.w, "ln_final_b": model.ln_final.b}  # fmt: skip
    w = {name: x.detach().to(high, copy=True) for name, x in w.items()}
    for name in ("W_Q", "W_K", "W_V", "W_O", "b_O"):
        w[name] = stacked("attn", name)
    for name in ("W_in", "b_in", "W_out", "b_out"):
        w[name] = stacked("mlp", name)
    for norm in ("ln1", "ln2"):
        w |= {f"{norm}_w": stacked(norm, "w"), f"{norm}_b": stacked(norm, "b")}
    none = torch.zeros_like(w["W_Q"][:, :, 0])
    return w | {"b_Q": none, "b_K": none.clone(), "b_V": none.clone()}


def _fold_norms(w: dict[str, Tensor]) -> None:
    """Move gains and biases into what reads them, and centre that over the residual dimensions."""
    for kind in "QKV":
        w[f"b_{kind}"] = torch.einsum("ld,lhde->lhe", w["ln1_b"], w[f"W_{kind}"])
        w[f"W_{kind}"] = fold(w[f"W_{kind}"], w["ln1_w"][:, None])
    w["b_in"] = w["b_in"] + torch.einsum("ld,ldm->lm", w["ln2_b"], w["W_in"])
    w["W_in"] = fold(w["W_in"], w["ln2_w"])
    w["b_U"] = w["b_U"] + w["ln_final_b"] @ w["W_U"]
    w["W_U"] = fold(w["W_U"], w["ln_final_w"])
    for norm in ("ln1", "ln2", "ln_final"):
        w[f"{norm}_w"], w[f"{norm}_b"] = (
            torch.ones_like(w[f"{norm}_w"]),
            torch.zeros_like(w[f"{norm}_b"]),
        )


def fold(
    weight: Float[Tensor, "*axes d_model out"], gain: Float[Tensor, "*some d_model"]
) -> Float[Tensor, "*axes d_model out"]:
    """Return weights that read a LayerNorm's input: gain in, and the mean over d_model out.

    Args:
        weight: What reads the LayerNorm.
        gain: Of the LayerNorm; its leading axes broadcast.
    """
    folded = weight * gain[..., None]
    return folded - folded.mean(-2, keepdim=True)
