"""One table from Hugging Face's names for GPT-Neo weights to neoscope's, and the copying."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import NamedTuple

import torch

from neoscope.config import NeoConfig
from neoscope.errors import WeightsError, nearest
from neoscope.weight_files import Entry, inventory, read_rows, stream

log = logging.getLogger("neoscope")


class _To(NamedTuple):
    """Where a tensor goes: a parameter, or one third of its rows."""

    name: str
    third: int | None = None

    def shape(self, whole: torch.Size) -> tuple[int, ...]:
        return tuple(whole) if self.third is None else (whole[0] // 3, *whole[1:])

    def first_row(self, whole: torch.Size) -> int:
        return (self.third or 0) * (whole[0] // 3)


# Everything is stored [out, in]. None drops the causal masks that old transformers saved as buffers
# (uint8, bool or float32; in EleutherAI's own 125M only in the global layers).
_RENAMES: dict[str, _To | None] = {
    "wte.weight": _To("embed.W_E"),
    "wpe.weight": _To("pos_embed.W_pos"),
    "h.{l}.ln_1.weight": _To("blocks.{l}.ln1.w"),
    "h.{l}.ln_1.bias": _To("blocks.{l}.ln1.b"),
    "h.{l}.attn.attention.q_proj.weight": _To("blocks.{l}.attn.weight_qkv", 0),
    "h.{l}.attn.attention.k_proj.weight": _To("blocks.{l}.attn.weight_qkv", 1),
    "h.{l}.attn.attention.v_proj.weight": _To("blocks.{l}.attn.weight_qkv", 2),
    "h.{l}.attn.attention.out_proj.weight": _To("blocks.{l}.attn.weight_o"),
    "h.{l}.attn.attention.out_proj.bias": _To("blocks.{l}.attn.b_O"),
    "h.{l}.attn.attention.bias": None,
    "h.{l}.attn.attention.masked_bias": None,
    "h.{l}.ln_2.weight": _To("blocks.{l}.ln2.w"),
    "h.{l}.ln_2.bias": _To("blocks.{l}.ln2.b"),
    "h.{l}.mlp.c_fc.weight": _To("blocks.{l}.mlp.weight_in"),
    "h.{l}.mlp.c_fc.bias": _To("blocks.{l}.mlp.b_in"),
    "h.{l}.mlp.c_proj.weight": _To("blocks.{l}.mlp.weight_out"),
    "h.{l}.mlp.c_proj.bias": _To("blocks.{l}.mlp.b_out"),
    "ln_f.weight": _To("ln_final.w"),
    "ln_f.bias": _To("ln_final.b"),
    "lm_head.weight": _To("unembed.weight"),
}
_PREFIXES = ("transformer.", "", "model.transformer.", "model.")
# Heads of GPTNeoForSequenceClassification, ...ForTokenClassification and ...ForQuestionAnswering.
_OTHER_HEADS = ("score.", "classifier.", "qa_outputs.")


def is_tied(files: Iterable[Path]) -> bool | None:
    """Tell from the weights whether the unembedding is the embedding.

    Returns:
        True where lm_head equals wte, False where it differs, None where there is no lm_head.

    Raises:
        WeightsError: A file is damaged or holds no GPT-Neo.
    """
    entries = _by_plain_name(inventory(files))
    head, embedding = entries.get("lm_head.weight"), entries["wte.weight"]
    if head is None:
        return None
    if (
        head.shape != embedding.shape
        or len(head.shape) != 2
        or not (head.dtype and embedding.dtype)
    ):
        return False
    return all(_same_rows(head, embedding, start, stop) for start, stop in head.row_chunks())


def fill(files: Iterable[Path], config: NeoConfig, params: Mapping[str, torch.Tensor]) -> None:
    """Copy the weights in ``files`` into ``params``, in place, whatever their device and dtype.

    Names and shapes are checked before anything is copied; values while they pass.

    Args:
        files: The weight files of one checkpoint.
        config: Its configuration; ``tie_word_embeddings`` says what to do with lm_head.
        params: neoscope's parameters by name, allocated.

    Raises:
        WeightsError: A tensor is missing, unexpected, misshapen, not finite, or a file is damaged.
    """
    files = list(files)
    entries = _by_plain_name(inventory(files))
    targets = _targets(config)
    entries = _wanted(entries, targets, config)
    _check(entries, targets, params, files)
    plain_names = {entry.key: plain for plain, entry in entries.items()}

    def take(key: str, row: int, chunk: torch.Tensor) -> None:
        target = targets[plain_names[key]]
        param = params[target.name]
        first = target.first_row(param.shape) + row
        rows = param[first : first + len(chunk)].copy_(chunk)
        # The copy is checked, not the chunk: float32 weights can overflow a float16 parameter.
        # The extremes are NaN where anything is, and come many times faster than isfinite.
        if not torch.isfinite(torch.stack(torch.aminmax(rows))).all():
            raise WeightsError(
                f"{entries[plain_names[key]].file}: {key!r} holds NaN or infinity "
                f"when read as {str(param.dtype).removeprefix('torch.')}"
            )

    with torch.no_grad():
        for file in files:
            stream([entry for entry in entries.values() if entry.file == file], take)


def to_hf(config: NeoConfig, params: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Return parameters under Hugging Face's names, without prefix; the reverse of ``fill``.

    Args:
        config: The model's shape.
        params: neoscope's parameters by name, all of them.

    Returns:
        Copies on the CPU; linear maps as ``[out, in]``.
    """
    out = {}
    for source, target in _targets(config).items():
        whole = params[target.name].detach()
        start, rows = target.first_row(whole.shape), target.shape(whole.shape)[0]
        out[source] = whole[start : start + rows].cpu().clone()
    return out


