"""Harness: a model as lm-evaluation-harness sees one, for its own and anyone's tasks.

Reference: ``lm_eval/models/huggingface.py`` of lm-eval 0.4.13, ``HFLM``, whose answers these are.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any

from neoscope.errors import EvaluationError, TokenizationError, missing_extra
from neoscope.evaluate.arguments import check_model
from neoscope.evaluate.generating import generated
from neoscope.evaluate.origins import Origin, RequestError, Shortened, origins_of
from neoscope.evaluate.scoring import Request, Score, Scorer
from neoscope.progress import Progress

try:
    from lm_eval.api.model import TemplateLM
    from lm_eval.utils import get_rolling_token_windows, make_disjoint_window
except ImportError as error:
    raise missing_extra("lm_eval", "eval") from error

if TYPE_CHECKING:
    from neoscope.model import HookedGPTNeo

Tell = Callable[[int, int], None]


class Harness(TemplateLM):  # type: ignore[misc]  # lm_eval ships no types
    """Answers lm-evaluation-harness with a :class:`HookedGPTNeo`.

    Hand it to ``lm_eval.simple_evaluate(model=...)``, or let :func:`evaluate` do so. Edits and
    hooks that are in force when a task runs change its scores as they change any forward.

    Example:
        >>> import neoscope as ns
        >>> lm = ns.evaluate.Harness(ns.load("organism"), progress=False)
        >>> lm.max_length, lm.tok_encode("Mary") == lm.model.tokenize("Mary").ids[0].tolist()
        (128, True)
    """

    def __init__(
        self,
        model: HookedGPTNeo,
        *,
        batch_tokens: int | None = None,
        share: bool = True,
        progress: bool | Tell = True,
    ) -> None:
        """Check that the model reads text.

        Args:
            model: The model.
            batch_tokens: About how many tokens are run at once; None for what suits the device.
            share: Compute what several requests begin with once. The scores are the same without.
            progress: True for a bar after two seconds, False for nothing, or a function of the
                number of requests answered and of all requests.

        Raises:
            TokenizationError: The model has no tokenizer, or it has no end-of-text token.
            ArgumentError: It is no model, or ``batch_tokens`` means nothing.
        """
        super().__init__()
        check_model(model)
        if model.tokenizer is None:
            raise TokenizationError("this model has no tokenizer, which evaluation needs")
        if model.tokenizer.eos_token_id is None:
            raise TokenizationError(
                "the tokenizer has no end-of-text token, which stands before texts without context"
            )
        self.model, self.tokenizer, self.progress = model, model.tokenizer, progress
        self._scorer = Scorer(model, batch_tokens=batch_tokens, share=share)
        self._device = model.device
        self._known: dict[str, list[int]] = {}
        self._origins: list[Origin] = []
        self.shortened = Shortened()
        """Examples whose context was longer than the model's and lost its beginning."""

    @property
    def eot_token_id(self) -> int:
        """The end-of-text token."""
        return int(self.tokenizer.eos_token_id)

    @property
    def prefix_token_id(self) -> int:
        """The token before a text without context: beginning of text, or else end of text."""
        bos = self.tokenizer.bos_token_id
        return self.eot_token_id if bos is None else int(bos)

    @property
    def max_length(self) -> int:
        """Most tokens that the model reads at once."""
        return self.model.config.n_ctx

    @property
    def max_gen_toks(self) -> int:
        """Tokens that are generated where a task does not say how many."""
        return 256

    @property
    def tokenizer_name(self) -> str:
        """What the tokenizer was loaded from."""
        return str(self.tokenizer.name_or_path).replace("/", "__")

    def tok_encode(
        self, string: str, add_special_tokens: bool | None = None, **options: Any
    ) -> list[int]:
        """Return the token ids of a text, with special tokens only where the tokenizer adds any."""
        if add_special_tokens is None:
            known = self._known.get(string)
            return known if known is not None else self._encode([string])[0]
        options = {"add_special_tokens": add_special_tokens, "verbose": False}
        return list(self.tokenizer.encode(string, **options))

    def _encode(self, strings: Sequence[str]) -> list[list[int]]:
        """Tokenize in one call, which is much faster than one by one."""
        prefix = str(self.tokenizer.decode([self.prefix_token_id]))
        found: dict[int, list[int]] = {}
        for begun in (False, True):
            where = [i for i, text in enumerate(strings) if text.startswith(prefix) is begun]
            if where:
                # A text that brings the beginning-of-text token gets no other.
                options = {"add_special_tokens": False} if begun else {}
                texts = [strings[i] for i in where]
                ids = self.tokenizer(texts, verbose=False, **options)["input_ids"]
                found |= {i: list(row) for i, row in zip(where, ids, strict=True)}
        return [found[i] for i in range(len(strings))]

    def _learn(self, strings: Iterable[str]) -> None:
        unknown = list(dict.fromkeys(strings))
        self._known = dict(zip(unknown, self._encode(unknown), strict=True))

    def loglikelihood(self, requests: Sequence[Any], disable_tqdm: bool = False) -> list[Score]:
        """Return, for each (context, continuation), nats and whether it is what greedy says."""
        pairs = [request.args for request in requests]
        self._origins = origins_of(requests)
        whole = (context + continuation for context, continuation in pairs if context)
        self._learn([*whole, *(context.rstrip() for context, _ in pairs if context)])
        try:
            found: list[Score] = super().loglikelihood(requests, disable_tqdm=True)
        finally:
            self._known, self._origins = {}, []
        return found

    def _loglikelihood_tokens(
        self, requests: Sequence[tuple[Any, list[int], list[int]]], **options: Any
    ) -> list[Score]:
        asked = [Request(context, continuation) for _, context, continuation in requests]
        origins = self._origins or [Origin(None, None)] * len(asked)
        for request, origin in zip(asked, origins, strict=True):
            if (fault := request.fault(self.max_length)) is not None:
                raise RequestError(fault, origin)
            if request.shortened(self.max_length):
                self.shortened.add(origin)
        with Progress(self.progress, len(asked), " requests") as bar:
            scores = self._scorer.score(asked, bar.update)
        for (text, _, _), score in zip(requests, scores, strict=True):
            if text is not None:
                self.cache_hook.add_partial("loglikelihood", text, score)
        return scores

    def loglikelihood_rolling(
        self, requests: Sequence[Any], disable_tqdm: bool = False
    ) -> list[float]:
        """Return the log-probability of each text in nats, every token predicted once.

        A text longer than the context is read in windows; the last one has a full context.
        """
        texts = [request.args[0] for request in requests]
        windows: list[tuple[None, list[int], list[int]]] = []
        counts = []
        for ids in self._encode(texts) if texts else []:
            cut = get_rolling_token_windows(ids, self.prefix_token_id, self.max_length, 1)
            parts = [(None, *make_disjoint_window(pair)) for pair in cut]
            windows += parts
            counts.append(len(parts))
        scores = iter(self._loglikelihood_tokens(windows) if windows else [])
        found = []
        for text, count in zip(texts, counts, strict=True):
            found.append(sum((next(scores)[0] for _ in range(count)), 0.0))
            self.cache_hook.add_partial("loglikelihood_rolling", (text,), found[-1])
        return found

    def generate_until(self, requests: Sequence[Any], disable_tqdm: bool = False) -> list[str]:
        """Continue each context until one of its stop strings; they are not part of the answer.

        Raises:
            EvaluationError: A task wants more tokens than the model's context has.
        """
        asked = [request.args for request in requests]
        with Progress(self.progress, len(asked), " texts") as bar:
            found = generated(
                self, asked, self._scorer.batch_tokens, bar.update, origins_of(requests)
            )
        for pair, text in zip(asked, found, strict=True):
            self.cache_hook.add_partial("generate_until", pair, text)
        return found

    def apply_chat_template(self, *chat: Any, **options: Any) -> str:
        """Refuse: GPT-Neo was never trained on a chat.

        Raises:
            EvaluationError: Always.
        """
        raise EvaluationError("GPT-Neo has no chat template; leave apply_chat_template out")
