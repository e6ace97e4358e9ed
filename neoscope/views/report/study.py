"""Study: what a report and a demonstration measure on one model, each thing once."""

from __future__ import annotations

import contextlib
import importlib
import warnings
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from neoscope.views.report import material
from neoscope.views.report.parts import Unavailable

if TYPE_CHECKING:
    from neoscope.analysis import Attribution, HeadScores, LensResult, TokenLosses
    from neoscope.cache import ActivationCache
    from neoscope.contract import ContractReport
    from neoscope.export import Features
    from neoscope.model import HookedGPTNeo
    from neoscope.patching.results.result import PatchingResult
    from neoscope.tokens import Tokens
    from probes import ProbeData
    from probes.sweeping.result import SweepResult

    GivenModel = HookedGPTNeo
else:
    GivenModel = Any

MOST_TOKENS = 256
"""Tokens of a text that the pictures show."""
WEAK = 0.5
"""Logits by which clean and corrupted runs must differ, for patching to say anything."""
_SMALL = 20_000_000
"""Parameters below which threads cost more than they bring."""
_GUESSES = 10
_SITES = (
    "embed", "pos_embed", "resid_pre", "resid_post", "attn_out", "mlp_out", "z", "pattern",
    "ln_final.scale", "ln_final.normalized",
)  # fmt: skip


def label_of(model: GivenModel) -> str:
    """Return a model's name without the folders that it lies in on this machine.

    Args:
        model: Any model.
    """
    name = str(model.cfg.model_name)
    is_path = Path(name).is_absolute() or name.startswith((".", "~")) or Path(name).exists()
    return Path(name).name if is_path else name


@contextlib.contextmanager
def calm(model: GivenModel) -> Iterator[None]:
    """Run a small model on one thread, and let results name the model without its folder.

    Args:
        model: It is as it was afterwards.
    """
    limits: Any = importlib.import_module("threadpoolctl").threadpool_limits
    threads, config = torch.get_num_threads(), model.cfg
    name, small = config.model_name, model.config.n_params < _SMALL
    if small:
        torch.set_num_threads(1)
    config.model_name = label_of(model)
    try:
        with limits(1 if small else None):
            yield
    finally:
        config.model_name = name
        torch.set_num_threads(threads)


@contextlib.contextmanager
def _said_before() -> Iterator[None]:
    """Say nothing of unknown words of a text that was read already."""
    from neoscope.unseen import UnseenWordWarning

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UnseenWordWarning)
        yield


