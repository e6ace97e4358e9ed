"""The objective of a tuned lens and its gradient, in closed form, for all layers at once.

For a state h, y = LN_f(h + A h + b), q = softmax(W y) and the model's own p, KL(p || q) has the
gradient W^T (q - p) with respect to y. So one product each way is all that a layer needs, the model
runs once for all layers, and no more than a chunk of rows of logits ever exists.

Reference: Belrose et al. 2023, arXiv:2303.08112, section 3.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from jaxtyping import Float
from torch import Tensor

from neoscope.analysis.readout import rows_at_once, spans
from neoscope.errors import AnalysisError, nearest

if TYPE_CHECKING:
    from neoscope.model import HookedGPTNeo

PRECISIONS = ("float32", "bfloat16")
_TINY = torch.finfo(torch.float32).tiny


class Objective:
    """KL(the model's output || the lens) of every layer, and its gradient."""

    def __init__(self, model: HookedGPTNeo, precision: str, most: int | None = None) -> None:
        """Take the model's final LayerNorm and unembedding.

        Args:
            model: Its weights stay as they are.
            precision: Of the products with the vocabulary, for the model's own distribution as for
                the lens: ``"float32"`` or ``"bfloat16"``; everything else is float32.
            most: Most rows of logits at once; None for what suits the vocabulary.

        Raises:
            AnalysisError: There is no such precision.
        """
        if precision not in PRECISIONS:
            raise AnalysisError(
                f"precision={precision!r} is none of {PRECISIONS}"
                f"{nearest(str(precision), PRECISIONS)}"
            )
        rows = model.unembed.rows.detach()
        self._half = precision == "bfloat16"
        if self._half:
            # What all tokens share moves no probability, and would cost bfloat16 its digits.
            self._rows = (rows.float() - rows.float().mean(0)).bfloat16()
        else:
            self._rows = rows.float()
        norm = model.ln_final
        self._norm = norm.w.detach().float(), norm.b.detach().float()
        self._eps = norm.eps
        self._most = most or rows_at_once(len(rows))
        self._buffers: dict[str, Tensor] = {}

    def __call__(
        self,
        streams: Sequence[Float[Tensor, "token d_model"]],
        matrix: Float[Tensor, "layer d_model d_model"] | None,
        bias: Float[Tensor, "layer d_model"],
        *,
        gradient: bool = True,
    ) -> tuple[Float[Tensor, " layer"], list[Tensor]]:
        """Return the mean KL of each layer in nats, and the gradients of it.

        Args:
            streams: At every depth, the output's last.
            matrix: A; None where only the bias is trained.
            bias: b.
            gradient: Whether gradients are wanted.

        Returns:
            Losses, and gradients of the matrices (where there are some) and biases.
        """
        n = len(streams[-1])
        losses = torch.zeros(len(bias), dtype=torch.float64, device=bias.device)
        grads = [torch.zeros_like(x) for x in (matrix, bias) if x is not None]
        for span in spans(n, self._most):
            entropy, expected, first = self._output(streams[-1][span].float())
            for layer, stream in enumerate(streams[:-1]):
                h = stream[span].float()
                x = h + bias[layer] if matrix is None else _moved(h, matrix[layer], bias[layer])
                y, mean, inverse = torch.native_layer_norm(
                    x, (x.shape[-1],), *self._norm, self._eps
                )
                q, log_sum = self._softmax(y, first)
                losses[layer] += ((expected * y).sum(-1).negative() + log_sum - entropy).sum()
                if not gradient:
                    continue
                back = (self._back(q) - expected) / n
                back = torch.ops.aten.native_layer_norm_backward(
                    back, x, [x.shape[-1]], mean, inverse, *self._norm, [True, False, False]
                )[0]
                grads[-1][layer] += back.sum(0)
                if matrix is not None:
                    grads[0][layer].addmm_(back.T, h)
        return (losses / n).float(), grads

    def _output(self, stream: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return entropy, mean row of the unembedding, and first token of the model's output."""
        y = torch.nn.functional.layer_norm(stream, (stream.shape[-1],), *self._norm, self._eps)
        logits = self._logits(y)
        first = logits.argmax(-1, keepdim=True)
        highest = logits.gather(1, first)
        p = torch._softmax(logits, -1, False, out=logits)
        log_sum = (highest - p.gather(1, first).log())[:, 0]
        expected = self._back(p)
        # -sum p log p = log_sum - sum p logit, and a mean logit is the mean row's.
        return log_sum - (expected * y).sum(-1), expected, first

    def _softmax(self, y: Tensor, first: Tensor) -> tuple[Tensor, Tensor]:
        """Return probabilities, in a buffer, and the log of the sum of exp(logit)."""
        logits = self._logits(y)
        known = logits.gather(1, first)
        q = torch._softmax(logits, -1, False, out=logits)
        said = q.gather(1, first)
        log_sum = (known - said.log())[:, 0]
        lost = (said[:, 0] < _TINY).nonzero()[:, 0]
        if len(lost):  # The output's first token is so unlikely here that its probability is gone.
            rows = self._product(y[lost], torch.empty(len(lost), len(self._rows), device=y.device))
            log_sum[lost] = rows.logsumexp(-1)
        return q, log_sum

    def _logits(self, y: Tensor) -> Tensor:
        return self._product(y, self._buffer("logits", len(y), torch.float32))

    def _product(self, y: Tensor, out: Tensor) -> Tensor:
        if not self._half:
            return torch.mm(y, self._rows.T, out=out)
        half = self._buffer("half", len(y), torch.bfloat16)
        return out.copy_(torch.mm(y.bfloat16(), self._rows.T, out=half))

    def _back(self, p: Tensor) -> Float[Tensor, "row d_model"]:
        """Return each row's mean row of the unembedding."""
        if not self._half:
            mean: Tensor = p @ self._rows
            return mean
        half = self._buffer("half", len(p), torch.bfloat16).copy_(p)
        rounded: Tensor = half @ self._rows
        return rounded.float()

    def _buffer(self, name: str, rows: int, dtype: torch.dtype) -> Tensor:
        found = self._buffers.get(name)
        if found is None or len(found) < rows:
            size = (rows, len(self._rows))
            found = torch.empty(size, dtype=dtype, device=self._rows.device)
            self._buffers[name] = found
        return found[:rows]


def _moved(h: Tensor, matrix: Tensor, bias: Tensor) -> Tensor:
    return torch.addmm(bias, h, matrix.T).add_(h)