def _targets(config: NeoConfig) -> dict[str, _To]:
    """Write the rename table out for every layer."""
    targets: dict[str, _To] = {}
    for source, target in _RENAMES.items():
        if target is None or (source == "lm_head.weight" and config.tie_word_embeddings):
            continue
        for layer in range(config.n_layers if "{l}" in source else 1):
            name = target.name.format(l=layer)
            targets[source.format(l=layer)] = target._replace(name=name)
    return targets


def _by_plain_name(entries: Mapping[str, Entry]) -> dict[str, Entry]:
    """Strip the prefix of the class that saved the weights, found by probing for wte."""
    for prefix in _PREFIXES:
        if f"{prefix}wte.weight" in entries:
            break
    else:
        files = ", ".join(sorted({str(entry.file) for entry in entries.values()})) or "no file"
        some = ", ".join(map(repr, list(entries)[:3])) or "nothing"
        raise WeightsError(
            f"{files}: no 'wte.weight' under any of the prefixes {list(_PREFIXES)}, so this is no "
            f"GPT-Neo; found {some}{nearest('transformer.wte.weight', entries)}"
        )
    # Heads sit beside `transformer`, not inside it.
    outer = prefix.removesuffix("transformer.")
    heads = ("lm_head.", *_OTHER_HEADS)
    plain: dict[str, Entry] = {}
    for key, entry in entries.items():
        name = key.removeprefix(prefix) if key.startswith(prefix) else key
        if name.removeprefix(outer).startswith(heads):
            name = name.removeprefix(outer)
        elif not key.startswith(prefix):
            raise WeightsError(
                f"{entry.file}: unexpected tensor {key!r}; the other weights begin with {prefix!r}"
            )
        if name in plain:
            raise WeightsError(f"{entry.file}: {key!r} and {plain[name].key!r} are the same weight")
        plain[name] = entry
    return plain


def _wanted(
    entries: Mapping[str, Entry], targets: Mapping[str, _To], config: NeoConfig
) -> dict[str, Entry]:
    """Leave out buffers, the tied lm_head and foreign heads; refuse all else that is unknown."""
    dropped = {
        source.format(l=layer)
        for source, target in _RENAMES.items()
        if target is None
        for layer in range(config.n_layers)
    }
    if config.tie_word_embeddings:
        dropped.add("lm_head.weight")
    foreign = [entry.key for name, entry in entries.items() if name.startswith(_OTHER_HEADS)]
    if foreign:
        log.warning("left out the head of a fine-tuned model: %s", ", ".join(sorted(foreign)))
    wanted: dict[str, Entry] = {}
    for name, entry in entries.items():
        if name in targets:
            wanted[name] = entry
        elif name not in dropped and entry.key not in foreign:
            raise WeightsError(
                f"{entry.file}: unexpected tensor {entry.key!r} of shape {list(entry.shape)} for a "
                f"GPT-Neo of {config.n_layers} layers{nearest(name, targets)}"
            )
    return wanted


def _check(
    entries: Mapping[str, Entry],
    targets: Mapping[str, _To],
    params: Mapping[str, torch.Tensor],
    files: list[Path],
) -> None:
    """Require every weight, in the shape and kind of number that its parameter takes."""
    missing = [name for name in targets if name not in entries]
    if missing:
        more = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
        hint = nearest(missing[0], (entry.key for entry in entries.values()))
        raise WeightsError(
            f"{', '.join(map(str, files))}: no tensor for {missing[0]!r}{more}"
            + (hint.replace("did you mean", "the nearest is").rstrip("?") if hint else "")
        )
    unfilled = set(params) ^ {target.name for target in targets.values()}
    if unfilled:
        raise WeightsError(
            f"parameters {sorted(unfilled)} of the model and of the configuration do not match"
        )
    for name, entry in entries.items():
        expected = targets[name].shape(params[targets[name].name].shape)
        if entry.shape != expected:
            raise WeightsError(
                f"{entry.file}: {entry.key!r} has shape {list(entry.shape)}; "
                f"the configuration makes it {list(expected)}"
            )
        if entry.dtype is None:
            raise WeightsError(
                f"{entry.file}: {entry.key!r} is not stored as float16, bfloat16, float32 or "
                "float64; quantised checkpoints cannot be read"
            )


def _same_rows(one: Entry, other: Entry, start: int, stop: int) -> bool:
    left, right = read_rows(one, start, stop), read_rows(other, start, stop)
    return torch.equal(left, right.to(left.dtype))
