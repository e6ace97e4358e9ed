"""A model as a function of how far its token embeddings are from a baseline, for Captum."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

if TYPE_CHECKING:
    from neoscope.model import HookedGPTNeo

METHODS = ("integrated_gradients", "gradient_x_input", "saliency", "occlusion")


@dataclass(frozen=True)
class Scored:
    """A batch, the place that is read, and the direction whose logit is asked for."""

    model: HookedGPTNeo
    baseline: Float[Tensor, "d_model"]
    tick: Callable[[int], None]

    def __call__(
        self,
        delta: Float[Tensor, "batch pos d_model"],
        ids: Int[Tensor, "batch pos"],
        mask: Bool[Tensor, "batch pos"],
        column: Int[Tensor, "batch"],
        direction: Float[Tensor, "batch d_model"],
    ) -> Float[Tensor, "batch"]:
        """Return each row's logit when its token embeddings are ``baseline + delta``.

        Positions are embedded as ever. What edits and hooks there are see the changed embeddings.
        """
        with _embedding(self.model, self.baseline + delta):
            hidden = self.model(ids, mask, return_type="hidden")
        self.tick(len(ids))
        last = hidden[torch.arange(len(ids), device=hidden.device), column]
        out: Tensor = (last.to(direction.dtype) * direction).sum(-1)
        # An edit may cut all ways from the embeddings; their gradient is then 0, not an error.
        return out + 0 * delta.sum((1, 2))


@contextlib.contextmanager
def _embedding(model: HookedGPTNeo, value: Tensor) -> Iterator[None]:
    """Let this thread's runs embed tokens as ``value``, before any other hook or edit sees them."""
    thread = threading.get_ident()

    def put(module: object, given: object, out: Tensor) -> Tensor:
        return value.to(out.dtype) if threading.get_ident() == thread else out

    handle = model.hook_embed.register_forward_hook(put, prepend=True)
    try:
        yield
    finally:
        handle.remove()


def scores(
    method: str,
    forward: Scored,
    delta: Float[Tensor, "row pos d_model"],
    given: tuple[Tensor, ...],
    *,
    steps: int,
    batch: int,
) -> Float[Tensor, "row pos"]:
    """Return each token's share, by one of Captum's methods.

    Args:
        method: One of ``METHODS``.
        forward: The function.
        delta: How far the text is from the baseline.
        given: What ``forward`` needs beside it.
        steps: Of the integral.
        batch: Rows that run at once.
    """
    from captum.attr import FeatureAblation, InputXGradient, IntegratedGradients, Saliency

    options: dict[str, Any] = {"additional_forward_args": given}
    delta = delta.detach().clone().requires_grad_(True)
    if method == "saliency":
        found: Tensor = Saliency(forward).attribute(delta, abs=False, **options)
        lengths: Tensor = found.detach().norm(dim=-1)
        return lengths
    if method == "occlusion":
        # One feature a token: all dimensions of its embedding together.
        feature = torch.arange(delta.shape[1], device=delta.device)[None, :, None]
        with torch.no_grad():
            found = FeatureAblation(forward).attribute(
                delta,
                feature_mask=feature.expand(1, -1, delta.shape[2]),
                perturbations_per_eval=max(1, min(delta.shape[1], batch // len(delta))),
                **options,
            )
        return found[..., 0]
    if method == "gradient_x_input":
        found = InputXGradient(forward).attribute(delta, **options)
    else:
        found = IntegratedGradients(forward).attribute(
            delta, n_steps=steps, internal_batch_size=max(batch, len(delta)), **options
        )
    sums: Tensor = found.detach().sum(-1)
    return sums
