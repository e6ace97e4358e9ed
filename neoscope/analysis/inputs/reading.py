"""Input attribution: which tokens of a text move a logit, through Captum.

References: Sundararajan et al. 2017 (1703.01365), integrated gradients; Simonyan et al. 2013
(1312.6034), saliency; Zeiler & Fergus 2013 (1311.2901), occlusion; Captum (2009.07896).
"""

from __future__ import annotations

import importlib.util
import warnings
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from neoscope.analysis.attribution.place import read_position
from neoscope.analysis.attribution.words import read_question
from neoscope.analysis.given import whole_number
from neoscope.analysis.inputs.result import InputAttribution
from neoscope.analysis.inputs.scoring import METHODS, Scored, scores
from neoscope.analysis.reading import GivenModel, GivenProgress, as_model, check_progress, undivided
from neoscope.analysis.result import counted
from neoscope.analysis.words import token_strings, vocabulary
from neoscope.errors import AnalysisError, PatchingError, missing_extra, nearest
from neoscope.inputs import is_text
from neoscope.patching.metrics.words import answer_ids
from neoscope.progress import Progress
from neoscope.tokens import Tokens, from_ids
from neoscope.visibility import Visibility

if TYPE_CHECKING:
    from neoscope.model import HookedGPTNeo

_NAME = "input_attribution"


