"""model.generate: text with transformers' options, edits and hooks in force."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, cast

from torch import Tensor

from neoscope.edit import Edit
from neoscope.generate.names import NAMED
from neoscope.inputs import Input

if TYPE_CHECKING:
    from neoscope.model import HookedGPTNeo


class Generating:
    """The part of HookedGPTNeo that writes text."""

    def generate(
        self,
        inputs: Input | None = None,
        attention_mask: Tensor | Sequence[Sequence[int]] | None = None,
        *,
        max_new_tokens: int | None = None,
        max_length: int | None = None,
        min_length: int | None = None,
        min_new_tokens: int | None = None,
        do_sample: bool | None = None,
        temperature: float | None = None,
        top_k: int | None = None,
        top_p: float | None = None,
        min_p: float | None = None,
        typical_p: float | None = None,
        repetition_penalty: float | None = None,
        no_repeat_ngram_size: int | None = None,
        bad_words_ids: Sequence[Sequence[int]] | None = None,
        num_return_sequences: int | None = None,
        num_beams: int | None = None,
        length_penalty: float | None = None,
        early_stopping: bool | str | None = None,
        stop_strings: str | Sequence[str] | None = None,
        seed: int | None = None,
        streamer: Any = None,
        progress: bool = True,
        logits_processor: Any = None,
        stopping_criteria: Any = None,
        prefix_allowed_tokens_fn: Any = None,
        generation_config: Any = None,
        edits: Edit | Sequence[Edit] = (),
        use_cache: bool | None = None,
        prepend_bos: bool = False,
        return_type: str | None = None,
        return_cache: bool = False,
        sites: str | Sequence[str] | None = None,
        layers: int | Sequence[int] | None = None,
        **others: Any,
    ) -> Any:
        """Continue texts.

        Options mean what they mean in transformers' ``generate``, whose logits processors and
        stopping criteria are used, and are checked as it checks them, except that what it warns of
        is an error here. What is left open comes from the checkpoint's ``generation_config.json``,
        then from transformers' defaults: greedy, 20 new tokens, ended by the end-of-text token.

        Edits and hooks act at every step at absolute positions: the logits of each step are those
        of a forward, with the same edits, over all tokens so far. Where an edit counts positions
        from the end or looks beyond its own position, and where hooks sit in the model, every step
        runs the whole text; elsewhere a KV cache is kept.

        Args:
            inputs: One text, several of any length, token ids [batch, pos], :class:`Tokens`, or
                None to begin with the beginning-of-text token.
            attention_mask: For token ids: 1 where a token is real; padding may stand anywhere.
                Where transformers keeps columns as they came, it moves to the left of its row
                here, real tokens keeping their order: ids [1, 2, 3] with mask [1, 0, 1] come back
                as [2, 1, 3, new...], the 2 being padding.
            max_new_tokens: Most new tokens of a text.
            max_length: Most tokens of a text with its prompt; of a padded batch, columns. Given
                here it comes before a ``max_new_tokens`` of the checkpoint's
                ``generation_config.json`` (in transformers that one would win).
            min_length: No end of text before so many tokens, counted likewise.
            min_new_tokens: No end of text before so many new tokens.
            do_sample: Draw tokens instead of taking the likeliest.
            temperature: Divides logits before a draw.
            top_k: Draw from so many likeliest tokens (50 unless said; 0 for all).
            top_p: Draw from the likeliest tokens that hold so much probability.
            min_p: Draw from tokens with this share of the likeliest one's probability.
            typical_p: Draw from the most typical tokens that hold so much probability.
            repetition_penalty: Divides positive logits of tokens that have come before.
            no_repeat_ngram_size: Let no n-gram of this length come twice.
            bad_words_ids: Token sequences that must not come.
            num_return_sequences: Texts for each prompt.
            num_beams: Beams of a beam search.
            length_penalty: A beam's log-probability is divided by length to this power.
            early_stopping: When a beam search ends: True, False or ``"never"``.
            stop_strings: End a text once it holds one of them.
            seed: Fixes the draws; None draws from torch's own generator.
            streamer: Gets tokens as they come (``transformers.TextStreamer`` and its kin).
            progress: Show a bar after two seconds, unless tokens are streamed.
            logits_processor: More processors, called as transformers calls them.
            stopping_criteria: More criteria.
            prefix_allowed_tokens_fn: Which tokens may come next; as in transformers.
            generation_config: A transformers ``GenerationConfig``; arguments come before it.
            edits: Edits of this run, after those of an enclosing ``with model.edits(...)``.
            use_cache: False runs the whole text at every step. True is your word that your hooks
                and functions treat every position by itself; an edit that is known not to is
                refused.
            prepend_bos: For texts: put the beginning-of-text token first.
            return_type: ``"text"``, ``"tokens"`` [row, pos], padded on the left and behind ended
                rows, or ``"result"``, a :class:`Generated`; default: as the prompts came.
            return_cache: Also return the sites of one forward, with the edits, over prompts and new
                tokens.
            sites: What that cache holds; default all sites.
            layers: Of which layers; default all.
            others: transformers' rarer options: ``eos_token_id`` (an id, several, or None for no
                end), ``pad_token_id``, ``epsilon_cutoff``, ``eta_cutoff``, ``max_time``,
                ``suppress_tokens``, ``sequence_bias`` and others; ``input_ids`` for ``inputs``;
                ``tokenizer``, which may only be the model's own.

        Returns:
            A text for a text, a list for texts (all of a prompt's together), ids for ids; with
            ``return_cache`` a pair of that and an :class:`ActivationCache`, padded on the right.

        Raises:
            GenerationError: Options contradict each other, the context is too short, there is no
                room for a new token.
            TokenizationError: No tokens, or none that the model knows.
            SiteError: An edit names what does not exist, or a position that is never reached.

        Example:
            >>> import neoscope as ns
            >>> model = ns.load("organism")
            >>> model.generate("The keys near the cabinet", max_new_tokens=1)
            'The keys near the cabinet have'
        """
        given = {name: value for name, value in locals().items() if name in NAMED}
        # transformers' code costs a second to import: only who generates pays for it.
        from neoscope.generate.run import Job

        model = cast("HookedGPTNeo", self)
        job = Job(model, edits, seed=seed, streamer=streamer, progress=progress)
        job.prepare(
            inputs,
            attention_mask,
            {name: value for name, value in given.items() if value is not None} | others,
            prepend_bos=prepend_bos,
            generation_config=generation_config,
            logits_processor=logits_processor,
            stopping_criteria=stopping_criteria,
            prefix_allowed_tokens_fn=prefix_allowed_tokens_fn,
        )
        return job.run(
            return_type, use_cache, return_cache=return_cache, sites=sites, layers=layers
        )
