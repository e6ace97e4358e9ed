"""A hand-compiled one-layer GPT-Neo that computes AND and OR in its MLP.

A prompt is an expression such as ``<|endoftext|> on off and``; the next word is "true" or "false".
Head (0, 0) brings the first input and head (0, 1) the second; neuron 0 computes AND, where the word
"and" asks for it, and neurons 1 and 2 compute OR. Every bit is one of two features, so that all
streams at the end of a prompt have the same norm, and every LayerNorm multiplies by a known number.
The truth that follows is ``GATES_TRUTH``.
"""

from __future__ import annotations

from pathlib import Path

from neoscope.config import NeoConfig
from neoscope.organism.compiled.building import antipodal, checkpoint_files, zero_weights
from neoscope.organism.compiled.folder import cached
from neoscope.organism.compiled.gates_truth import GATES_TRUTH
from neoscope.organism.compiled.truth import ln_factor

_TRUTH = GATES_TRUTH
_N_CTX = _TRUTH.pos[1] - _TRUTH.pos[0]


def gates() -> Path:
    """Return the folder of the compiled gates in the user's cache, written if need be.

    Raises:
        CheckpointError: The cache cannot be written.
    """
    return cached("gates", _files())


def _files() -> dict[str, bytes]:
    import torch

    words, d = _TRUTH.words, 2 * _TRUTH.out[1]
    config = NeoConfig(
        n_layers=len(_TRUTH.direct),
        d_model=d,
        n_heads=len(_TRUTH.direct[0]),
        n_ctx=_N_CTX,
        d_vocab=len(words),
        window_size=_N_CTX,
        attention_layers=("global",),
        d_mlp=len(_TRUTH.both.states[0].pre),
        bos_token_id=_TRUTH.bos,
        eos_token_id=_TRUTH.bos,
    )
    tok, pos, out = (antipodal(d, *space) for space in (_TRUTH.tok, _TRUTH.pos, _TRUTH.out))
    left, right = antipodal(d, *_TRUTH.left_bit), antipodal(d, *_TRUTH.right_bit)
    weights = zero_weights(config)
    # The unembedding is the embedding; the final LayerNorm lets it read the prediction only.
    weights |= {"wte.weight": tok + out, "wpe.weight": pos, "ln_f.weight": out.abs().sum(dim=0)}

    # Half the difference of a pair reads its feature; what LayerNorm multiplies by is divided out.
    first, second = ln_factor(6.0, d), ln_factor(10.0, d)
    bits = tok[[words.index("off"), words.index("on")]]
    for head, position, bit in ((_TRUTH.left, 1, left), (_TRUTH.right, 2, right)):
        rows = slice(head[1] * config.d_head, head[1] * config.d_head + 2)
        attention = f"h.{head[0]}.attn.attention"
        # All positions together: whatever the query's, the key's is asked for.
        weights[f"{attention}.q_proj.weight"][rows.start] = _TRUTH.sharpness * pos.sum(dim=0) / 2
        weights[f"{attention}.k_proj.weight"][rows.start] = pos[position] / 2
        weights[f"{attention}.v_proj.weight"][rows] = bits / 2 / first
        weights[f"{attention}.out_proj.weight"][:, rows] = bit.T

    inputs = (left[1] + right[1]) / 2 / second
    asks_and, asks_or = (tok[words.index(word)] / 2 / second for word in ("and", "or"))
    scale = _TRUTH.margin
    weights["h.0.mlp.c_fc.weight"][:3] = scale * torch.stack(
        [inputs + asks_and, inputs + 2 * asks_or, inputs + 2 * asks_or]
    )
    weights["h.0.mlp.c_fc.bias"][:3] = -scale * torch.tensor([2.5, 2.25, 2.75])
    # A gate that is on puts out half the margin, which turns what the bias says into its opposite.
    verdict = _TRUTH.gain * (out[words.index("true")] - out[words.index("false")])
    signs = torch.tensor([1.0, 1.0, -1.0])
    weights["h.0.mlp.c_proj.weight"][:, :3] = 4 / scale * torch.outer(verdict, signs)
    weights["h.0.mlp.c_proj.bias"] = -verdict
    return checkpoint_files(config, weights, words)
