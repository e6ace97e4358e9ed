"""Concept scrubbing: LEACE in one layer after the other of a running model.

The eraser of a layer is fitted on what comes there once the layers before it are erased already:
later layers see other inputs than those of the plain model, and may make the concept anew.

Reference: Belrose et al. 2023, arXiv:2306.03819, section 6.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from neoscope.errors import ProbeError
from probes.erasure.concept import Concept
from probes.erasure.eraser import Eraser
from probes.erasure.leace import LeaceFitter

if TYPE_CHECKING:
    from neoscope.edits import Edit

Array = NDArray[Any]
_FORMAT, _FILE, _KEY = 2, "scrubbing.safetensors", "neoscope_scrubbing"
_PARTS = ("mean", "left", "right")
_SITES = "resid_pre, resid_mid, resid_post, attn_out, mlp_out, q, k, v, z, pre, post"
"""Those that are named in errors."""
_UNFIT = {"embed", "pos_embed", "ln_final", "attn_scores", "pattern"}
"""The model has them once, or they hold no vector for each token."""


@dataclass(frozen=True)
class Scrubbing:
    """One eraser a layer, to be used together."""

    site: str
    """Where they erase."""
    erasers: Mapping[int, Eraser]
    """By layer."""

    def __repr__(self) -> str:
        """Return one line: the site, and how many directions go in which layer."""
        ranks = {layer: eraser.rank for layer, eraser in self.erasers.items()}
        return f"Scrubbing({self.site}, ranks by layer {ranks})"

    def save(self, folder: str | os.PathLike[str]) -> Path:
        """Write ``scrubbing.safetensors``, with all erasers, whole or not at all.

        Args:
            folder: Made if it is not there. A scrubbing in it is replaced.

        Returns:
            The folder.

        Raises:
            ProbeError: It cannot be written.
        """
        from safetensors.numpy import save_file

        from neoscope.files import atomic

        at = Path(folder).expanduser()
        tensors = {
            f"{layer}.{part}": np.ascontiguousarray(getattr(eraser, part))
            for layer, eraser in self.erasers.items()
            for part in _PARTS
        }
        methods = {layer: eraser.method for layer, eraser in self.erasers.items()}
        card = {"format": _FORMAT, "site": self.site, "methods": methods}
        try:
            at.mkdir(parents=True, exist_ok=True)
            with atomic(at / _FILE) as path:
                save_file(tensors, path, metadata={_KEY: json.dumps(card)})
        except OSError as error:
            raise ProbeError(f"cannot write {at}: {error.strerror or error}") from error
        return at

    @classmethod
    def load(cls, folder: str | os.PathLike[str]) -> Scrubbing:
        """Read what :meth:`save` wrote.

        Raises:
            ProbeError: There is none in the folder, or it is damaged.
        """
        from safetensors import SafetensorError, safe_open

        path = Path(folder).expanduser() / _FILE
        try:
            with safe_open(path, framework="numpy") as file:
                card = json.loads((file.metadata() or {})[_KEY])
                erasers = {
                    int(layer): Eraser(
                        method=method, **{x: file.get_tensor(f"{layer}.{x}") for x in _PARTS}
                    )
                    for layer, method in card["methods"].items()
                }
            if card["format"] != _FORMAT:
                raise ValueError(f"it is of format {card['format']!r}, expected {_FORMAT}")
            return cls(card["site"], erasers)
        except OSError as error:
            raise ProbeError(f"cannot read {path}: {error.strerror or error}") from error
        except (SafetensorError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise ProbeError(f"{path} is damaged or no scrubbing: {error}") from error

    def edits(self, **where: Any) -> list[Edit]:
        """Return the edits that erase in all layers of a running model.

        Args:
            where: ``positions``.
        """
        return [eraser.edit(self.site, layer, **where) for layer, eraser in self.erasers.items()]


def scrub(
    model: Any,
    texts: Any,
    labels: Sequence[Any],
    *,
    site: str = "resid_post",
    layers: Any = "all",
    batch_size: int = 32,
    prepend_bos: bool = False,
    progress: bool = True,
) -> Scrubbing:
    """Fit erasers of a concept through the layers of a model.

    Args:
        model: A HookedGPTNeo.
        texts: Texts, token ids [texts, pos], or what ``model.tokenize`` gave.
        labels: One a text, for all its tokens; or for each text one a token (a token that was put
            first with ``prepend_bos`` counts), of which None and -100 are left out.
        site: A site that every layer has, with a vector for each token: ``resid_pre``,
            ``resid_mid``, ``resid_post``, ``attn_out``, ``mlp_out``, ``z`` and the like.
        layers: One layer, several, or ``"all"``; negative ones count from the last.
        batch_size: Texts in a run.
        prepend_bos: For texts: put the beginning-of-text token first.
        progress: Show a bar from two seconds on.

    Returns:
        The erasers; every layer's is fitted behind those before it.

    Raises:
        ProbeError: Labels and texts of different number, one class only, or no such layer or site.
    """
    import torch

    from probes.progress import shown
    from probes.running import read_batches, streams

    wanted = _layers(layers, model.config.n_layers)
    _check_site(site)
    batches = read_batches(model, texts, batch_size=batch_size, prepend_bos=prepend_bos)
    keep, codes, width = _token_labels(batches, labels)
    states = streams(model, batches, 0)
    erasers: dict[int, Eraser] = {}
    for layer in shown(range(max(wanted) + 1), max(wanted) + 1, "scrub", progress):
        fitter, follow = None, []
        with torch.inference_mode():
            for batch, state, kept, z in zip(batches, states, keep, codes, strict=True):
                only = {"start_at_layer": layer, "stop_at_layer": layer + 1}
                out, cache = model.run_with_cache(
                    state, batch.mask, sites=site, layers=layer, **only
                )
                follow.append(out)
                if layer in wanted:
                    rows = cache[site, layer].flatten(2)[kept].double().cpu().numpy()
                    fitter = fitter or LeaceFitter(rows.shape[1], width)
                    fitter.update(rows, z)
            if fitter is not None:
                erasers[layer] = fitter.eraser()
                edit = erasers[layer].edit(site, layer)
                follow = [
                    model(state, batch.mask, edits=[edit], **only)
                    for batch, state in zip(batches, states, strict=True)
                ]
        states = follow
    return Scrubbing(site, erasers)


def _layers(asked: Any, n_layers: int) -> set[int]:
    """Return which layers are meant, counted from the first."""
    if isinstance(asked, str) and asked == "all":
        return set(range(n_layers))
    one = isinstance(asked, int | np.integer)
    if isinstance(asked, str) or not (one or isinstance(asked, Iterable)):
        raise ProbeError(f"layers={asked!r}; expected 'all' or numbers of layers")
    found = set()
    for layer in [asked] if one else asked:
        whole = isinstance(layer, int | np.integer) and not isinstance(layer, bool)
        if not whole or not -n_layers <= layer < n_layers:
            raise ProbeError(
                f"layer {layer!r} does not exist; the model has layers 0 to {n_layers - 1} (or "
                f"-{n_layers} to -1)"
            )
        found.add(int(layer) % n_layers)
    if not found:
        raise ProbeError("layers is empty; expected 'all' or numbers of layers")
    return found


def _check_site(site: str) -> None:
    parts = {part.removeprefix("hook_") for part in site.split(".")}
    if parts & _UNFIT:
        raise ProbeError(
            f"site={site!r} cannot be scrubbed; expected one that every layer has, with a vector "
            f"for each token: {_SITES}"
        )


def _token_labels(
    batches: Sequence[Any], labels: Sequence[Any]
) -> tuple[list[Any], list[Array], int]:
    """Return, for each batch, which tokens are labelled and their labels, and the labels' width."""
    texts = batches[-1].rows.stop
    if len(labels) != texts:
        raise ProbeError(f"there are {texts} texts but {len(labels)} labels")
    by_token = isinstance(labels[0], list | tuple | np.ndarray)
    keep, flat = [], []
    for batch in batches:
        kept = batch.mask.clone()
        for row, label in enumerate(labels[batch.rows]):
            real = batch.mask[row].nonzero().flatten().tolist()
            each = list(label) if by_token else [label] * len(real)
            if len(each) != len(real):
                raise ProbeError(
                    f"text {batch.rows.start + row} has {len(real)} tokens but {len(each)} labels"
                )
            for column, one in zip(real, each, strict=True):
                if one is None or (not isinstance(one, str) and one == -100):
                    kept[row, column] = False
                else:
                    flat.append(one)
        keep.append(kept)
    concept = Concept.read(np.asarray(flat))
    sizes = np.cumsum([int(kept.sum()) for kept in keep])[:-1]
    all_of = concept.numbers if concept.codes is None else concept.codes
    assert all_of is not None
    return keep, np.split(all_of, sizes), concept.width