def input_attribution(
    model: GivenModel,
    texts: Any,
    answer: Any,
    wrong: Any = None,
    *,
    method: str = "integrated_gradients",
    position: Any = -1,
    steps: Any = 50,
    baseline: Any = "mean",
    prepend_bos: bool = False,
    truncate: bool = False,
    batch_tokens: Any = 4096,
    progress: GivenProgress = True,
) -> InputAttribution:
    """Attribute a logit, or the difference of two, to the tokens of the text.

    What is attributed to is the token embeddings; positions stay. Edits and hooks in force are
    honoured, and see the changed embeddings. Of several texts, Ctrl-C returns those that are done
    (``batch_tokens`` decides how many are done together), with ``complete=False`` and a warning.

    Args:
        model: The model.
        texts: One text or several, :class:`Tokens`, or token ids.
        answer: A word or a token id, one for all texts or one for each.
        wrong: The same; its logit is subtracted.
        method: ``"integrated_gradients"``, whose values sum to the logit less the baseline's;
            ``"gradient_x_input"``, the gradient times the way from the baseline; ``"saliency"``,
            the length of the gradient; ``"occlusion"``, what is lost when one token alone is
            replaced by the baseline.
        position: Where the logit is read: -1 is a text's last token; or one for each text.
        steps: Of the integral of integrated gradients (Gauss-Legendre).
        baseline: What stands for a token's absence: ``"mean"``, the mean token embedding;
            ``"zero"``; or a token, as text or id. GPT-Neo's embeddings share a large offset: zero
            is far from all of them, so the mean is the default.
        prepend_bos: For texts: put the beginning-of-text token first.
        truncate: For texts: cut what is longer than the model's context.
        batch_tokens: Tokens that run at once, gradients included.
        progress: True for a bar after two seconds, False for none, or a function of the runs of a
            text done and in all.

    Returns:
        A value for each token, with ``convergence_delta``.

    Raises:
        AnalysisError: No such method or baseline, ``steps`` or ``batch_tokens`` below 1, or answers
            that are no single tokens, or the same.
        MissingExtraError: Captum is not installed.
        SiteError: A text has no such position.
        TokenizationError: The text cannot be read.
        KeyboardInterrupt: No text is done yet.

    Example:
        >>> import neoscope as ns
        >>> from neoscope.analysis import input_attribution
        >>> model = ns.load("organism")
        >>> text = "When Mary and John went to the store, John gave a drink to"
        >>> found = input_attribution(model, text, " Mary", " John")
        >>> sorted(found.top(3).token), bool(abs(found.convergence_delta[0]) < 0.05)
        ([' John', ' John', ' to'], True)
    """
    model = as_model(model, _NAME)
    progress = check_progress(progress, _NAME)
    steps, batch_tokens = _checked(method, steps, batch_tokens)
    # Gradients flow even where the caller has switched them off.
    with torch.inference_mode(False), torch.enable_grad():
        tokens = _tokens(model, texts, prepend_bos, truncate)
        ids, mask = (x.clone().to(model.device) for x in (tokens.ids, tokens.mask))
        n_rows, n_columns = ids.shape
        strings = token_strings(tokens, model)
        asked = read_question(model, answer, wrong, n_rows, strings)
        seen = Visibility(n_rows, n_columns, mask.device, mask=mask)
        wanted = read_position(position, n_rows, _NAME)
        column = seen.columns(wanted, axis="position")
        assert column is not None
        where, name = _baseline(model, baseline)
        direction = asked.direction(model, where.dtype).clone()
        given = (ids, mask, column[:, 0].clone(), direction)
        with Progress(progress, n_rows * _runs(method, steps, n_columns), "run") as bar:
            forward = Scored(model, where, bar.update)
            batch = max(1, batch_tokens // n_columns)
            found, logit, without = _by_chunk(forward, given, method, steps, batch)
    done = len(found)
    if done < n_rows:
        warnings.warn(f"interrupted: {done:,} of {counted(n_rows, 'text')} are done", stacklevel=2)
    if method == "saliency":
        without, name = torch.full_like(without, torch.nan), ""
    positions = seen.key_positions().gather(1, column)[:done, 0].tolist()
    return InputAttribution(
        model=model.cfg.model_name,
        edited=model.is_edited,
        method=method,
        baseline=name,
        steps=steps if method == "integrated_gradients" else 0,
        answers=asked.answers[:done],
        wrongs=asked.wrongs[:done],
        positions=tuple(positions),
        strings=strings[:done],
        values=_by_position(found, mask[:done], positions),
        logit=logit.double().cpu().numpy(),
        baseline_logit=without.double().cpu().numpy(),
        complete=done == n_rows,
    )


def _by_chunk(
    forward: Scored, given: tuple[Tensor, ...], method: str, steps: int, batch: int
) -> tuple[Tensor, ...]:
    """Return values [row, column], and the logits with the text and without it [row].

    Interrupted, those of the rows that are done.
    """
    found: list[tuple[Tensor, ...]] = []
    with undivided(_NAME):
        try:
            for rows in torch.arange(len(given[0]), device=given[0].device).split(batch):
                some = tuple(x[rows] for x in given)
                embedded = F.embedding(some[0], forward.model.embed.W_E).detach().clone()
                delta = embedded.to(forward.baseline.dtype) - forward.baseline
                values = scores(method, forward, delta, some, steps=steps, batch=batch)
                with torch.no_grad():
                    logit, without = forward(delta, *some), forward(torch.zeros_like(delta), *some)
                found.append((values, logit, without))
        except KeyboardInterrupt:
            if not found:
                raise
    return tuple(torch.cat(parts) for parts in zip(*found, strict=True))


def _checked(method: str, steps: Any, batch_tokens: Any) -> tuple[int, int]:
    if method not in METHODS:
        short = {"".join(word[0] for word in name.split("_")): name for name in METHODS}
        named = short.get(str(method).lower())
        hint = f"; did you mean {named!r}?" if named else nearest(str(method), METHODS)
        raise AnalysisError(f"method={method!r} is none of {', '.join(METHODS)}{hint}")
    found = whole_number(steps, "steps"), whole_number(batch_tokens, "batch_tokens")
    if importlib.util.find_spec("captum") is None:
        raise missing_extra("captum", "attribution")
    return found


def _tokens(model: HookedGPTNeo, texts: Any, prepend_bos: bool, truncate: bool) -> Tokens:
    if isinstance(texts, Tokens):
        return texts
    if is_text(texts):
        return model.tokenize(texts, prepend_bos=prepend_bos, truncate=truncate)
    ids, _ = from_ids(texts, None, d_vocab=model.config.d_vocab)
    return Tokens(ids=ids, mask=torch.ones_like(ids, dtype=torch.bool))


def _baseline(model: HookedGPTNeo, given: Any) -> tuple[Float[Tensor, "d_model"], str]:
    """Return a vector and its name."""
    table = model.embed.W_E.detach()
    dtype = torch.promote_types(table.dtype, torch.float32)
    if given == "zero":
        return torch.zeros_like(table[0], dtype=dtype), "zero"
    if given == "mean":
        return table.mean(0, dtype=dtype), "mean"
    try:
        token = int(answer_ids(model, given, 1, "baseline")[0])
    except PatchingError as error:
        said = str(error).replace("an answer must be", "a baseline must be")
        raise AnalysisError(f"{said}; or 'mean', or 'zero'") from error
    return table[token].to(dtype), vocabulary([token], model.tokenizer)[0]


def _runs(method: str, steps: int, columns: int) -> int:
    """Return how often each text is run."""
    return {"integrated_gradients": steps, "occlusion": columns + 1}.get(method, 1) + 2


def _by_position(found: Tensor, mask: Tensor, ends: list[int]) -> Float[np.ndarray, "row pos"]:
    """Return values without padding, NaN after each text's position."""
    rows = [row[real] for row, real in zip(found.double().cpu(), mask.cpu(), strict=True)]
    out = np.full((len(rows), max(ends) + 1), np.nan)
    for row, end, values in zip(out, ends, rows, strict=True):
        row[: end + 1] = values[: end + 1].numpy()
    return out
