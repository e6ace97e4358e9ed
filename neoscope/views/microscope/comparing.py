"""Two prompts compared: what each place of one does in the other, as a map to click on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float

from neoscope.errors import ViewError, nearest
from neoscope.progress import Report
from neoscope.views.microscope.prompt_run import PromptRun, decoded, refuse_edited

if TYPE_CHECKING:
    from neoscope.model import HookedGPTNeo
    from neoscope.patching.results.result import PatchingResult

SITES = ("resid_post", "z")
"""What a map patches: the stream by position, or heads at all positions."""
MOST_COLUMNS = 32
"""Most columns of positions; longer prompts are patched in blocks."""


@dataclass(frozen=True, eq=False)
class Comparison:
    """A map of patches from one prompt into another."""

    result: PatchingResult
    text: str
    other: str
    site: str
    answer: str
    """The other prompt's likeliest next token."""
    wrong: str
    """This prompt's."""
    spans: tuple[tuple[int, int], ...]
    """Positions [start, stop) of each column; empty for heads."""

    @property
    def effects(self) -> Float[np.ndarray, "row column"]:
        """How far each patch moves logit(answer) - logit(wrong), by layer and position or head."""
        return np.asarray(self.result.mean)


def compare(
    model: HookedGPTNeo,
    run: PromptRun,
    other: PromptRun,
    site: str,
    progress: bool | Report = False,
) -> Comparison:
    """Patch every place of one prompt's run with the other's, in the unedited model.

    The effect is in logits: the other prompt's likeliest next token over this one's, patched minus
    unpatched. 0: the patch changes nothing; as much as both prompts differ by: it suffices.

    Args:
        model: Without hooks or edits in force.
        run: Of the prompt that is patched, unedited.
        other: Of the prompt that the values come from.
        site: One of :data:`SITES`.
        progress: True for a bar after two seconds, False for none, or a function that is told how
            many runs are done, and of how many. A long prompt through a large model takes seconds.

    Raises:
        ViewError: There is no such map, the prompts are the same, of different lengths or have the
            same answer, or hooks or edits are in force.
        PatchingError: The prompts do not align token by token.
    """
    from neoscope import patching

    if site not in SITES:
        raise ViewError(
            f"there is no map of {site!r}{nearest(site, SITES)}; expected one of {SITES}"
        )
    refuse_edited(model)
    if other.text == run.text:
        raise ViewError(
            "both prompts are the same, so that no patch changes anything; change a word of one"
        )
    refuse_unaligned(run, other)
    answer, wrong = (int(one.logits[-1].argmax()) for one in (other, run))
    words = [decoded(model, token) for token in (answer, wrong)]
    if answer == wrong:
        raise ViewError(
            f"both prompts are followed by {words[0]!r}, so that no patch can be measured by their "
            "answers; change one prompt until the model says something else"
        )
    n = len(run)
    step = -(-n // MOST_COLUMNS)
    spans = tuple((start, min(start + step, n)) for start in range(0, n, step))
    columns = None if step == 1 else [slice(*span) for span in spans]
    result = patching.sweep(
        model,
        other.text,
        run.text,
        patching.logit_diff(answer, wrong),
        site=site,
        positions=columns if site == "resid_post" else "all",
        progress=_counted(progress),
    )
    places = spans if site == "resid_post" else ()
    return Comparison(result, run.text, other.text, site, words[0], words[1], places)


def _counted(progress: bool | Report) -> Any:
    """Return what a sweep takes: it tells a function of results too, which nobody needs here."""
    if not callable(progress):
        return progress
    return lambda now: progress(now.done, now.total)


def refuse_unaligned(run: PromptRun, other: PromptRun) -> None:
    """Refuse prompts of different lengths.

    Args:
        run: Of the prompt that is patched.
        other: Of the prompt that the values come from.

    Raises:
        ViewError: One has more tokens.
    """
    if len(other) != len(run):
        count = f"{len(run)} token{'' if len(run) == 1 else 's'}"
        raise ViewError(
            f"the prompt has {count} and the other one {len(other)}; patches need prompts that "
            "align token by token"
        )