class Study:
    """Measures what is asked for, and keeps it."""

    def __init__(
        self,
        model: GivenModel,
        text: str | None = None,
        *,
        lens: Any = None,
        seed: int = 0,
        n_pairs: int | None = None,
        n_sentences: int = 240,
        prepend_bos: bool = False,
    ) -> None:
        """Measure nothing yet.

        Args:
            model: A loaded model.
            text: What lens, attention and attribution are shown on; None for one that it can read.
            lens: A tuned lens, or its folder.
            seed: Of every choice.
            n_pairs: Pairs of prompts that are patched; default 256 for a small model, else 16.
            n_sentences: Sentences that probes and the projection read.
            prepend_bos: Put the beginning-of-text token before the text.
        """
        self.model, self.given_text, self.lens, self.seed = model, text, lens, seed
        small = model.config.n_params < _SMALL
        self.n_pairs = n_pairs or (256 if small else 16)
        self.n_sentences, self.prepend_bos = n_sentences, prepend_bos
        self.label, self.left_out = label_of(model), 0

    # ---- the text ------------------------------------------------------------------------------

    @cached_property
    def text(self) -> str:
        """The text that is read; ``left_out`` tokens of the default one had no room."""
        if self.given_text is not None:
            material.need_tokenizer(self.model)
            return self.given_text
        text = material.default_text(self.model)
        read = self.model.tokenize(text, prepend_bos=self.prepend_bos, truncate=True)
        self.left_out = read.truncated[0]
        return text[: read.offsets[0][-1][1]] if self.left_out else text

    @cached_property
    def _read(self) -> Tokens:
        """The text as the model reads it; what is unknown in it is warned of here, once."""
        with _said_before() if self.given_text is None else contextlib.nullcontext():
            return self.model.tokenize(self.text, prepend_bos=self.prepend_bos)

    @cached_property
    def tokens(self) -> tuple[str, ...]:
        """Its tokens, all of them; one that is part of a letter is its bytes."""
        from neoscope.analysis.words import token_strings

        return tuple(token_strings(self._read, self.model)[0])

    @property
    def shown(self) -> tuple[str, ...]:
        """The tokens that pictures show."""
        return self.tokens[:MOST_TOKENS]

    @cached_property
    def cache(self) -> ActivationCache:
        """A run over the tokens that are shown."""
        tokens = self._read
        if len(self.tokens) > MOST_TOKENS:
            start, end = tokens.offsets[0][0][0], tokens.offsets[0][MOST_TOKENS - 1][1]
            with _said_before():
                tokens = self.model.tokenize(self.text[start:end], prepend_bos=self.prepend_bos)
        _, cache = self.model.run_with_cache(tokens, sites=list(_SITES))
        return cache

    @cached_property
    def guesses(self) -> tuple[str, str]:
        """The two tokens that the model thinks likeliest after the text."""
        if self.text == material.DEFAULT_TEXT and {" Mary", " John"} <= set(self.tokens):
            return " Mary", " John"
        read = self.logit_lens
        best = [read.word(int(i)) for i in read.top_ids[-1, -1, :2]]
        return best[0], best[1]

    @cached_property
    def guess_ids(self) -> tuple[int, int]:
        """Their ids."""
        read = self.logit_lens
        if self.guesses == (" Mary", " John"):
            return self.model.to_single_token(" Mary"), self.model.to_single_token(" John")
        first, second = (int(i) for i in read.top_ids[-1, -1, :2])
        return first, second

    # ---- readings ------------------------------------------------------------------------------

    @cached_property
    def contract(self) -> ContractReport:
        """The site contract's checks."""
        from neoscope import contract

        return contract.check(self.model, seed=self.seed, progress=False)

    @cached_property
    def heads(self) -> HeadScores:
        """Head scores on repeats of random tokens."""
        from neoscope import analysis

        return analysis.heads(self.model, seed=self.seed, progress=False)

    @cached_property
    def logit_lens(self) -> LensResult:
        """The plain lens over the text."""
        from neoscope import analysis

        return analysis.logit_lens(self.cache, k=min(_GUESSES, self.model.config.d_vocab))

    @cached_property
    def tuned_lens(self) -> LensResult:
        """The tuned lens over the text."""
        from neoscope import analysis

        k = min(_GUESSES, self.model.config.d_vocab)
        return analysis.tuned_lens(self.cache, self.lens, k=k)

    @cached_property
    def losses(self) -> TokenLosses:
        """Surprisal of each token of the text."""
        from neoscope import analysis

        if len(self.tokens) < 2:
            raise Unavailable("a single token has no surprisal: nothing stands before it")
        self._read  # noqa: B018  # warns of unknown words, if nothing did
        with _said_before():
            return analysis.token_losses(self.model, self.text)

    @cached_property
    def attribution(self) -> Attribution:
        """What each component writes into the two guesses' logit difference."""
        from neoscope import analysis

        first, second = self.guess_ids
        return analysis.direct_logit_attribution(self.cache, first, second, model=self.model)

    # ---- experiments ---------------------------------------------------------------------------

    @cached_property
    def prompts(self) -> material.Prompts:
        """Pairs of prompts."""
        return material.prompts(self.model, self.n_pairs, self.seed)

    @cached_property
    def patched_heads(self) -> PatchingResult:
        """Each head's output from the clean run, in the corrupted run."""
        return self._sweep("z", "all")

    @cached_property
    def patched_stream(self) -> PatchingResult:
        """The clean stream at each layer and position, in the corrupted run."""
        return self._sweep("resid_pre", None)

    def _sweep(self, site: str, positions: Any) -> PatchingResult:
        from neoscope import patching

        asked = self.prompts
        metric = patching.logit_diff(asked.answer, asked.wrong)
        clean, corrupted = list(asked.clean), list(asked.corrupted)
        return patching.sweep(
            self.model, clean, corrupted, metric, site=site, positions=positions, seed=self.seed,
            progress=False,
        )  # fmt: skip

    @cached_property
    def probe_data(self) -> ProbeData:
        """Streams at the last token of beginnings of sentences, with the subject's number."""
        import probes

        made = material.numbers(self.model, self.n_sentences, self.seed)
        return probes.ProbeData.from_texts(
            self.model, list(made.texts), list(made.labels), site="resid_post", pool="last",
            types=list(made.types), label=made.title, progress=False,
        )  # fmt: skip

    @cached_property
    def probes(self) -> SweepResult:
        """A linear probe in every layer, beside control task and random twin."""
        import probes

        return probes.sweep(
            self.probe_data, probes.LogisticProbe(), controls=True, n_bootstrap=300, seed=self.seed,
            progress=False,
        )  # fmt: skip

    @cached_property
    def sentences(self) -> material.Labelled:
        """Sentences of several kinds."""
        return material.kinds(self.model, self.n_sentences, self.seed)

    @cached_property
    def middle(self) -> int:
        """The layer whose features are projected."""
        return self.model.config.n_layers // 2

    @cached_property
    def all_features(self) -> Features:
        """Their mean-pooled stream in every layer."""
        from neoscope.export import FeatureSpec, extract

        spec = FeatureSpec("resid_post", pool="mean")
        return extract(self.model, list(self.sentences.texts), spec, progress=False)

    @property
    def features(self) -> Any:
        """The same in a middle layer, ``[text, d_model]``."""
        return self.all_features[f"resid_post_{self.middle}_mean"]
