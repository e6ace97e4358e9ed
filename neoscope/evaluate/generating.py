"""Answers in the model's own words: contexts continued until a stop string."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from neoscope.batching import length_batches
from neoscope.evaluate.origins import Origin, RequestError
from neoscope.evaluate.scoring import row_by_row

if TYPE_CHECKING:
    from neoscope.evaluate.harness import Harness

Asked = tuple[str, dict[str, Any]]


def generated(
    harness: Harness,
    asked: Sequence[Asked],
    batch_tokens: int,
    tell: Callable[[int], None],
    origins: Sequence[Origin],
) -> list[str]:
    """Continue contexts; those with the same options and of like length together.

    A context that leaves too little room for the answer loses its beginning, as in
    lm-evaluation-harness.

    Args:
        harness: The model and its tokenizer.
        asked: Context and lm-evaluation-harness's ``generation_kwargs``.
        batch_tokens: Most tokens of a batch, prompt and answer.
        tell: Called after every batch with its number of contexts.
        origins: Where each comes from.

    Raises:
        RequestError: An answer may be as long as the model's context, or longer.
    """
    groups: dict[str, list[int]] = {}
    for number, (_, options) in enumerate(asked):
        groups.setdefault(json.dumps(options, sort_keys=True, default=str), []).append(number)
    found = [""] * len(asked)
    for numbers in groups.values():
        options, stops, n_new = _options(harness, asked[numbers[0]][1], origins[numbers[0]])
        room = harness.max_length - n_new
        prompts = [harness.tok_encode(asked[number][0]) for number in numbers]
        for number, prompt in zip(numbers, prompts, strict=True):
            if len(prompt) > room:
                harness.shortened.add(origins[number])
        prompts = [prompt[-room:] for prompt in prompts]
        lengths = [len(prompt) + n_new for prompt in prompts]
        mixed = harness.model.is_edited and not row_by_row(harness.model)
        for batch in length_batches(lengths, 1 if mixed else batch_tokens, padded=True):
            texts = _continued(harness, [prompts[i] for i in batch], stops, n_new, options)
            for i, text in zip(batch, texts, strict=True):
                found[numbers[i]] = text
            tell(len(batch))
    return found


def _options(
    harness: Harness, given: dict[str, Any], origin: Origin
) -> tuple[dict[str, Any], list[str], int]:
    """Return what generation takes, the stop strings and the most new tokens."""
    from lm_eval.models.utils import handle_stop_sequences, normalize_gen_kwargs

    options = dict(normalize_gen_kwargs(given, harness.max_gen_toks))
    end = harness.tokenizer.decode([harness.eot_token_id])
    stops = handle_stop_sequences(options.pop("until", None), eos=end)
    n_new = int(options.pop("max_gen_toks"))
    if n_new >= harness.max_length:
        raise RequestError(
            f"the task wants up to {n_new} new tokens, and the model's context is "
            f"{harness.max_length}; give the task a smaller max_gen_toks (max_new_tokens of a "
            "local task)",
            origin,
        )
    if not options.get("do_sample"):
        options = {"do_sample": False}
    return options, [stop for stop in stops if stop], n_new


def _continued(
    harness: Harness,
    prompts: list[list[int]],
    stops: list[str],
    n_new: int,
    options: dict[str, Any],
) -> list[str]:
    import torch

    longest = max(map(len, prompts))
    ids = torch.full((len(prompts), longest), harness.eot_token_id, dtype=torch.long)
    mask = torch.zeros_like(ids)
    for row, prompt in enumerate(prompts):
        ids[row, longest - len(prompt) :] = torch.tensor(prompt)
        mask[row, longest - len(prompt) :] = 1
    out = harness.model.generate(
        ids.to(harness.model.device),
        attention_mask=mask.to(harness.model.device),
        max_new_tokens=n_new,
        stopping_criteria=[_stopped(harness, stops, longest)],
        pad_token_id=harness.eot_token_id,
        return_type="tokens",
        progress=False,  # the bar of texts is enough
        **options,
    )
    return [_answer(harness, row, stops) for row in out[:, longest:].tolist()]


def _stopped(harness: Harness, stops: Sequence[str], start: int) -> Any:
    """Return a criterion: which texts hold a stop string in what was generated.

    transformers' own ``stop_strings`` would also find one that begins in the prompt.
    """
    import torch
    from transformers import StoppingCriteria

    encoded = (harness.tokenizer.encode(stop, add_special_tokens=False) for stop in stops)
    reach = max((len(ids) for ids in encoded), default=1) + 2

    class Stopped(StoppingCriteria):
        def __call__(self, input_ids: Any, scores: Any, **more: Any) -> Any:
            new = input_ids[:, max(start, input_ids.shape[1] - reach) :]
            texts = harness.tokenizer.batch_decode(new)
            found = [any(stop in text for stop in stops) for text in texts]
            return torch.tensor(found, device=input_ids.device)

    return Stopped()


def _answer(harness: Harness, ids: list[int], stops: Sequence[str]) -> str:
    """Return a text up to its first stop string or its end."""
    if harness.eot_token_id in ids:
        ids = ids[: ids.index(harness.eot_token_id)]
    text = str(harness.tokenizer.decode(ids, skip_special_tokens=True))
    for stop in stops:
        text = text.split(stop)[0]
    return text
