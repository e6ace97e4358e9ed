"""Options of generation, read and checked by transformers' own code, contradictions refused."""

from __future__ import annotations

import json
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from transformers.generation.configuration_utils import GenerationConfig
from transformers.generation.logits_process import LogitsProcessorList
from transformers.generation.stopping_criteria import StoppingCriteriaList
from transformers.generation.utils import GenerationMixin

from neoscope.errors import GenerationError
from neoscope.generate.checks import allowed, called, check, check_streamer, check_vocabulary
from neoscope.generate.prompts import Prompts

if TYPE_CHECKING:
    from neoscope.model import HookedGPTNeo

_MODES = ("greedy_search", "sample", "beam_search", "beam_sample")


@dataclass(frozen=True)
class Plan:
    """Everything that a run of generation is told, in transformers' terms."""

    config: GenerationConfig
    processors: LogitsProcessorList
    criteria: StoppingCriteriaList
    max_length: int
    """Columns of the longest possible result, padding included."""
    eos: tuple[int, ...]
    pad: int
    """What stands behind a row that has ended."""

    @property
    def n_beams(self) -> int:
        """Beams of each prompt; 1 is no beam search."""
        return int(self.config.num_beams or 1)

    @property
    def n_return(self) -> int:
        """Texts returned for each prompt."""
        return int(self.config.num_return_sequences or 1)

    @property
    def copies(self) -> int:
        """Rows that run for each prompt."""
        return max(self.n_beams, self.n_return)

    @property
    def samples(self) -> bool:
        """Whether tokens are drawn."""
        return bool(self.config.do_sample)


class _Assembly(GenerationMixin):
    """transformers' own way from options to processors and criteria, without its model."""

    def __init__(self, model: HookedGPTNeo, defaults: GenerationConfig) -> None:
        shape = SimpleNamespace(vocab_size=model.config.d_vocab)
        self.config = SimpleNamespace(
            is_encoder_decoder=False,
            max_position_embeddings=model.config.n_ctx,
            get_text_config=lambda **_: shape,
            _get_generation_parameters=dict,
        )
        self.generation_config = defaults
        self.device = model.device


def plan(
    model: HookedGPTNeo,
    prompts: Prompts,
    given: Mapping[str, Any],
    *,
    streamer: Any = None,
    logits_processor: Any = None,
    stopping_criteria: Any = None,
    prefix_allowed_tokens_fn: Any = None,
) -> Plan:
    """Check the options, and make of them what the loops need.

    Args:
        model: The model that will run.
        prompts: What it will start from.
        given: The options that the caller named; what they leave open is taken from the
            checkpoint's ``generation_config.json``, then from transformers' defaults.
        streamer: As for transformers' ``generate``.
        logits_processor: More processors, after those of the options.
        stopping_criteria: More criteria.
        prefix_allowed_tokens_fn: As for transformers' ``generate``.

    Raises:
        GenerationError: An option is unknown, out of range, or contradicts another.
    """
    given = check(given)
    check_vocabulary(given, model.config.d_vocab)
    defaults = checkpoint_defaults(model)
    for total, new in (("max_length", "max_new_tokens"), ("min_length", "min_new_tokens")):
        if given.get(new) is not None or given.get(total) is not None:
            setattr(defaults, total, None)
            setattr(defaults, new, None)
    try:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            assembly: Any = _Assembly(model, defaults)
            config, _ = assembly._prepare_generation_config(None, **given)
            _check_mode(config, streamer)
            rows = len(prompts.ids)
            assembly._prepare_special_tokens(config, True, model.device, rows)
            _lengths(assembly, config, prompts, model.config.n_ctx, given)
            processors = assembly._get_logits_processor(
                generation_config=config,
                input_ids_seq_length=prompts.ids.shape[1],
                encoder_input_ids=prompts.ids,
                prefix_allowed_tokens_fn=allowed(prefix_allowed_tokens_fn),
                logits_processor=called(logits_processor, LogitsProcessorList, "logits_processor"),
                device=model.device,
                model_kwargs={"attention_mask": _expanded(prompts, config)},
            )
            criteria = assembly._get_stopping_criteria(
                generation_config=config,
                stopping_criteria=called(
                    stopping_criteria, StoppingCriteriaList, "stopping_criteria"
                ),
                tokenizer=model.tokenizer,
            )
    except (ValueError, TypeError) as error:
        if isinstance(error, GenerationError):
            raise
        raise GenerationError(" ".join(str(error).split())) from error
    unfit = [str(w.message) for w in caught if str(w.message).startswith("Unfeasible")]
    if unfit:
        raise GenerationError(unfit[-1])
    eos = _ids(config._eos_token_tensor, given.get("eos_token_id"), model.config.d_vocab)
    pad = config._pad_token_tensor
    return Plan(
        config, processors, criteria, config.max_length, eos, 0 if pad is None else int(pad)
    )


