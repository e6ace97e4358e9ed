"""Runs: nothing is left behind, and the same text gives the same numbers however it is run."""

from __future__ import annotations

import torch
from torch import Tensor

from neoscope.contract_report import Check, tolerance
from neoscope.edits import ablate
from neoscope.kv_cache import KVCache
from neoscope.model import HookedGPTNeo


def check(model: HookedGPTNeo, tokens: Tensor, seed: int) -> list[Check]:
    """Check cleanliness after exceptions, padding on either side, and the KV cache."""
    limit = tolerance(model.dtype, whole_run=True)
    rows = [_clean(model, tokens, error) for error in (RuntimeError, KeyboardInterrupt)]
    alone = model(tokens[:1])
    scale = float(alone.abs().max()) or 1.0
    n = tokens.shape[1]
    pad = max(1, min(3, model.config.n_ctx - n))

    def compare(what: str, logits: Tensor) -> None:
        error = float((logits - alone).abs().max()) / scale
        rows.append(Check("same text, same numbers", what, "", error <= limit, error, limit))

    other = torch.randint(
        model.config.d_vocab, (1, n + pad), generator=torch.Generator().manual_seed(seed)
    ).to(tokens.device)
    mask = torch.ones(2, n + pad, dtype=torch.long, device=tokens.device)
    for side in ("right", "left"):
        place = slice(0, n) if side == "right" else slice(pad, n + pad)
        batch, real = other.repeat(2, 1), mask.clone()
        batch[0, place] = tokens[0]
        real[0] = 0
        real[0, place] = 1
        if n + pad <= model.config.n_ctx:
            compare(f"padded on the {side}", model(batch, real)[:1, place])
    past = KVCache()
    pieces = [model(tokens[:1, : n // 2], past=past)]
    pieces += [model(tokens[:1, i : i + 1], past=past) for i in range(n // 2, n)]
    compare("token by token with a KV cache", torch.cat(pieces, dim=1))
    middle = model.config.n_layers // 2
    compare("stopped and started in the middle",
            model(model(tokens[:1], stop_at_layer=middle), start_at_layer=middle))  # fmt: skip
    return rows


def _clean(model: HookedGPTNeo, tokens: Tensor, error: type[BaseException]) -> Check:
    """After an exception inside a hook, no hook and no edit is left."""
    before = model(tokens)

    def fail(x: Tensor, hook: object) -> Tensor:
        raise error("raised on purpose by the contract")

    name = f"blocks.{model.config.n_layers - 1}.hook_resid_post"
    try:
        with model.edits(ablate("mlp_out", 0)):
            model.run_with_hooks(tokens, fwd_hooks=[(name, fail)])
    except error:
        pass
    left = sum(site.has_hooks() for site in model.hook_dict.values()) + len(model._edits)
    try:
        changed = float((model(tokens) != before).sum())
    except error:  # the hook is still there
        changed = float(before.numel())
    model._edit_groups = {}  # what follows is checked without what was left behind
    for site in model.hook_dict.values():
        site.remove_hooks("both", including_permanent=True)
    passed = not left and not changed
    what = f"hooks and edits are gone after {error.__name__}"
    return Check("clean after an exception", what, "", passed, left + changed, 0.0)
