"""What the tests of caches on disk share: a small model's shape, its ids, and equality."""

from __future__ import annotations

import torch

import neoscope as ns

CONFIG = ns.NeoConfig(
    n_layers=3, d_model=24, n_heads=3, n_ctx=40, d_vocab=50, window_size=5, init_range=0.2
)
IDS = torch.arange(14).view(2, 7)


def same(a: ns.ActivationCache, b: ns.ActivationCache) -> bool:
    assert list(a) == list(b) and a.config == b.config and a.has_batch_dim == b.has_batch_dim
    assert (a.tokens is None) == (b.tokens is None)
    if a.tokens is not None and b.tokens is not None:
        assert a.tokens.record() == b.tokens.record()
        assert torch.equal(a.tokens.mask, b.tokens.mask)
    return all(x.dtype == b[k].dtype and torch.equal(x, b[k]) for k, x in a.items())
