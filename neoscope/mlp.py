"""GPT-Neo's MLP, with the activations that transformers allows for it."""

from __future__ import annotations

import functools
from collections.abc import Callable

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from neoscope.config import NeoConfig
from neoscope.errors import ConfigError, nearest
from neoscope.linear import has_onednn, linear, linear_gelu
from neoscope.run import Run, Site

Activation = Callable[[Tensor], Tensor]
_TANH_GELUS = ("gelu_new", "gelu_pytorch_tanh", "gelu_fast", "gelu_accurate")


def activation(name: str) -> Activation:
    """Return the activation function of a config's ``activation_function``.

    The tanh GELU, which every published GPT-Neo has, is one torch kernel; the rare others are
    transformers' own (``transformers.activations.ACT2FN``).

    Raises:
        ConfigError: transformers knows no such activation.
    """
    if name in _TANH_GELUS:
        return functools.partial(F.gelu, approximate="tanh")
    simple: dict[str, Activation] = {"gelu": F.gelu, "relu": F.relu, "silu": F.silu}
    if name in simple:
        return simple[name]
    from transformers.activations import ACT2FN

    if name not in ACT2FN:
        known = [*_TANH_GELUS, *simple, *ACT2FN]
        raise ConfigError(
            f"activation_function {name!r} is unknown{nearest(name, known)}; known: "
            f"{', '.join(dict.fromkeys(known))}"
        )
    found: Activation = ACT2FN[name]
    return found


class MLP(nn.Module):
    """One MLP; weights lie ``[out, in]``, ``W_in`` and ``W_out`` are TransformerLens's views."""

    def __init__(self, config: NeoConfig) -> None:
        """Allocate weights (not yet filled) and sites."""
        super().__init__()
        d, m = config.d_model, config.n_neurons
        self.weight_in = nn.Parameter(torch.empty(m, d))
        self.b_in = nn.Parameter(torch.empty(m))
        self.weight_out = nn.Parameter(torch.empty(d, m))
        self.b_out = nn.Parameter(torch.empty(d))
        self._std = config.init_range
        self.act = activation(config.act_fn)
        self._tanh_gelu = config.act_fn in _TANH_GELUS
        self.hook_pre, self.hook_post = Site(), Site()

    def reset_parameters(self) -> None:
        """Draw the weights anew, as GPT-Neo's own initialisation does."""
        nn.init.normal_(self.weight_in, std=self._std)
        nn.init.normal_(self.weight_out, std=self._std)
        nn.init.zeros_(self.b_in)
        nn.init.zeros_(self.b_out)

    @property
    def W_in(self) -> Float[Tensor, "d_model d_mlp"]:  # noqa: N802
        """Input weights."""
        return self.weight_in.T

    @property
    def W_out(self) -> Float[Tensor, "d_mlp d_model"]:  # noqa: N802
        """Output weights."""
        return self.weight_out.T

    def forward(
        self, x: Float[Tensor, "batch pos d_model"], run: Run
    ) -> Float[Tensor, "batch pos d_model"]:
        """Return the MLP's write into the residual stream, bias included."""
        if not run.looks(self.hook_pre, self.hook_post) and self._can_fuse(x):
            post = linear_gelu(x, self.weight_in, self.b_in)
        else:
            pre = run.tap(self.hook_pre, linear(x, self.weight_in, self.b_in))
            post = run.tap(self.hook_post, self.act(pre))
        return linear(post, self.weight_out, self.b_out)

    def _can_fuse(self, x: Tensor) -> bool:
        return (
            self._tanh_gelu
            and x.device.type == "cpu"
            and x.dtype in (torch.float32, torch.bfloat16)
            and x.shape[0] * x.shape[1] >= 64
            and not torch.is_grad_enabled()
            and has_onednn()
        )
