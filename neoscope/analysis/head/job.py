"""A measurement of a model's heads: texts are run, patterns tallied as they pass."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

import torch

from neoscope.analysis.given import whole_number
from neoscope.analysis.head.assembly import Extra, assembled, beyond_patterns
from neoscope.analysis.head.in_context import InContext
from neoscope.analysis.head.kinds import Chosen, threshold
from neoscope.analysis.head.result import HeadScores
from neoscope.analysis.head.texts import (
    Batch,
    Corpus,
    batches,
    beginning_of_text,
    has_beginning_of_text,
)
from neoscope.analysis.head.watch import HeadWatch, Tally
from neoscope.analysis.head.words import Repeats, known_words, plan
from neoscope.analysis.reading import edits_in_force
from neoscope.corpus import cached_sites
from neoscope.errors import AnalysisError
from neoscope.model import HookedGPTNeo
from neoscope.progress import Progress

_N = 16


@dataclass
class Job:
    """One measurement of a model."""

    model: HookedGPTNeo
    kinds: Chosen
    weighted: str
    seed: int
    batch_tokens: int
    named: bool = False
    """Whether the caller named the scores: what cannot be measured is then refused."""
    n: int = 0
    in_context: InContext = field(default_factory=InContext)

    def __post_init__(self) -> None:
        """Make the tally and what watches."""
        config = self.model.config
        of_pattern = tuple(kind for kind in self.kinds if kind.of_pattern)
        self.layers = list(range(config.n_layers))
        self.tally = Tally(of_pattern, self.layers, config, threshold(config))
        sites = ["pattern", "v"] if self.weighted == "norm" else ["pattern"]
        outputs = (
            {layer: self.model.blocks[layer].attn.W_O for layer in self.layers}
            if self.weighted == "norm"
            else None
        )
        self.watch = HeadWatch(self.tally, cached_sites(self.model, sites, None), outputs)

    def run(
        self,
        texts: Any,
        asked: dict[str, Any],
        prepend_bos: bool | None,
        progress: bool | Callable[[int, int], None],
    ) -> HeadScores:
        """Measure.

        Args:
            texts: None for repeats.
            asked: ``gap``, ``length`` and ``n`` of repeats, as the caller gave them.
            prepend_bos: As the caller said.
            progress: Whom to tell.

        Raises:
            AnalysisError: Repeats do not fit, or there is nothing to measure.
        """
        bos = self._bos(prepend_bos, texts)
        words = known_words(self.model)
        some = bool(self.tally.kinds) or any(value is not None for value in asked.values())
        repeats = self._plan(words, bos, asked) if texts is None and some else ()
        corpus = None if texts is None else self._corpus(texts, bos, asked)
        groups = self._drawn(repeats, words, bos) if corpus is None else corpus
        total = self.n * len(repeats) if corpus is None else len(corpus)
        extra: Extra = {}
        complete = True
        try:
            with torch.no_grad(), Progress(progress, self._steps(total), "step") as bar:
                if self.tally.kinds:
                    self._walk(groups, bar)
                extra = beyond_patterns(
                    self.model, self.kinds, self.layers, words, self.seed, bar.update
                )
        except KeyboardInterrupt:
            if not self.tally.n_texts:
                raise
            complete = False
            warnings.warn(f"interrupted: {self.tally.n_texts} texts are done", stacklevel=3)
        if self.tally.kinds and not self.tally.n_texts:
            raise AnalysisError(
                f"no text has more than one token (of {total}): no query has a choice of keys, and "
                "there is nothing to measure"
            )
        icl, icl_stderr = self.in_context.mean()
        return assembled(
            self.model.cfg.model_name,
            self.tally,
            self.kinds,
            extra,
            corpus="repeats" if corpus is None else "texts",
            weighted=self.weighted,
            gaps=tuple(one.gap for one in repeats),
            lengths=tuple(one.length for one in repeats),
            prepend_bos=bos is not None,
            seed=self.seed,
            edits=edits_in_force(self.model),
            n_short=0 if corpus is None else corpus.n_short,
            n_cut=0 if corpus is None else corpus.n_cut,
            in_context=icl,
            in_context_stderr=icl_stderr,
            in_context_n=self.in_context.n,
            complete=complete,
        )

    def _steps(self, texts: int) -> int:
        """Texts, then layers whose weights are read."""
        of_weights = any(kind.family == "weight" for kind in self.kinds)
        return texts * bool(self.tally.kinds) + len(self.layers) * of_weights

    def _bos(self, prepend_bos: bool | None, texts: Any) -> int | None:
        if prepend_bos is None:
            # In a context of two tokens it would leave no room for a repeat.
            prepend_bos = (
                texts is None and self.model.config.n_ctx > 2 and has_beginning_of_text(self.model)
            )
        return beginning_of_text(self.model) if prepend_bos else None

    def _corpus(self, texts: Any, bos: int | None, asked: dict[str, Any]) -> Corpus:
        for name, value in asked.items():
            if value is not None:
                raise AnalysisError(f"{name} is for repeats of random tokens, not for texts")
        return Corpus(self.model, texts, bos, self.batch_tokens)

    def _plan(
        self, words: torch.Tensor, bos: int | None, asked: dict[str, Any]
    ) -> tuple[Repeats, ...]:
        self.n = _N if asked["n"] is None else whole_number(asked["n"], "n")
        config, given = self.model.config, {key: asked[key] for key in ("gap", "length")}
        found = plan(config, len(words), **given, bos=bos is not None)
        induction = any(kind.name.startswith("induction") for kind in self.kinds)
        if self.named and induction and all(one.gap == 1 for one in found):
            raise AnalysisError(
                "gap=1: what came after a token is then its repetition itself, and induction has "
                "no key to look at; expected a gap of at least 2"
            )
        return found

    def _drawn(
        self, repeats: tuple[Repeats, ...], words: torch.Tensor, bos: int | None
    ) -> list[tuple[int, list[Batch]]]:
        n_heads = self.model.config.n_heads
        drawn = [list(one.draw(words, self.n, bos, self.seed)) for one in repeats]
        return [(self.n, batches(rows, self.batch_tokens, n_heads)) for rows in drawn]

    def _walk(self, groups: Iterable[tuple[int, list[Batch]]], bar: Progress) -> None:
        for n, found in groups:
            for i, batch in enumerate(found):
                late = self.in_context.fits(batch.mask)
                self.tally.begin(batch.ids, batch.mask, self.model.device)
                hidden = self.model(
                    batch.ids,
                    batch.mask,
                    return_type="hidden" if late else None,
                    _record=self.watch,
                )
                self.tally.end()
                if late:
                    self.in_context.add(self.model, hidden, batch.ids, batch.mask)
                bar.update(n * (i + 1) // len(found) - n * i // len(found))
