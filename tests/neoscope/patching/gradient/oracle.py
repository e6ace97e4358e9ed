"""Small models, and attribution and patching of them by the plainest means."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from neoscope.config import NeoConfig
from neoscope.edits import replace
from neoscope.model import HookedGPTNeo
from neoscope.patching.engine.cells import Cell
from neoscope.patching.prompts.pairs import Prompts
from neoscope.tokens import Tokens

ANSWER, WRONG = 3, 7
BY_HEAD = ("z", "q", "k", "v")
SITES = (
    *("embed", "resid_pre", "resid_mid", "resid_post", "attn_out", "mlp_out"),
    *(*BY_HEAD, "attn_scores", "pattern", "pre", "post"),
)


def small(seed: int = 0, **options: Any) -> HookedGPTNeo:
    """A random model whose parts matter: three layers, the middle one local with window 4."""
    shape = {"n_layers": 3, "d_model": 12, "n_heads": 2, "n_ctx": 16, "d_vocab": 20}
    kinds = tuple("local" if i % 2 else "global" for i in range(options.get("n_layers", 3)))
    config = NeoConfig(**(shape | {"window_size": 4, "attention_layers": kinds} | options))
    model = HookedGPTNeo.from_config(config, seed)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(12.0 if parameter.ndim == 2 else 1.0)
    return model


def prompts(n: int = 3, length: int = 7, seed: int = 1) -> tuple[list[list[int]], list[list[int]]]:
    """Pairs of one length, which differ at one place, and with odd numbers at a second."""
    clean = torch.randint(0, 20, (n, length), generator=torch.Generator().manual_seed(seed))
    corrupted = clean.clone()
    for i in range(n):
        for column in (2, 4)[: 1 + i % 2]:
            corrupted[i, column] = (corrupted[i, column] + 5) % 20
    return clean.tolist(), corrupted.tolist()


def diff(logits: Tensor) -> Tensor:
    return logits[:, -1, ANSWER] - logits[:, -1, WRONG]


def sides(clean: Any, corrupted: Any, direction: str) -> tuple[Tensor, Tensor]:
    """Base and donor ids."""
    a, b = torch.tensor(clean), torch.tensor(corrupted)
    return (b, a) if direction == "denoise" else (a, b)


def plain_products(
    model: HookedGPTNeo, clean: Any, corrupted: Any, site: str, direction: str = "denoise"
) -> dict[int | None, Tensor]:
    """Change times gradient at every layer of a site, by autograd through the whole model."""
    base, donor = sides(clean, corrupted, direction)
    layers = [None] if site == "embed" else list(range(model.config.n_layers))
    _, there = model.run_with_cache(donor, sites=site)
    _, here = model.run_with_cache(base, sites=site)
    found = {}
    for layer in layers:
        name = site if layer is None else (site, layer)
        value = here[name].clone().requires_grad_(True)
        logits = model.run_with_edits(base, [replace(site, layer, value)])
        (gradient,) = torch.autograd.grad(diff(logits).sum(), [value])
        change = torch.where(there[name] == here[name], 0.0, there[name] - here[name])
        found[layer] = (change * gradient).detach()
    return found


def exact(
    model: HookedGPTNeo,
    asked: Prompts,
    cell: Cell,
    direction: str = "denoise",
    metric: Callable[[Tensor], Tensor] = diff,
) -> np.ndarray:
    """Effect of one cell in every pair, by a run of the whole model."""
    tokens = Tokens(ids=asked.base(direction), mask=asked.mask, padding_side="left")
    donor = asked.donor(direction)
    assert donor is not None
    with torch.no_grad():
        _, cache = model.run_with_cache(
            Tokens(ids=donor, mask=asked.mask, padding_side="left"), sites=cell.site
        )
        positions = None
        if cell.columns is not None:
            pad = (~asked.mask).sum(1, keepdim=True)
            positions = (cell.columns - pad).clamp(min=0)
        edit = replace(cell.site, cell.layer, cache, head=cell.head, positions=positions)
        found = metric(model.run_with_edits(tokens, [edit])) - metric(model(tokens))
    effects = found.numpy()
    if cell.columns is not None:
        effects = np.where((cell.columns[:, 0] >= 0).numpy(), effects, np.nan)
    return np.asarray(effects)
