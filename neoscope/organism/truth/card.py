"""The truth card: everything measured of a model and its other seeds, as one JSON file."""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import platform
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from neoscope.errors import CheckpointError
from neoscope.files import atomic
from neoscope.organism.compiled.truth import PromptPairs
from neoscope.organism.language import Pairs, pairs, sentences
from neoscope.organism.truth import theorems
from neoscope.organism.truth.ablation import ablation
from neoscope.organism.truth.attention import OFFSETS, from_last, repeat_scores
from neoscope.organism.truth.bootstrap import METHOD, Bootstrap, rounded
from neoscope.organism.truth.claims import claims
from neoscope.organism.truth.effects import Patching

if TYPE_CHECKING:
    from neoscope.model import HookedGPTNeo

NAME = "truth_card.json"
FORMAT = 1
GRIDS = ("resid_pre", "resid_post", "attn_out", "mlp_out")
"""Sites that a full record has by position; ``resid_post`` of the last layer only."""
_ABLATED = 64
"""Most sentences for ablations, which need a forward of all for every head."""

CONVENTIONS: Mapping[str, str] = {
    "indices": "Layers, heads and positions count from 0. Grids are [layer][head], [layer] or "
    "[layer][pos]; resid_post is that of the last layer only.",
    "logit_diff": "Logit of the answer minus logit of the wrong word at the last position; in "
    "logits. gap is clean minus corrupted.",
    "denoise": "A component's clean output is put into the corrupted run.",
    "noise": "A component's corrupted output is put into the clean run.",
    "effect": "(mean patched - mean corrupted) / (mean clean - mean corrupted) of logit "
    "differences over pairs, in both directions: 0 is the corrupted run and 1 the clean one. So "
    "the effect of noising is what is left: 1 is no harm done. No unit. Where the interval of gap "
    "holds 0, effects mean nothing.",
    "heads": "attn.hook_z of one head, at all positions.",
    "mlps": "hook_mlp_out of one layer, at all positions.",
    "attention": "hook_attn_out of one layer, so all its heads, at all positions.",
    "stream": "Denoising the residual stream at some positions together, by depth: i is "
    "resid_pre of layer i, the last one resid_post of the last layer. changed: all positions at "
    "which any pair differs; last: the last position.",
    "distinct": "Pairs that differ from each other in prompts or answer. A fixed layout has only "
    "so many; intervals are over all pairs, repeats among them.",
    "by_position": "Denoising one position of one layer's resid_pre, resid_post, attn_out or "
    "mlp_out.",
    "low, high": "Ends of the 95 % interval.",
    "attends": "Mean attention on clean prompts from the last position; over a role's positions "
    "it is summed. changed: where the two prompts differ, pair by pair. null: outside the "
    "window of that layer's heads, so that they cannot.",
    "repeats": "Mean attention in repeats of random words; near repeats lie within the window, "
    "far ones beyond it. previous_token: to the word before. duplicate_token: from a repeated "
    "word to its first occurrence. induction: to the word after that. null: cannot. "
    "by_distance: to that many words back, from 0 on. by_offset: from a repeated word to that "
    "many words after its first occurrence, by repeats.offsets; induction is offset 1, and a peak "
    "elsewhere shows a head that looks where earlier layers carried the words.",
    "ablation": "Share left of the accuracy on repeated words, but for each copy's first, when "
    "one head's z is zero everywhere. far: all distances beyond the window. beyond: the word to "
    "be copied is more than 62 back, out of two local layers' reach.",
}


def measure_task(
    model: HookedGPTNeo, found: Pairs, *, full: bool, tick: Callable[[], None] = lambda: None
) -> dict[str, Any]:
    """Return all that is measured of one task, as plain JSON values.

    Args:
        model: A model whose vocabulary is the organism's.
        found: Aligned pairs of the task.
        full: Whether to patch every position by itself too.
        tick: Called after each patched forward, ``n_forwards`` times.
    """
    prompts = PromptPairs(*found.ids())
    patching = Patching(model, prompts, tick=tick)
    bootstrap = Bootstrap(len(found))
    clean, corrupted = patching.clean, patching.corrupted

    def effect(patched: Any) -> dict[str, Any]:
        return bootstrap.effect(patched, clean, corrupted).record()

    changed = sorted({place for places in found.changed for place in places})
    last = prompts.clean.shape[1] - 1
    record: dict[str, Any] = {
        "prompts": {
            "n_pos": last + 1,
            "roles": list(found.roles[0]),
            "changed": changed,
            "distinct": len(set(zip(found.clean, found.corrupted, found.answer, strict=True))),
            "example": {
                side: getattr(found, side)[0] for side in ("clean", "corrupted", "answer", "wrong")
            },
        },
        "logit_diff": {
            "clean": bootstrap.mean(clean).record("mean"),
            "corrupted": bootstrap.mean(corrupted).record("mean"),
            "gap": bootstrap.mean(clean - corrupted).record("mean"),
            "clean_share_above_0": rounded((clean > 0).mean()),
        },
        "heads": {way: effect(patching.heads(way)) for way in ("denoise", "noise")},
        "mlps": {way: effect(patching.layers("mlp_out", way)) for way in ("denoise", "noise")},
        "attention": {
            way: effect(patching.layers("attn_out", way)) for way in ("denoise", "noise")
        },
        "stream": {
            "changed": effect(patching.stream(changed)),
            "last": effect(patching.stream([last])),
        },
        "attends": from_last(model, prompts.clean, found.roles[0], found.changed),
    }
    if full:
        after = [patching.n_layers - 1]
        record["by_position"] = {
            site: effect(patching.positions(site, after if site == "resid_post" else None))
            for site in GRIDS
        }
    return record


