"""The site contract: what is read is what was used, what is written changes what follows.

``check(model)`` puts every site of every layer kind to the test on a loaded model: read identities,
bit-exact write-back, causality (downstream and to the right only), gradients, cleanliness after an
exception, and the same numbers under padding and with a KV cache.
"""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterator, Sequence
from typing import Literal

import torch
from torch import Tensor

from neoscope import contract_identities, contract_runs, contract_writes
from neoscope.contract_report import Check, ContractReport
from neoscope.contract_writes import Subject
from neoscope.model import HookedGPTNeo
from neoscope.progress import Progress, Report
from neoscope.run import switch_names
from neoscope.sites import SiteRef, all_sites

__all__ = ["Check", "ContractReport", "check"]

# In the split-input mode LayerNorm 1 runs per q, k and v, so its own sites are checked without it.
_GROUPS: tuple[frozenset[str], ...] = (
    frozenset({"use_attn_result", "use_hook_mlp_in"}),
    frozenset({"use_split_qkv_input"}),
    frozenset({"use_attn_in"}),
)


def check(
    model: HookedGPTNeo,
    *,
    layers: Sequence[int] | Literal["kinds", "all"] = "kinds",
    tokens: Tensor | None = None,
    seed: int = 0,
    progress: bool | Report = True,
) -> ContractReport:
    """Check that a model honours its sites.

    Runs under ``no_grad`` except where gradients are the point; leaves hooks, switches and edits as
    it found them, and touches no parameter's ``.grad``.

    Args:
        model: A loaded model, on any device, in any dtype.
        layers: Which layers' sites are written to: the first and last of each kind (the default),
            all, or those named. Read identities are checked in every layer.
        tokens: Token ids [batch, pos] to run on; default random ones, a window's length at most 24.
        seed: Of the random tokens and perturbations.
        progress: True for a bar after two seconds, False for none, or a function that is told how
            many sites are done, and of how many.

    Returns:
        A report with one row a check; ``report.ok`` says whether all passed.

    Example:
        >>> import neoscope as ns
        >>> model = ns.HookedGPTNeo.from_config(
        ...     ns.NeoConfig(n_layers=2, d_model=8, n_heads=2, n_ctx=16, d_vocab=9, window_size=3))
        >>> check(model).ok
        True
    """
    config = model.config
    generator = torch.Generator().manual_seed(seed)
    if tokens is None:
        length = min(config.n_ctx, 24)
        tokens = torch.randint(config.d_vocab, (2, length), generator=generator)
    tokens = tokens.to(model.device)
    twin = _twin(model, seed)
    picked = _layers(model, layers)
    sites = [_sites_of(model, group, picked, first=i == 0) for i, group in enumerate(_GROUPS)]
    rows: list[Check] = []
    with _pristine(model), Progress(progress, sum(map(len, sites)), "site") as bar:
        for i, group in enumerate(_GROUPS):
            with _switched(model, group), _switched(twin, group):
                if i == 0:
                    rows += contract_identities.check(model, tokens)
                subjects = (
                    Subject(model, tokens, seed),
                    Subject(twin, tokens % twin.config.d_vocab, seed),
                )
                for ref in sites[i]:
                    rows += contract_writes.check(*subjects, ref)
                    bar.update()
        rows += contract_runs.check(model, tokens, seed)
    return ContractReport(
        model.cfg.model_name, str(model.dtype).removeprefix("torch."), tuple(rows)
    )


def _twin(model: HookedGPTNeo, seed: int) -> HookedGPTNeo:
    """Return a model with the same layers whose random weights leave no site without effect.

    Sites of a loaded model may be dead for reasons of its own: zero weights, a saturated softmax, a
    LayerNorm over two dimensions, effects below half precision's rounding.
    """
    config = model.config
    roomy = dataclasses.replace(
        config,
        d_model=config.n_heads * max(config.d_head, 8),
        d_mlp=max(config.n_neurons, 32),
        d_vocab=min(config.d_vocab, 512),
        init_range=0.2,
    )
    return HookedGPTNeo.from_config(roomy, seed=seed + 1, device=model.device)


def _layers(model: HookedGPTNeo, layers: Sequence[int] | str) -> list[int]:
    n, kinds = model.config.n_layers, model.config.kinds
    if layers == "all":
        return list(range(n))
    if layers == "kinds":
        of_kind = [[i for i in range(n) if kinds[i] == kind] for kind in ("global", "local")]
        return sorted({i for found in of_kind if found for i in (found[0], found[-1])})
    return [int(i) % n for i in layers]


def _sites_of(
    model: HookedGPTNeo, group: frozenset[str], layers: Sequence[int], *, first: bool
) -> list[SiteRef]:
    refs = all_sites(model.config, group)
    wanted = [r for r in refs if (first and r.kind.switch is None) or r.kind.switch in group]
    return [r for r in wanted if r.layer is None or r.layer in layers]


@contextlib.contextmanager
def _switched(model: HookedGPTNeo, on: frozenset[str]) -> Iterator[None]:
    before = {name: getattr(model.cfg, name) for name in switch_names()}
    try:
        for name in before:
            setattr(model.cfg, name, name in on)
        yield
    finally:
        for name, value in before.items():
            setattr(model.cfg, name, value)


@contextlib.contextmanager
def _pristine(model: HookedGPTNeo) -> Iterator[None]:
    """Set hooks and edits of the caller aside, and bring them back."""
    edits, model._edit_groups = model._edit_groups, {}
    registered = ("_forward_hooks", "_backward_hooks")
    listed = ("fwd_hooks", "bwd_hooks")
    aside = [
        (site, {name: getattr(site, name).copy() for name in (*registered, *listed)})
        for site in model.hook_dict.values()
    ]
    for site, _ in aside:
        for name in (*registered, *listed):
            getattr(site, name).clear()
    try:
        with torch.no_grad():
            yield
    finally:
        model._edit_groups = edits
        for site, kept in aside:
            for name in registered:
                getattr(site, name).clear()
                getattr(site, name).update(kept[name])
            for name in listed:
                setattr(site, name, kept[name])
