"""One call of generate: what is run, how it is run, and what is handed back."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import torch
from transformers.generation.configuration_utils import GenerationConfig

from neoscope.cache import ActivationCache
from neoscope.edit import Edit, compile_edits
from neoscope.errors import GenerationError
from neoscope.generate import caching
from neoscope.generate.beams import BeamSearch
from neoscope.generate.checks import check_seed
from neoscope.generate.decoder import Decoder
from neoscope.generate.loop import Chooser, generate
from neoscope.generate.options import Plan, plan
from neoscope.generate.output import check_return_type, output, whole_texts
from neoscope.generate.prompts import Prompts, read
from neoscope.generate.screen import Screen, screen_for
from neoscope.generate.steps import Cached, Steps, Ticking, Whole, growing
from neoscope.generate.text import Grown
from neoscope.progress import open_bar

if TYPE_CHECKING:
    from neoscope.model import HookedGPTNeo


class Job:
    """Prompts, options and edits of one call."""

    prompts: Prompts
    plan: Plan

    def __init__(
        self,
        model: HookedGPTNeo,
        edits: Any,
        *,
        seed: Any = None,
        streamer: Any = None,
        progress: bool = False,
    ) -> None:
        """Remember who generates.

        Args:
            model: Its hooks and enclosing edits count.
            edits: Those of this run.
            seed: Fixes the draws; None draws from torch's own generator.
            streamer: As for transformers' ``generate``.
            progress: Whether to show a bar after two seconds; never beside a streamer.

        Raises:
            GenerationError: The seed is no whole number of 64 bits.
            EditError: Something that is no edit was given.
            SiteError: An edit names what does not exist.
        """
        check_seed(seed)
        self._model, self._seed, self._streamer = model, seed, streamer
        self._progress = progress and streamer is None
        self._own = [edits] if isinstance(edits, Edit) else list(edits)
        compile_edits(self._own, model.config, model._switches_on())  # refuses before anything runs

    def prepare(
        self,
        inputs: Any,
        attention_mask: Any,
        given: Mapping[str, Any],
        *,
        prepend_bos: bool,
        generation_config: Any,
        **more: Any,
    ) -> None:
        """Read prompts and options.

        Raises:
            GenerationError: They contradict each other, or do not fit the context.
        """
        given = dict(given)
        if "input_ids" in given:
            if inputs is not None:
                raise GenerationError(
                    "`inputs` were passed alongside `input_ids`; give one of them"
                )
            inputs = given.pop("input_ids")
        _own_tokenizer(self._model, given.pop("tokenizer", None))
        if generation_config is not None:
            if not isinstance(generation_config, GenerationConfig):
                kind = type(generation_config).__name__
                raise GenerationError(f"generation_config is {kind}, no GenerationConfig")
            said = generation_config.to_diff_dict()
            said.pop("transformers_version", None)
            given = said | given
        self.prompts = read(self._model, inputs, attention_mask, prepend_bos=prepend_bos)
        self.plan = plan(self._model, self.prompts, given, streamer=self._streamer, **more)
        new = self.plan.max_length - self.prompts.ids.shape[1]
        caching.check_reach(self._edits, max(self.prompts.lengths) + new)

    @property
    def _edits(self) -> list[Edit]:
        return [*self._model._edits, *self._own]

    def run(
        self,
        return_type: str | None,
        use_cache: Any,
        *,
        return_cache: bool,
        sites: Any,
        layers: Any,
    ) -> Any:
        """Generate.

        Args:
            return_type: As for ``model.generate``.
            use_cache: As for ``model.generate``.
            return_cache: Also return the sites of one forward over everything.
            sites: Which.
            layers: Of which layers.

        Raises:
            GenerationError: One of these means nothing.
        """
        if not isinstance(use_cache, bool | None):
            raise GenerationError(f"use_cache={use_cache!r} is none of True, False and None")
        if not return_cache and (sites is not None or layers is not None):
            raise GenerationError("sites and layers say what return_cache=True keeps; add it")
        form = check_return_type(return_type, self._model, self.prompts.kind)
        hooked = caching.is_hooked(self._model)
        lean = (
            not hooked
            and not self._edits
            and use_cache is not False
            and caching.is_plain(self._model)
        )
        # What a hook or an edit of the caller's keeps must be of use to autograd later.
        with torch.inference_mode() if lean else torch.no_grad():
            text = self._generate(self._steps(lean, use_cache), hooked, form)
        if lean:
            text.ids, text.real = text.ids.clone(), text.real.clone()
        out = output(self._model, self.prompts, self.plan, text, form)
        if not return_cache:
            return out
        return out, self._cache(text, sites, layers)

    def _steps(self, lean: bool, use_cache: bool | None) -> Steps:
        if lean:
            return Decoder(self._model, self.plan.max_length)
        if caching.uses_cache(self._model, self._edits, use_cache):
            return Cached(self._model, self._own, self.plan.max_length)
        return Whole(self._model, self._own)

    def _generate(self, steps: Steps, hooked: bool, form: str) -> Grown:
        generator = None
        if self._seed is not None:
            generator = torch.Generator(self._model.device).manual_seed(int(self._seed))
        if self._progress:
            most = self.plan.max_length - self.prompts.ids.shape[1]
            with open_bar(most, "token", leave=False) as bar:
                return self._loop(Ticking(steps, bar.update), generator, hooked, form)
        return self._loop(steps, generator, hooked, form)

    def _loop(
        self, steps: Steps, generator: torch.Generator | None, hooked: bool, form: str
    ) -> Grown:
        if self.plan.n_beams > 1:
            return BeamSearch(self._model, self.plan, self.prompts, generator).run(steps)
        result = form == "result"
        screen = None if hooked or result else self._screen()
        choose = Chooser(self._model, self.plan, generator, screen, log_probs=result)
        return generate(self.prompts, steps, choose, self.plan, streamer=self._streamer)

    def _screen(self) -> Screen | None:
        if self.plan.samples or self.plan.processors:
            return None
        return screen_for(self._model, self.plan.max_length - self.prompts.ids.shape[1])

    def _cache(self, text: Grown, sites: Any, layers: Any) -> ActivationCache:
        tokens = whole_texts(self._model, text)
        with torch.no_grad():
            _, cache = self._model.run_with_cache(
                tokens,
                sites=sites,
                layers=layers,
                return_type=None,
                edits=self._own,
                _visibility=growing(tokens.ids, tokens.mask),
            )
        return cache


def _own_tokenizer(model: HookedGPTNeo, tokenizer: Any) -> None:
    """Let callers of transformers' ``generate`` name the tokenizer that the model has anyway."""
    own = model.tokenizer
    if tokenizer is None or tokenizer is own:
        return
    if own is None or getattr(tokenizer, "get_vocab", dict)() != own.get_vocab():
        raise GenerationError(
            "tokenizer= is another one than the model's own, which is the one that is used; leave "
            "it out, or set model.tokenizer"
        )