def n_forwards(n_layers: int, n_heads: int, n_pos: int, *, full: bool) -> int:
    """Return how many patched forwards ``measure_task`` makes."""
    whole = 2 * n_layers * n_heads + 4 * n_layers + 2 * (n_layers + 1)
    return whole + full * (3 * n_layers + 1) * n_pos


def measure(
    model: HookedGPTNeo,
    tasks: Mapping[str, Pairs],
    *,
    full: bool,
    progress: Callable[[str], Callable[[], None]] = lambda _: lambda: None,
) -> dict[str, Any]:
    """Return all that is measured of one model, as plain JSON values.

    Args:
        model: A model whose vocabulary is the organism's.
        tasks: Aligned pairs of each task, all of one number.
        full: Whether to patch every position by itself too.
        progress: Given what comes next, returns what to call after each of its forwards.
    """
    n = len(next(iter(tasks.values())))
    record: dict[str, Any] = {
        "full": full,
        "tasks": {
            task: measure_task(model, found, full=full, tick=progress(task))
            for task, found in tasks.items()
        },
        "repeats": {"n": n, "offsets": list(OFFSETS)},
    }
    for name, task in (("near", "induction"), ("far", "far-induction")):
        items = sentences(task, n, seed=3, length=(8, 20))
        record["repeats"][name] = repeat_scores(model, items).record()
    tick = progress("ablation")
    record["ablation"] = ablation(model, min(n, _ABLATED), tick=tick).record()
    few = PromptPairs(*pairs("far-induction", min(n, 32)).ids())
    return {**record, "checks": theorems.check(model, few)}


def assemble(config: Any, models: Sequence[dict[str, Any]], *, n: int, seed: int) -> dict[str, Any]:
    """Return the whole card.

    Args:
        config: The shape of all models.
        models: What ``measure`` returned, with ``name`` and ``sha256``; the first is the full one.
        n: Number of pairs.
        seed: Of the pairs.
    """
    packages = ("neoscope", "torch", "transformer-lens", "transformers", "numpy")
    return {
        "format": FORMAT,
        "made_by": {
            "script": "python -m neoscope.making.truth",
            "engine": "transformer_lens.patching, one forward for each cell",
            "pairs": n,
            "pairs_seed": seed,
            "split": "test",
            "intervals": METHOD,
            "python": platform.python_version(),
            "packages": {name: importlib.metadata.version(name) for name in packages},
        },
        "conventions": dict(CONVENTIONS),
        "shape": config.to_hf(),
        "theorems": theorems.theorems(config, [model["checks"] for model in models]),
        "claims": claims(models),
        "models": list(models),
    }


def sha256(file: Path) -> str:
    """Return the SHA-256 of a file, in hexadecimal."""
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def write(card: Mapping[str, Any], path: Path) -> None:
    """Write a card, whole or not at all; a line for each name, and lists on one line."""
    with atomic(path) as temporary:
        temporary.write_text(_text(card, 1) + "\n", encoding="utf-8")


def _text(value: Any, depth: int) -> str:
    if isinstance(value, Mapping) and value:
        ends, pieces = "{}", [f"{json.dumps(k)}: {_text(v, depth + 1)}" for k, v in value.items()]
    elif isinstance(value, list) and value and isinstance(value[0], Mapping):
        ends, pieces = "[]", [_text(item, depth + 1) for item in value]
    else:
        return json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    lines = ",\n".join(" " * depth + piece for piece in pieces)
    return f"{ends[0]}\n{lines}\n{' ' * (depth - 1)}{ends[1]}"


def load(folder: str | Path) -> dict[str, Any]:
    """Return the card of a model.

    Args:
        folder: The checkpoint's folder, or the card itself.

    Raises:
        CheckpointError: There is no card, or not one of this format.
    """
    path = Path(folder)
    path = path / NAME if path.is_dir() else path
    try:
        card = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{path}: no truth card can be read: {error}") from error
    found = card.get("format") if isinstance(card, dict) else None
    if found != FORMAT:
        raise CheckpointError(f"{path}: a truth card of format {found!r}; expected {FORMAT}")
    return dict(card)
