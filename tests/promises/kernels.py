"""Which kernels a run launches, layer by layer: what they read of the weights, what they make."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

import neoscope as ns


@dataclass(frozen=True)
class Kernel:
    """One call that computes or allocates; views are none."""

    name: str
    weights: tuple[str, ...]
    """The parameters that it reads."""
    shapes: tuple[tuple[int, ...], ...]
    """Of what it makes."""
    nbytes: int
    """Newly allocated."""

    @property
    def rows(self) -> int:
        """Rows of a matrix product."""
        return math.prod(self.shapes[0][:-1])


@dataclass
class Launched:
    """What was launched, in order; ``layer`` is None before and after the blocks."""

    all: list[tuple[int | None, Kernel]] = field(default_factory=list)

    def of(self, layer: int | None) -> list[Kernel]:
        """Return the kernels of one layer."""
        return [kernel for at, kernel in self.all if at == layer]

    def readers(self, weight: str) -> list[Kernel]:
        """Return the kernels that read a parameter."""
        return [kernel for _, kernel in self.all if weight in kernel.weights]

    @property
    def weights(self) -> Counter[str]:
        """How often each parameter was read."""
        return Counter(name for _, kernel in self.all for name in kernel.weights)

    @property
    def layers(self) -> list[int]:
        """The layers that ran."""
        return sorted({at for at, _ in self.all if at is not None})

    @property
    def nbytes(self) -> int:
        """Bytes allocated, those that were freed again included."""
        return sum(kernel.nbytes for _, kernel in self.all)

    def squares(self, n: int) -> dict[int | None, int]:
        """Return how often each layer made numbers for every pair of ``n`` tokens."""
        found = Counter(
            at
            for at, kernel in self.all
            for shape in kernel.shapes
            if len(shape) == 4 and shape[-2:] == (n, n) and shape[1] > 1
        )
        return dict(found)


class _Mode(TorchDispatchMode):
    def __init__(self, weights: Mapping[int, str]) -> None:
        super().__init__()
        self.weights, self.launched, self.layer = weights, Launched(), None

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        given = {storage(x) for x in tree_leaves((args, kwargs)) if isinstance(x, Tensor)}
        made = [x for x in tree_leaves(out) if isinstance(x, Tensor)]
        new = [x for x in made if storage(x) not in given]
        if new or func._schema.is_mutable:
            read = sorted(self.weights[at] for at in given if at in self.weights)
            kernel = Kernel(
                func.name().removeprefix("aten::"),
                tuple(read),
                tuple(tuple(x.shape) for x in made),
                sum(x.untyped_storage().nbytes() for x in new),
            )
            self.launched.all.append((self.layer, kernel))
        return out


def storage(x: Tensor) -> int:
    """Where a tensor's numbers lie."""
    return int(x.untyped_storage().data_ptr())


@contextmanager
def kernels(model: ns.HookedGPTNeo) -> Iterator[Launched]:
    """Watch what is launched inside the ``with``, on this thread."""
    mode: Any = _Mode({storage(value): name for name, value in model.named_parameters()})

    def watched(layer: int, forward: Callable[..., Tensor]) -> Callable[..., Tensor]:
        def run(*args: Any) -> Tensor:
            mode.layer = layer
            try:
                return forward(*args)
            finally:
                mode.layer = None

        return run

    # No hooks of torch: generation looks for them, and runs another way where they are.
    for layer, block in enumerate(model.blocks):
        block.forward = watched(layer, block.forward)
    try:
        with torch.no_grad(), mode:
            yield mode.launched
    finally:
        for block in model.blocks:
            del block.forward
