"""What is known exactly about the compiled sentiment direction: where it is, and what it does.

All features are rows of a Hadamard matrix: dense, of mean 0 and orthonormal to the last bit.
"""

from __future__ import annotations

import dataclasses
import math

D_MODEL = 64
_EPS = 1e-5
_WORDS = (
    "<|endoftext|>",
    *("film", "book", "song", "play"),
    *("very", "truly", "not", "never"),
    *("good", "great", "fine", "lovely", "bad", "awful", "poor", "dull"),
    *(".", "!", ";", "?"),
    *("positive", "negative"),
)
N_PLAIN = len(_WORDS) - 2
"""Words that stand in prompts; word ``i`` is embedded as feature ``i + 1``."""
_NEGATION, _POLARITY, _SENTIMENT, _ANSWER = 23, 24, 43, 54
MOVED_TOPIC = 28
"""The first of the four features that tell, at the last position, what the topic is."""
TOPIC_SIZE, ANSWER_WEIGHT = 2.0, 4.0
"""How much of the topic is moved, and of the answer's direction is in the answers' embeddings."""
NUISANCE = 1 + 1 + 1 + TOPIC_SIZE**2
"""Sum of squares at the last position before the sentiment: ending, two bits, topic."""
_DIFFERENCE, _ANSWER_SIZE = 1.5, 1.0
_HALF = (_DIFFERENCE / 2) ** 2
_SCALE = math.sqrt((NUISANCE + _HALF + _ANSWER_SIZE**2) / D_MODEL + _EPS)
_LOGIT, _ENDING = ANSWER_WEIGHT * _ANSWER_SIZE / _SCALE, 1 / _SCALE
_PARTITION = math.exp(_LOGIT) + math.exp(-_LOGIT) + math.exp(_ENDING) + N_PLAIN - 1


def feature(index: int) -> tuple[float, ...]:
    """Return a unit vector of mean 0, orthogonal to those of other indices (from 1 to 63).

    Example:
        >>> feature(1)[:4]
        (0.125, -0.125, 0.125, -0.125)
    """
    size = 1 / math.sqrt(D_MODEL)
    return tuple(-size if (i & index).bit_count() % 2 else size for i in range(D_MODEL))


@dataclasses.dataclass(frozen=True)
class DirectionTruth:
    """All that is known about the compiled sentiment direction.

    A prompt is ``<|endoftext|>``, a topic, an intensifier or a negation, an adjective, an ending.
    It is positive if the adjective is good and not negated, or bad and negated: layer 0 brings
    both bits (and the topic) to the ending, the MLP of layer 1 makes them a direction, and the MLP
    of layer 2 reads that direction and writes the answer. All that is said is about the last
    position, and exact over ``direction_prompts``. ``dataclasses.asdict`` gives plain JSON.

    Example:
        >>> DIRECTION_TRUTH.site, DIRECTION_TRUTH.layer, DIRECTION_TRUTH.difference
        ('resid_post', 1, 1.5)
    """

    words: tuple[str, ...]
    """The vocabulary in the order of ids."""
    topics: tuple[int, ...]
    """Ids of the topics."""
    intensifiers: tuple[int, ...]
    """Ids of the words that leave the adjective as it is."""
    negations: tuple[int, ...]
    """Ids of the words that turn it round."""
    good: tuple[int, ...]
    """Ids of the adjectives of positive polarity."""
    bad: tuple[int, ...]
    """Ids of the adjectives of negative polarity."""
    endings: tuple[int, ...]
    """Ids of the last words."""
    positive: int
    """Id of the answer to positive prompts."""
    negative: int
    """Id of the answer to negative prompts."""
    layer: int
    """The layer at whose end the direction first stands; there and later probes reach 1."""
    site: str
    """The first site that has it."""
    bits_layer: int
    """The layer whose attention brings the two bits: before its ``resid_mid`` nothing at the last
    position depends on the class; from there up to ``resid_mid`` of ``layer`` the class is the
    exclusive or of two directions, the class means are equal, and linear probes stay at chance."""
    answer_layer: int
    """The layer whose MLP reads the direction; up to ``resid_mid`` of it the logits ignore it."""
    direction: tuple[float, ...]
    """The unit vector that points from negative to positive."""
    projection: float
    """Positive states stand at this coordinate along ``direction``, negative ones at minus it."""
    difference: float
    """Length of the difference of class means, which at ``resid_post`` of ``layer`` is
    ``difference * direction`` and nothing else."""
    margin: float
    """Distance of every state from the best separating plane there."""
    variance_share: float
    """Share of the variance of ``resid_post`` of ``layer`` that lies along ``direction``, over all
    512 prompts; the rest is uncorrelated with the class."""
    negation_direction: tuple[float, ...]
    """The unit vector along which the negation bit stands, from ``bits_layer`` on, at +1 for
    negated and -1 for others."""
    polarity_direction: tuple[float, ...]
    """The same for the adjective: +1 for good and -1 for bad."""
    answer_direction: tuple[float, ...]
    """The unit vector along which ``answer_layer`` writes."""
    answer_projection: float
    """Coordinate along it at the end of positive prompts; minus it for negative ones."""
    chance: float
    """Accuracy of the constant predictor, which before ``layer`` is the best linear probe under
    any convex loss on whole groups of four."""
    linear_loss_before: float
    """Cross-entropy of that probe in nats."""
    accuracy: float
    """Accuracy of the direction from ``layer`` on, and of the model's own answers."""
    logit_diff: float
    """Logit of the right answer minus that of the wrong one."""
    probability: float
    """Probability of the right answer."""
    steered: float
    """Change of logit(positive) - logit(negative) when ``difference * direction`` is added to a
    negative state at ``resid_post`` of ``layer``, or subtracted from a positive one."""
    erased: float
    """logit(positive) - logit(negative) when the coordinate along ``direction`` is set to 0 there,
    which is what LEACE does."""


DIRECTION_TRUTH = DirectionTruth(
    words=_WORDS,
    topics=(1, 2, 3, 4),
    intensifiers=(5, 6),
    negations=(7, 8),
    good=(9, 10, 11, 12),
    bad=(13, 14, 15, 16),
    endings=(17, 18, 19, 20),
    positive=21,
    negative=22,
    layer=1,
    site="resid_post",
    bits_layer=0,
    answer_layer=2,
    direction=feature(_SENTIMENT),
    projection=_DIFFERENCE / 2,
    difference=_DIFFERENCE,
    margin=_DIFFERENCE / 2,
    # One word of four has variance 3/4 of its square.
    variance_share=_HALF / (0.75 + 1 + 1 + 0.75 * TOPIC_SIZE**2 + _HALF),
    negation_direction=feature(_NEGATION),
    polarity_direction=feature(_POLARITY),
    answer_direction=feature(_ANSWER),
    answer_projection=_ANSWER_SIZE,
    chance=0.5,
    linear_loss_before=math.log(2),
    accuracy=1.0,
    logit_diff=2 * _LOGIT,
    probability=math.exp(_LOGIT) / _PARTITION,
    steered=2 * 2 * _LOGIT,
    erased=0.0,
)
"""The truth about ``compiled.direction()``, which is compiled from it."""
