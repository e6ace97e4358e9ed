"""Metrics of logits: loss, surprisal, entropy, KL, logit difference and perplexity.

Pure functions of tensors, for any model's logits. Whatever the dtype of the logits, sums are made
in float32 or better, a few rows at a time. ``mask`` is True where a token is real; padding may
stand on either side, and what belongs to it is NaN, never 0.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from neoscope.analysis.metrics_given import (
    GivenAnswer,
    GivenIds,
    GivenLogits,
    GivenMask,
    as_answer,
    as_ids,
    as_logits,
    as_mask,
    check_targets,
)
from neoscope.errors import AnalysisError, nearest

_LOGITS_AT_ONCE = 2**24
_PER = ("token", "word")


def surprisal(
    logits: GivenLogits,
    ids: GivenIds,
    mask: GivenMask | None = None,
    *,
    bits: bool = False,
) -> Float[Tensor, "batch pos"]:
    """Return -log p of every token given those before it.

    Args:
        logits: What the model said at each position about the next token,
            [batch, pos, d_vocab].
        ids: The tokens, [batch, pos].
        mask: Which are real, [batch, pos]; None for all.
        bits: Bits instead of nats.

    Returns:
        Float32 (float64 for float64 logits); NaN for the first token of a text, which nothing
        predicts, and for padding.

    Raises:
        AnalysisError: The shapes do not belong together, or an id is outside the vocabulary.

    Example:
        >>> surprisal(torch.zeros(1, 3, 8), torch.tensor([[1, 2, 3]]), bits=True).tolist()
        [[nan, 3.0, 3.0]]
    """
    logits, ids, mask = _given(logits, ids, mask, "surprisal")
    rows, columns = _predicted(ids, mask).nonzero(as_tuple=True)
    target = ids[rows, columns]
    check_targets(target, logits.shape[-1], "surprisal")
    out = logits.new_full(ids.shape, math.nan, dtype=_wide(logits))
    parts = []
    n = _rows(logits)
    for row, column, wanted in zip(rows.split(n), columns.split(n), target.split(n), strict=True):
        log_p = logits[row, column - 1].to(out.dtype).log_softmax(-1)
        parts.append(-log_p.gather(1, wanted[:, None])[:, 0])
    if parts:
        found = torch.cat(parts)
        out = out.index_put((rows, columns), found / math.log(2) if bits else found)
    return out


def loss(
    logits: GivenLogits,
    ids: GivenIds,
    mask: GivenMask | None = None,
    *,
    bits: bool = False,
) -> Float[Tensor, ""]:
    """Return the mean surprisal of all tokens that have one: the cross-entropy.

    Args:
        logits: What the model said at each position about the next token,
            [batch, pos, d_vocab].
        ids: The tokens, [batch, pos].
        mask: Which are real, [batch, pos]; None for all.
        bits: Bits a token instead of nats.

    Raises:
        AnalysisError: As for :func:`surprisal`; or every text is a single token, so that nothing
            is predicted.
    """
    logits, ids, mask = _given(logits, ids, mask, "loss")
    found = surprisal(logits, ids, mask, bits=bits)
    known = found[_predicted(ids, mask)]
    if not len(known):
        raise AnalysisError(
            f"the loss needs a next token to predict; the {len(ids)} text(s) have one token each"
        )
    return known.mean()


def entropy(
    logits: GivenLogits,
    mask: GivenMask | None = None,
    *,
    bits: bool = False,
) -> Float[Tensor, "*rows"]:
    """Return the entropy of each distribution, in nats.

    Args:
        logits: Of any leading shape, [..., d_vocab].
        mask: Which rows are real, [...]; the others are NaN.
        bits: Bits instead of nats.

    Raises:
        AnalysisError: They are no logits, or the mask has another shape.

    Example:
        >>> round(entropy(torch.zeros(8), bits=True).item(), 6)
        3.0
    """

    def of(rows: Tensor) -> Tensor:
        found: Tensor = torch.special.entr(rows.softmax(-1)).sum(-1)
        return found

    logits = as_logits(logits, "entropy")
    return _by_rows(of, as_mask(mask, logits, "entropy"), bits, logits)


def kl(
    p_logits: GivenLogits,
    q_logits: GivenLogits,
    mask: GivenMask | None = None,
    *,
    bits: bool = False,
) -> Float[Tensor, "*rows"]:
    """Return KL(p || q) of each pair of distributions, in nats.

    Args:
        p_logits: Of the distribution that the mean is taken over, the reference: [..., d_vocab].
        q_logits: Of the distribution that is judged, of the same shape.
        mask: Which rows are real, [...]; the others are NaN.
        bits: Bits instead of nats.

    Returns:
        Infinite where q gives no probability to what p gives some.

    Raises:
        AnalysisError: The shapes differ.
    """
    p_logits, q_logits = (
        as_logits(x, "kl", name) for x, name in ((p_logits, "p_logits"), (q_logits, "q_logits"))
    )
    if p_logits.shape != q_logits.shape:
        raise AnalysisError(
            f"kl: p_logits has shape {list(p_logits.shape)} and q_logits {list(q_logits.shape)}; "
            "each row of one is compared with its row of the other"
        )

    def of(p: Tensor, q: Tensor) -> Tensor:
        log_p = p.log_softmax(-1)
        weight = log_p.exp()
        gap = log_p - q.log_softmax(-1)
        return torch.where(weight > 0, weight * gap, 0.0).sum(-1)

    return _by_rows(of, as_mask(mask, p_logits, "kl"), bits, p_logits, q_logits)


def logit_diff(
    logits: GivenLogits,
    answer: GivenAnswer,
    wrong: GivenAnswer,
    mask: GivenMask | None = None,
) -> Float[Tensor, " batch"]:
    """Return logit(answer) - logit(wrong) at the last real token of each text.

    Args:
        logits: Raw logits, [batch, pos, d_vocab].
        answer: Token id, one for all texts or one for each.
        wrong: Token id, likewise.
        mask: Which tokens are real, [batch, pos]; None for all.

    Raises:
        AnalysisError: The shapes do not belong together, an answer is no id of the vocabulary, or
            a text has no real token.
    """
    logits = as_logits(logits, "logit_diff", axes="batch, pos, d_vocab")
    mask = as_mask(mask, logits, "logit_diff")
    batch, n = logits.shape[:2]
    ids = [
        as_answer(x, logits, "logit_diff", name)
        for x, name in ((answer, "answer"), (wrong, "wrong"))
    ]
    at = torch.arange(batch, device=logits.device)
    last = torch.full_like(at, n - 1)
    if mask is not None:
        if not bool(mask.any(1).all()):
            raise AnalysisError(
                f"logit_diff: text {int(mask.any(1).long().argmin())} is all padding"
            )
        last = (torch.arange(n, device=logits.device) * mask).argmax(1)
    said = logits[at, last].to(_wide(logits))
    return said[at, ids[0]] - said[at, ids[1]]


def perplexity(
    logits: GivenLogits,
    ids: GivenIds,
    mask: GivenMask | None = None,
    *,
    per: str = "token",
    texts: Sequence[str] | None = None,
) -> float:
    """Return exp of the mean loss, over all texts together.

    Args:
        logits: What the model said at each position about the next token,
            [batch, pos, d_vocab].
        ids: The tokens, [batch, pos].
        mask: Which are real, [batch, pos]; None for all.
        per: ``"token"``, the mean over predicted tokens; ``"word"``, the whole loss over the number
            of words, which can be compared between tokenizers.
        texts: For ``"word"``: what the tokens are of, to count the words of; without what was cut.

    Raises:
        AnalysisError: As for :func:`loss`; or there are no texts whose words could be counted.
    """
    logits, ids, mask = _given(logits, ids, mask, "perplexity")
    if per not in _PER:
        raise AnalysisError(f"per={per!r} is none of {_PER}{nearest(str(per), _PER)}")
    if per == "token":
        return math.exp(float(loss(logits, ids, mask).double()))
    if texts is None or isinstance(texts, str) or len(texts) != len(ids):
        given = None if texts is None else 1 if isinstance(texts, str) else len(texts)
        raise AnalysisError(
            f"perplexity(per='word') counts the words of the texts: give all {len(ids)} as "
            f"texts=[...]; found {given}"
        )
    found = surprisal(logits, ids, mask).double().nansum()
    return math.exp(float(found) / sum(map(count_words, texts)))


def count_words(text: str) -> int:
    r"""Return the words of a text as lm-evaluation-harness counts them: split at white space.

    Its ``word_perplexity`` divides by ``len(re.split(r"\s+", text))``, in which white space at
    either end counts for an empty word. Its loss is that of every token, the first given
    ``<|endoftext|>``: for the same figure tokenize with ``prepend_bos=True``.

    Args:
        text: Any.

    Example:
        >>> count_words("The keys near the cabinet"), count_words(" are here")
        (5, 3)
    """
    return len(re.split(r"\s+", text))


def _given(
    logits: GivenLogits, ids: GivenIds, mask: GivenMask | None, what: str
) -> tuple[Tensor, Tensor, Tensor | None]:
    """Check what belongs together, and bring it to one device."""
    logits = as_logits(logits, what, axes="batch, pos, d_vocab")
    return logits, as_ids(ids, logits, what), as_mask(mask, logits, what)


def _predicted(ids: Tensor, mask: Tensor | None) -> Tensor:
    """Which tokens something before them predicts."""
    real = torch.ones_like(ids, dtype=torch.bool)
    real[:, :1] = False
    if mask is not None:
        real &= mask
        real[:, 1:] &= mask[:, :-1]
    return real


def _wide(x: Tensor) -> torch.dtype:
    return torch.float64 if x.dtype == torch.float64 else torch.float32


def _rows(logits: Tensor) -> int:
    return max(1, _LOGITS_AT_ONCE // logits.shape[-1])


def _by_rows(of: Callable[..., Tensor], mask: Tensor | None, bits: bool, *logits: Tensor) -> Tensor:
    shape, wide = logits[0].shape[:-1], _wide(logits[0])
    flat = [x.reshape(-1, x.shape[-1]).split(_rows(x)) for x in logits]
    device = logits[0].device
    parts = [of(*(x.to(device, wide) for x in part)) for part in zip(*flat, strict=True)]
    found = torch.cat(parts).reshape(shape) if parts else logits[0].new_empty(shape, dtype=wide)
    found = found / math.log(2) if bits else found
    return found if mask is None else found.masked_fill(~mask, math.nan)