def checkpoint_defaults(model: HookedGPTNeo) -> GenerationConfig:
    """Return what the checkpoint says of generating, as transformers loads it.

    Raises:
        GenerationError: Its ``generation_config.json`` cannot be read.
    """
    c = model.config
    tokens = {
        "bos_token_id": c.bos_token_id,
        "eos_token_id": c.eos_token_id,
        "pad_token_id": c.pad_token_id,
    }
    folder = None if model.checkpoint is None else model.checkpoint.folder
    if folder is None or not (folder / "generation_config.json").is_file():
        return GenerationConfig(**tokens)
    path = folder / "generation_config.json"
    try:
        said = json.loads(path.read_text(encoding="utf-8"))
        return GenerationConfig.from_dict({**said, "output_attentions": None})
    except (OSError, ValueError, TypeError) as error:
        raise GenerationError(f"cannot read {path}: {error}") from error


def _check_mode(config: GenerationConfig, streamer: Any) -> None:
    mode = config.get_generation_mode().value
    if mode not in _MODES:
        raise GenerationError(f"these options ask for {mode}; supported: {', '.join(_MODES)}")
    if streamer is not None and "beam" in mode:
        raise GenerationError(
            "`streamer` cannot be used with beam search (yet!). Make sure that `num_beams` is set "
            "to 1."
        )
    check_streamer(streamer)


def _lengths(
    assembly: Any,
    config: GenerationConfig,
    prompts: Prompts,
    n_ctx: int,
    given: Mapping[str, Any],
) -> None:
    """Settle min_length and max_length as transformers does, and refuse to pass the context."""
    columns, longest = prompts.ids.shape[1], max(prompts.lengths)
    base = assembly.generation_config
    open_max = given.get("max_length") is None and base.max_length is None
    open_min = given.get("min_length") is None and base.min_length is None
    assembly._prepare_generated_length(
        config, open_max, open_min, "input_ids", columns, prompts.ids
    )
    nobody_said = open_max and config.max_new_tokens is None
    if nobody_said:
        config.max_length = min(config.max_length, columns + n_ctx - longest)
    assembly._validate_generated_length(config, columns, nobody_said)
    new, room = config.max_length - columns, n_ctx - longest
    if new > room:
        if config.max_new_tokens is None:
            raise GenerationError(
                f"`max_length` is {config.max_length}, but the model's context is {n_ctx}: at most "
                f"{columns + room} fits{_padding(columns - longest)}"
            )
        raise GenerationError(
            f"`max_new_tokens` asks for {new} new tokens after a prompt of {longest}, but the "
            f"model's context is {n_ctx}: at most {room} fit"
        )


def _padding(columns: int) -> str:
    return f" with {columns} columns of padding" if columns else ""


def _expanded(prompts: Prompts, config: GenerationConfig) -> Tensor | None:
    """The prompts' mask, a row for each that will run."""
    if prompts.mask is None:
        return None
    copies = max(config.num_beams or 1, config.num_return_sequences or 1)
    return prompts.mask.long().repeat_interleave(copies, dim=0)


def _ids(tokens: Tensor | None, given: Any, d_vocab: int) -> tuple[int, ...]:
    """Read the end-of-text tokens; a shape's default may lie outside of a small vocabulary."""
    if tokens is None:
        return ()
    ids = [] if torch.is_floating_point(tokens) else [int(i) for i in tokens]
    if not ids or (given is not None and not all(0 <= i < d_vocab for i in ids)):
        raise GenerationError(
            f"`eos_token_id` should consist of token ids from 0 to {d_vocab - 1}, but is "
            f"{tokens.tolist()}; eos_token_id=None generates to the full length"
        )
    return tuple(ids)
