"""pipeline: transformers' call, as GPT-Neo's model cards write it, on a model of neoscope.

Reference: ``transformers/pipelines/text_generation.py`` (5.23): its defaults are kept, 256 new
tokens drawn at temperature 0.7 unless something else is asked for.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import torch

from neoscope.device import read_device, read_dtype
from neoscope.errors import ArgumentError, GenerationError, nearest
from neoscope.generate import Generated
from neoscope.generate import pipeline_options as words
from neoscope.indices import whole
from neoscope.loading import load
from neoscope.model import HookedGPTNeo

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

_DEFAULTS: Mapping[str, Any] = {"do_sample": True, "temperature": 0.7}
_DEFAULT_NEW = 256


class _Pipeline:
    """A model with a tokenizer, and options for every call."""

    task = ""

    def __init__(
        self, model: HookedGPTNeo, tokenizer: PreTrainedTokenizerBase | None = None, **options: Any
    ) -> None:
        """Remember the model.

        Args:
            model: With a tokenizer, unless one is given.
            tokenizer: Instead of the model's own.
            options: For every call; those of a call come before them.

        Raises:
            GenerationError: The model has no tokenizer.
        """
        if isinstance(tokenizer, str | os.PathLike):
            raise GenerationError(
                f"tokenizer={tokenizer!r} is a name: load it with transformers' AutoTokenizer"
            )
        if tokenizer is not None:
            model.tokenizer = tokenizer
        if model.tokenizer is None:
            raise GenerationError(f"{self.task} is given text, and the model has no tokenizer")
        self.model, self.tokenizer, self._options = model, model.tokenizer, options

    def __repr__(self) -> str:
        """Return one line."""
        return f"pipeline({self.task!r}, model={self.model.cfg.model_name!r})"


class TextGeneration(_Pipeline):
    """Calls ``model.generate``, and answers as transformers' text-generation pipeline does."""

    task = "text-generation"

    def __call__(self, text_inputs: Any, **options: Any) -> list[Any]:
        """Continue one text or several.

        Args:
            text_inputs: A text, or a list of them; an empty text begins with the
                beginning-of-text token.
            options: All of ``model.generate``'s. ``return_full_text=False`` leaves the prompt out
                of what is returned; ``return_tensors=True`` returns token ids instead;
                ``stop_sequence`` is ``stop_strings``; ``batch_size`` texts run at once (1 unless
                said). ``prefix`` is put before every text, and not returned.
                ``truncation=True`` cuts the end of a text that leaves no room in the context for
                the new tokens, ``handle_long_generation="hole"`` its start; where nobody says how
                many those are, for one.

        Returns:
            For a text a list with a dict for each returned sequence,
            ``[{"generated_text": ...}]``; for a list such a list for each.

        Raises:
            GenerationError: As for ``model.generate``.

        Example:
            >>> generator = pipeline("text-generation", model="organism")
            >>> generator("The keys near the cabinet", do_sample=False, max_new_tokens=1)
            [{'generated_text': 'The keys near the cabinet have'}]
        """
        options = {**self._options, **options}
        words.refuse(options)
        size = _size(options.pop("batch_size", None))
        full, tensors = words.read_form(options)
        side, prefix = words.read_cut(options), options.pop("prefix", None) or ""
        texts = _texts(text_inputs, self.task)
        given, most = self._with_defaults(options)
        for name in ("max_length", "min_length"):  # these count the prefix too
            if prefix and given.get(name) is not None:
                given[name] += len(self.tokenizer(prefix)["input_ids"])
        found: list[Any] = []
        for batch in _batches(texts, prefix, size):
            ids = [self.tokenizer(prefix + text)["input_ids"] for text in batch]
            kept = [words.cut(row, side, self.model.config.n_ctx, given) for row in ids]
            if most is not None:  # nobody asked for so many: as many as fit
                room = self.model.config.n_ctx - max(map(len, kept))
                given["max_new_tokens"] = max(1, min(most, room))
            inputs: Any = None if not ids[0] else [prefix + text for text in batch]
            mask = None
            if kept != ids:
                inputs, mask = _padded(kept)
            result = self.model.generate(inputs, mask, return_type="result", **given)
            found += _records(result, batch, kept if tensors else None, full=full)
        return found[0] if isinstance(text_inputs, str) else found

    def _with_defaults(self, options: dict[str, Any]) -> tuple[dict[str, Any], int | None]:
        """Add the pipeline's defaults for what neither the caller nor the checkpoint says.

        Returns:
            The options, and the most new tokens where nobody says how many.
        """
        from neoscope.generate.options import checkpoint_defaults

        stop = options.pop("stop_sequence", None)
        if stop is not None:
            options["stop_strings"] = stop
        config = options.get("generation_config")
        said = checkpoint_defaults(self.model).to_diff_dict()
        said |= {} if config is None else config.to_diff_dict()
        said |= {name: value for name, value in options.items() if value is not None}
        added = {name: value for name, value in _DEFAULTS.items() if name not in said}
        most = None if said.keys() & {"max_new_tokens", "max_length"} else _DEFAULT_NEW
        if not (said | added)["do_sample"]:
            added.pop("temperature", None)
        return added | options, most


