"""Extractor: texts in, features out; the pure function that every engine runs."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from neoscope.batching import length_batches
from neoscope.config import NeoConfig
from neoscope.device import is_out_of_memory
from neoscope.errors import ArgumentError, ExportError, TokenizationError
from neoscope.export.derived import Derived, of_logits
from neoscope.export.encoding import Encoded, encode
from neoscope.export.gathered import Gathered
from neoscope.export.pooler import Pooler
from neoscope.export.spec import Feature, FeatureSpec
from neoscope.export.weights import Weights, all_weights
from neoscope.indices import whole
from neoscope.packed import Packed
from neoscope.sites import SiteRef, resolve
from neoscope.unseen import unseen_ids, warn_of_unknown, warn_of_unseen

if TYPE_CHECKING:
    from neoscope.model import HookedGPTNeo

# How much shorter than its group's longest a text may be on a device that likes large launches.
_SLACK = 0.125
_MOST_NAMED = 5
_LARGE = 512


@dataclass(frozen=True)
class Values:
    """Features of some texts."""

    encoded: Encoded
    features: Mapping[str, NDArray[Any]]
    """[texts, width] by column; [tokens, width] for ``pool="none"``; [spans, width] for spans;
    for patterns [values], text after text, token after token."""
    filled: Mapping[str, NDArray[np.bool_]]
    """Which of their rows have a value; the others are NaN."""
    sizes: Mapping[str, NDArray[np.int64]]
    """[tokens] of patterns: how many values each token has."""


class Extractor:
    """Runs texts through a model and keeps their pooled features.

    Texts are read in batches of like length under a token budget, packed without padding; the
    forward ends at the last layer that is wanted.
    """

    def __init__(
        self, model: HookedGPTNeo, spec: FeatureSpec, *, batch_tokens: int | None = None
    ) -> None:
        """Check the spec against the model.

        Args:
            model: The model.
            spec: What to extract.
            batch_tokens: Most tokens run at once; None for what suits the device. When memory runs
                out it is halved.

        Raises:
            SiteError: A site or layer does not exist or is switched off.
            ArgumentError: The spec does not fit the model, or ``batch_tokens`` means nothing.
            TokenizationError: The model has no tokenizer.
        """
        if model.tokenizer is None:
            raise TokenizationError("this model has no tokenizer, which text needs")
        if batch_tokens is not None and (whole(batch_tokens) or 0) < 1:
            raise ArgumentError(f"batch_tokens={batch_tokens!r} is no whole number above 0")
        self.model, self.spec = model, spec
        self.features = spec.features(model.config, model._switches_on())
        self.batch_tokens = batch_tokens or _default_budget(model)
        self._warned = False

    def encode(
        self,
        texts: Sequence[str | None],
        *,
        where: Sequence[Any] | None = None,
        problems: Mapping[int, str] | None = None,
        start: int = 0,
    ) -> Encoded:
        """Tokenize texts; may run in another thread than :meth:`run`.

        Args:
            texts: None where there is a problem.
            where: For ``token`` and ``spans``: what each row says.
            problems: Texts that are known to be bad, and why.
            start: The number of the first, for warnings.
        """
        assert self.model.tokenizer is not None
        encoded = encode(
            self.model.tokenizer,
            texts,
            self.spec,
            n_ctx=self.model.config.n_ctx,
            d_vocab=self.model.config.d_vocab,
            where=where,
            problems=problems,
        )
        self._warn(texts, encoded, start)
        return encoded

    def run(self, encoded: Encoded, progress: Callable[[int, int], None] | None = None) -> Values:
        """Return the features of tokenized texts, in their order.

        Args:
            encoded: From :meth:`encode`.
            progress: Called after every batch with the number of texts it ends, and of its tokens;
                and once for the texts with problems.

        Raises:
            ExportError: A single text does not fit into memory, or values do not fit their dtype.
        """
        if progress is not None and encoded.problems:
            progress(len(encoded.problems), 0)
        weights = all_weights(self.features, encoded, self.spec)
        gathered = Gathered(self.features, weights, encoded, self.model.config.n_heads)
        lengths = encoded.windows[:, 2] - encoded.windows[:, 1]
        padded = self._must_pad()
        plan = functools.partial(length_batches, padded=padded)
        todo = plan(lengths.tolist(), self.batch_tokens)
        with torch.no_grad():
            while todo:
                pooler = self._tried(encoded, todo[0], weights, padded)
                if pooler is None:
                    rest = [window for batch in todo for window in batch]
                    again = plan(lengths[rest].tolist(), self.batch_tokens)
                    todo = [[rest[i] for i in batch] for batch in again]
                    continue
                gathered.take(pooler.parts)
                batch = encoded.windows[todo.pop(0)]
                if progress is not None:
                    ended = batch[:, 2] == encoded.lengths[batch[:, 0]]
                    progress(int(ended.sum()), len(pooler.tokens))
        values, filled = gathered.finish(self.spec.dtype, normalize=self.spec.normalize)
        return Values(encoded, values, filled, gathered.sizes)

    def _must_pad(self) -> bool:
        """Whether batches are rectangles: for attention patterns, and for hooks and edits."""
        sites = (f.source for f in self.features)
        patterns = any(s.layered if isinstance(s, Derived) else "key" in s.kind.axes for s in sites)
        return patterns or self.model.is_edited

    def _tried(
        self,
        encoded: Encoded,
        batch: list[int],
        weights: Mapping[str, Weights | None],
        padded: bool,
    ) -> Pooler | None:
        """Run one batch; None, and half the budget, if memory ran out."""
        windows = encoded.windows[batch]
        try:
            return self._forward(encoded, windows, weights, padded)
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            n_tokens = int((windows[:, 2] - windows[:, 1]).sum())
            if len(batch) == 1:
                raise ExportError(
                    f"out of memory on a single text of {n_tokens} tokens; choose a smaller "
                    "max_length, fewer sites, or a smaller dtype"
                ) from error
        self.batch_tokens = max(1, min(self.batch_tokens, n_tokens) // 2)
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        return None

    def _forward(
        self,
        encoded: Encoded,
        windows: NDArray[np.int64],
        weights: Mapping[str, Weights | None],
        padded: bool,
    ) -> Pooler:
        config, device = self.model.config, self.model.device
        lengths = windows[:, 2] - windows[:, 1]
        tokens = np.concatenate([np.arange(a, b) for a, b in windows[:, 1:3]])
        tokens += np.repeat(encoded.first[windows[:, 0]], lengths)
        owned = encoded.position[tokens] >= np.repeat(windows[:, 3], lengths)
        ids = torch.from_numpy(encoded.ids[tokens]).to(device)
        mask, visibility = None, None
        if padded:
            mask = torch.arange(int(lengths.max())) < torch.from_numpy(lengths)[:, None]
            mask = mask.to(device)
            ids = torch.zeros(mask.shape, dtype=torch.long, device=device).masked_scatter_(
                mask, ids
            )
        else:
            # Padding inside attention costs copies, which only small launches repay.
            large = device.type == "cpu" and config.d_model >= _LARGE
            slack = 0.0 if large else _SLACK
            visibility = Packed(lengths.tolist(), device, slack=slack)
            ids = ids[None]
        by_site = self._by_site(weights)
        pooler = Pooler(
            {name: resolve(config, name) for name in by_site},
            by_site,
            tokens,
            owned,
            np.unique(windows[:, 0]),
            mask,
        )
        whole = any(_site_of(f, config) is None for f in self.features)
        hidden = self.model(
            ids,
            mask,
            return_type="hidden" if whole else None,
            _record=pooler,
            _visibility=visibility,
        )
        if whole:
            self._after(encoded, pooler, weights, hidden[0] if mask is None else hidden[mask])
        return pooler

    def _after(
        self,
        encoded: Encoded,
        pooler: Pooler,
        weights: Mapping[str, Weights | None],
        hidden: Tensor,
    ) -> None:
        """Pool the final stream, and what the logits say."""
        last = [f for f in self.features if isinstance(f.source, Derived) and not f.source.layered]
        rows: dict[str, Tensor] = {"hidden": hidden.float()}
        if any(isinstance(f.source, Derived) and f.source.of_logits for f in last):
            # Where a text ends this is another's token: its loss is read nowhere.
            following = np.append(encoded.ids[1:], -1)
            target = torch.from_numpy(following[pooler.tokens]).to(hidden.device)
            said = of_logits(hidden, target, self.model.unembed)
            # The surprise at a token is the loss at the one before it.
            said["surprisal"] = said["loss"].roll(1)
            rows |= {name: value[:, None] for name, value in said.items()}
        for feature in last:
            assert isinstance(feature.source, Derived)
            pooler.add(feature, weights[feature.name], rows[feature.source.name])

    def _by_site(
        self, weights: Mapping[str, Weights | None]
    ) -> dict[str, list[tuple[Feature, Weights | None]]]:
        """Group the features by the site that feeds them."""
        by_site: dict[str, list[tuple[Feature, Weights | None]]] = {}
        for feature in self.features:
            name = _site_of(feature, self.model.config)
            if name is not None:
                by_site.setdefault(name, []).append((feature, weights[feature.name]))
        return by_site

    def _warn(self, texts: Sequence[str | None], encoded: Encoded, start: int) -> None:
        """Warn, once, of words that the model cannot know."""
        tokenizer = self.model.tokenizer
        assert tokenizer is not None
        if self._warned:
            return

        def rows(ids: Sequence[int]) -> tuple[list[int], list[list[int]]]:
            """The texts that hold any of some ids, and what they hold."""
            found = np.unique(encoded.text[np.isin(encoded.ids, ids)]).tolist()
            return found, [encoded.ids[slice(*encoded.first[t : t + 2])].tolist() for t in found]

        unseen = [i for span in unseen_ids(tokenizer) for i in span]
        held, ids = rows(unseen) if unseen else ([], [])
        if held:
            held, ids = held[:_MOST_NAMED], ids[:_MOST_NAMED]
            strings = [[str(tokenizer.decode([i])) for i in row] for row in ids]
            warn_of_unseen(tokenizer, ids, strings, numbers=[start + t for t in held])
        if tokenizer.unk_token_id is not None:
            others, ids = rows([tokenizer.unk_token_id])
            ids = [row[int(self.spec.prepend_bos) :] for row in ids]
            some, numbers = [texts[t] for t in others], [start + t for t in others]
            self._warned = warn_of_unknown(tokenizer, some, ids, numbers=numbers)
        self._warned = self._warned or bool(held)


def _site_of(feature: Feature, config: NeoConfig) -> str | None:
    """The site that feeds a feature; None where it comes after the last block."""
    if isinstance(feature.source, SiteRef):
        return feature.source.name
    return resolve(config, "pattern", feature.layer).name if feature.source.layered else None


def _default_budget(model: HookedGPTNeo) -> int:
    if model.device.type != "cpu":
        return 32768
    # Where most of the time per token is spent in the caches' favour, as measured.
    return 4096 if model.dtype in (torch.bfloat16, torch.float16) else 1536
