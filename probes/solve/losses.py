"""The rows of a design under the logistic loss: values, gradients and Hessians of many columns."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from probes.solve.design import Design


class Rows:
    """What every row says to every problem; arrays are [rows, outputs, problems]."""

    def __init__(
        self, made: Design, targets: Tensor, weights: Tensor, fold: Tensor, softmax: bool
    ) -> None:
        self.made, self.softmax = made, softmax
        dtype = made.X.dtype
        self.rounding = 4 * torch.finfo(dtype).eps
        self.targets = targets.to(dtype)
        self.n_features = made.X.shape[1]
        self.row_weights, self.fold = weights.to(dtype), fold
        self.plain = bool(((weights == 0) | (weights == 1)).all())
        self.ratios = made.ratios[:, fold]
        self.weights = self.row_weights[:, fold]
        self.probabilities: Tensor | None = None

    def prior(self) -> Tensor:
        """Return the intercepts, [outputs, problems], that fit the shares of the classes."""
        shares = (self.targets.double().T @ self.row_weights.double())[:, self.fold]
        mass = self.row_weights.double().sum(0)[self.fold]
        shares = (shares / mass).clamp(1e-4, 1 - 1e-4)
        if self.softmax:
            return shares.log() - shares.log().mean(0)
        return torch.logit(shares)

    def keep(self, problems: Tensor) -> None:
        """Drop all problems but these."""
        self.fold, self.ratios = self.fold[problems], self.ratios[:, problems]
        self.weights = self.weights[:, problems].contiguous()
        assert self.probabilities is not None
        self.probabilities = self.probabilities[..., problems].contiguous()

    def columns(self, u: Tensor, ratios: Tensor) -> tuple[Tensor, Tensor]:
        """Return coefficients as columns of the shared design, and intercepts."""
        dtype = self.made.X.dtype
        coef = (u[:-1] / ratios[:, None]).to(dtype).reshape(self.n_features, -1)
        return coef, u[-1].to(dtype)

    def evaluate(self, u: Tensor) -> Tensor:
        """Return the loss of each problem, in nats; remember the probabilities."""
        coef, intercept = self.columns(u, self.ratios)
        shape = (len(self.made.X), *u.shape[1:])
        if self.probabilities is None or self.probabilities.shape != shape:
            self.probabilities = self.made.X.new_empty(shape)
        loss = torch.zeros(u.shape[2], dtype=torch.float64, device=u.device)
        for rows, X in self.made.blocks():
            logits = torch.addmm(intercept.reshape(-1), X, coef).view(-1, *u.shape[1:])
            targets, weights = self.targets[rows], self.weights[rows]
            out = self.probabilities[rows]
            if self.softmax:
                top = logits.amax(1, keepdim=True)
                torch.exp(logits - top, out=out)
                total = out.sum(1, keepdim=True)
                chosen = torch.einsum("rk,rkp->rp", targets, logits)
                out /= total
                each = (total.log() + top)[:, 0] * targets.sum(1)[:, None] - chosen
            else:
                # Of each side by itself: of a good fit the difference of two large numbers is lost.
                on = targets[:, :, None]
                each = torch.where(on > 0, on * F.softplus(-logits), 0.0)
                each = (each + torch.where(on < 1, (1 - on) * F.softplus(logits), 0.0)).sum(1)
                torch.sigmoid(logits, out=out)
            loss += torch.einsum("rp,rp->p", each, weights).double()
        return loss

    def gradient(self) -> Tensor:
        """Return the gradient of the loss at the last point evaluated, [features + 1, ...]."""
        assert self.probabilities is not None
        shape = self.probabilities.shape[1:]
        total = self._zeros(shape[0] * shape[1])
        for rows, X in self.made.blocks():
            residual = self.probabilities[rows] - self.targets[rows][:, :, None]
            residual *= self.weights[rows][:, None]
            self._accumulate(total, X, residual)
        return self._own(total.view(-1, *shape), self.ratios)

    def curvature(self) -> Tensor:
        """Return the sums of weight x p (1 - p) over the rows, [outputs, problems]."""
        assert self.probabilities is not None
        p, w = self.probabilities, self.weights
        first = torch.einsum("rkp,rp->kp", p, w)
        return (first - torch.einsum("rkp,rkp,rp->kp", p, p, w)).double()

    def hessian(self) -> HessianProduct:
        """Return the Hessian of the loss at the last point evaluated, as a product."""
        p = self.probabilities
        assert p is not None
        if self.softmax:
            weighted = p * self.weights[:, None]
            inverse = None if self.plain else torch.where(self.weights > 0, 1 / self.weights, 0.0)
        else:
            weighted, inverse = (p - p * p).mul_(self.weights[:, None]), None
        return HessianProduct(self, weighted, inverse, self.ratios)

    def _zeros(self, columns: int) -> Tensor:
        shape = (self.n_features + 1, columns)
        return torch.zeros(shape, dtype=self.made.X.dtype, device=self.made.X.device)

    def _accumulate(self, total: Tensor, X: Tensor, residual: Tensor) -> None:
        flat = residual.reshape(len(X), -1)
        total[:-1].addmm_(X.T, flat)
        total[-1] += flat.sum(0)

    def _own(self, total: Tensor, ratios: Tensor) -> Tensor:
        """From the shared design's coordinates to each fold's own."""
        own = total.double()
        own[:-1] /= ratios[:, None]
        return own


class HessianProduct:
    """The Hessian of the loss times directions, without ever being formed."""

    def __init__(self, rows: Rows, weighted: Tensor, inverse: Tensor | None, ratios: Tensor):
        self.rows, self.weighted, self.inverse, self.ratios = rows, weighted, inverse, ratios

    def keep(self, problems: Tensor) -> HessianProduct:
        """Return the product for these problems alone."""
        inverse = None if self.inverse is None else self.inverse[:, problems]
        weighted = self.weighted[..., problems].contiguous()
        return HessianProduct(self.rows, weighted, inverse, self.ratios[:, problems])

    def __call__(self, direction: Tensor) -> Tensor:
        """Return Hessian x direction, [features + 1, outputs, problems]."""
        rows = self.rows
        coef, intercept = rows.columns(direction, self.ratios)
        shape = direction.shape[1:]
        total = rows._zeros(shape[0] * shape[1])
        for where, X in rows.made.blocks():
            along = torch.addmm(intercept.reshape(-1), X, coef).view(-1, *shape)
            weighted = self.weighted[where]
            if rows.softmax:
                mean = (weighted * along).sum(1, keepdim=True)
                if self.inverse is not None:
                    mean *= self.inverse[where][:, None]
                along -= mean
            along *= weighted
            rows._accumulate(total, X, along)
        return rows._own(total.view(-1, *shape), self.ratios)