def _texts(given: Any, task: str) -> list[str]:
    """Return one text or several as a list."""
    if isinstance(given, str):
        return [given]
    try:
        texts = [] if isinstance(given, bytes | Mapping) else list(given)
    except TypeError:
        texts = []
    if not texts and given not in ([], ()):
        raise GenerationError(f"{task} takes a text or a list of texts, not {given!r:.80}")
    if not all(isinstance(text, str) for text in texts):
        raise GenerationError(f"{task} takes a text or a list of texts; no chats")
    return texts


def _size(batch_size: Any) -> int:
    number = 1 if batch_size is None else whole(batch_size)
    if number is None or number < 1:
        raise GenerationError(f"batch_size={batch_size!r} is no whole number of at least 1")
    return number


def _padded(rows: list[list[int]]) -> tuple[torch.Tensor, torch.Tensor]:
    """Return rows of ids as one tensor, padded on the left, and its mask."""
    most = max(map(len, rows))
    ids = torch.tensor([[0] * (most - len(row)) + row for row in rows])
    mask = torch.tensor([[0] * (most - len(row)) + [1] * len(row) for row in rows])
    return ids, mask


def _batches(texts: list[str], prefix: str, size: int) -> Iterator[list[str]]:
    """Yield so many texts at once; an empty one, which begins with another token, by itself."""
    batch: list[str] = []
    for text in texts:
        empty = not prefix and not text
        if batch and (empty or len(batch) == size):
            yield batch
            batch = []
        batch.append(text)
        if empty:
            yield batch
            batch = []
    if batch:
        yield batch


def _records(
    result: Generated, texts: list[str], ids: list[list[int]] | None, *, full: bool
) -> list[list[dict[str, Any]]]:
    """Return a list of dicts for each text; with ``ids``, token ids instead of text."""
    n = len(result.tokens) // len(texts)
    found: list[list[dict[str, Any]]] = []
    for row, text in enumerate(texts):
        here = range(row * n, row * n + n)
        if ids is not None:
            found.append([{"generated_token_ids": [*ids[row], *result.tokens[i]]} for i in here])
        else:
            start = text if full else ""
            found.append([{"generated_text": f"{start}{result.continuations[i]}"} for i in here])
    return found


class FeatureExtraction(_Pipeline):
    """The last hidden state of every token, as transformers' feature-extraction pipeline gives it.

    :mod:`neoscope.export` has every site, every layer and pooling, and is what to use for a corpus.
    """

    task = "feature-extraction"

    def __call__(self, inputs: Any, **options: Any) -> list[Any]:
        """Return nested lists [1, token, d_model] for a text; a list of them for a list.

        Raises:
            TokenizationError: An empty or too long text.
            GenerationError: No text, or an option that has no meaning here.
        """
        options = {**self._options, **options}
        words.refuse(options)
        with torch.inference_mode():
            found = [
                self.model(text, return_type="hidden", **options).tolist()
                for text in _texts(inputs, self.task)
            ]
        return found[0] if isinstance(inputs, str) else found


TASKS: Mapping[str, type[_Pipeline]] = {
    kind.task: kind for kind in (TextGeneration, FeatureExtraction)
}
"""What a pipeline can do."""


def pipeline(
    task: str = "text-generation",
    model: HookedGPTNeo | str | os.PathLike[str] = "organism",
    *,
    tokenizer: PreTrainedTokenizerBase | None = None,
    revision: str | None = None,
    device: torch.device | str | int | None = None,
    dtype: torch.dtype | str | None = None,
    torch_dtype: torch.dtype | str | None = None,
    device_map: Any = None,
    **options: Any,
) -> Any:
    """Return what transformers' function of this name would: something to call with text.

    Args:
        task: ``"text-generation"`` or ``"feature-extraction"``.
        model: A model, or anything that ``neoscope.load`` takes.
        tokenizer: Instead of the model's own.
        revision: Branch, tag or commit on the hub.
        device: Where the model goes; a number is a GPU's, -1 the CPU. Left out, a model that is
            loaded here is on the CPU, and another stays where it is.
        dtype: What its weights are kept in; left out or ``"auto"``: float32, or as they are.
        torch_dtype: An older name of ``dtype``.
        device_map: ``"auto"`` or a device, instead of ``device``.
        options: For every call of the pipeline.

    Raises:
        ArgumentError: Another task; a device or dtype that is none.
        CheckpointError: The model cannot be found.
        GenerationError: The model has no tokenizer.

    Example:
        >>> generator = pipeline("text-generation", model="organism")
        >>> [answer] = generator("The film was not", do_sample=True, min_length=50)
        >>> answer["generated_text"].startswith("The film was not")
        True
    """
    if task not in TASKS:
        raise ArgumentError(
            f"neoscope has no pipeline for {task!r}{nearest(str(task), TASKS)}; it has "
            f"{' and '.join(TASKS)}"
        )
    if None not in (dtype, torch_dtype):
        raise ArgumentError("`torch_dtype` is an older name of `dtype`; give one of them")
    kept = torch_dtype if dtype is None else dtype
    kept = None if kept == "auto" else kept
    placed = device is not None or device_map is not None
    place = words.read_place(device, device_map)
    words.refuse(options)
    if not isinstance(model, HookedGPTNeo):
        model = load(model, revision=revision, device=place, dtype=kept or torch.float32)
    elif placed or kept is not None:
        model = model.to(
            device=read_device(place) if placed else None,
            dtype=None if kept is None else read_dtype(kept),
        )
    return TASKS[task](model, tokenizer, **options)
