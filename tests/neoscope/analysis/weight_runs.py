"""What the tests of weights share."""

from __future__ import annotations

import torch

import neoscope as ns

OPTIONS = ("fold_ln", "fold_value_biases", "center_writing", "center_unembed")


TEXTS = ["When Mary and John went to the store, John gave a drink to", "The keys"]


def bits(model: ns.HookedGPTNeo) -> dict[str, torch.Tensor]:
    return {name: x.clone() for name, x in model.state_dict().items()}
