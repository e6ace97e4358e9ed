"""Noise on a subject's embeddings: how much, and the draw that each prompt gets."""

from __future__ import annotations

import hashlib
import math
from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from neoscope.errors import PatchingError
from neoscope.patching.prompts.pairs import Prompts

if TYPE_CHECKING:
    from neoscope.model import HookedGPTNeo


@torch.no_grad()
def embedding_sigma(model: HookedGPTNeo, ids: Int[Tensor, "n"], *, centred: bool = True) -> float:
    """Return the standard deviation of the entries of some tokens' embeddings.

    Args:
        model: The model.
        ids: Tokens; one that stands several times counts as often.
        centred: About the mean vector of these tokens. Otherwise about the mean of all entries, as
            in ROME's code: GPT-Neo's embeddings share a large offset, which then counts as spread
            although no token differs from another by it.
    """
    x = model.W_E[ids.to(model.device)].double()
    if not centred:
        return float(x.std()) if x.numel() > 1 else 0.0
    if len(ids) < 2:
        return 0.0
    return float((x - x.mean(0)).square().sum().div((len(x) - 1) * x.shape[1]).sqrt())


def read_sigma(model: HookedGPTNeo, ids: Int[Tensor, "n"], sigma: Any, *, centred: bool) -> float:
    """Return the standard deviation that noise is measured in.

    Args:
        model: The model.
        ids: The subjects' tokens.
        sigma: None to measure it on them, ``"vocabulary"`` to measure it on all embeddings, or a
            number.
        centred: As for :func:`embedding_sigma`.

    Raises:
        PatchingError: It is none of these, or there is no spread to measure.
    """
    if isinstance(sigma, str):
        if sigma != "vocabulary":
            raise PatchingError(
                f"sigma={sigma!r}; expected None (the subjects' own), 'vocabulary' (that of all "
                "embeddings), or a number"
            )
        return embedding_sigma(model, torch.arange(model.config.d_vocab), centred=centred)
    if sigma is not None:
        return finite(sigma, "sigma")
    if centred and len(ids.unique()) < 2:
        everywhere = embedding_sigma(model, torch.arange(model.config.d_vocab))
        raise PatchingError(
            "the subjects hold one token only, whose embedding has no spread about its own mean; "
            f"give sigma='vocabulary' (that of all embeddings, {everywhere:.4g}) or a number, more "
            "prompts, or centred=False"
        )
    return embedding_sigma(model, ids, centred=centred)


def finite(value: Any, argument: str) -> float:
    """Return a number that is not negative.

    Args:
        value: What was given.
        argument: Named in errors.

    Raises:
        PatchingError: It is none.
    """
    try:
        number = math.nan if isinstance(value, bool | str) else float(value)
    except (TypeError, ValueError):
        number = math.nan
    if not 0 <= number < math.inf:
        raise PatchingError(f"{argument}={value!r}; expected a finite number, not negative")
    return number


def unit_noise(
    prompts: Prompts, subject: Bool[Tensor, "pairs pos"], width: int, *, seed: int, draw: int
) -> Float[Tensor, "pairs pos width"]:
    """Return standard normal noise on the subjects' tokens, and zero elsewhere.

    It depends on the seed, the draw and the prompt's own tokens alone, not on what other prompts
    there are or how they are batched.

    Args:
        prompts: Their clean side.
        subject: Which tokens get noise.
        width: Entries of an embedding.
        seed: Of all draws.
        draw: Number of the draw.
    """
    noise = torch.zeros(*subject.shape, width)
    for k, (ids, real) in enumerate(zip(prompts.clean, prompts.mask, strict=True)):
        key = f"{seed} {draw} {ids[real].tolist()}".encode()
        number = int.from_bytes(hashlib.sha256(key).digest()[:8], "big") >> 1
        generator = torch.Generator().manual_seed(number)
        drawn = torch.randn(int(real.sum()), width, generator=generator)
        noise[k, real] = drawn * subject[k, real][:, None]
    return noise
