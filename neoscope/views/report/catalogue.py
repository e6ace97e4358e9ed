"""The report's sections in order: their titles, what is seen in each, and how to read it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

from neoscope.errors import ViewError, nearest
from neoscope.indices import listed


@dataclass(frozen=True)
class Entry:
    """One section, before anything is measured."""

    title: str
    seen: str
    read: str
    home: str
    """Module and function that make it."""


_MODEL = "neoscope.views.report.sections_model"
_READING = "neoscope.views.report.sections_reading"
_EXPERIMENTS = "neoscope.views.report.sections_experiments"

CATALOGUE: Mapping[str, Entry] = MappingProxyType(
    {
        "model": Entry(
            "Model card",
            "The model's shape, where it came from, and hashes of its configuration, weights and "
            "tokenizer.",
            "Two reports with the same hashes are about the same model; a local layer sees only "
            "its window, so that whatever lies further back reaches it through other layers "
            "alone.",
            f"{_MODEL}:model_card",
        ),
        "contract": Entry(
            "Site contract",
            "Every site of this very checkpoint was read and written to, and what had to follow "
            "was compared with what did.",
            "If it holds, the tensors shown below are the ones that the model computed with; it "
            "says nothing about what they mean.",
            f"{_MODEL}:site_contract",
        ),
        "heads": Entry(
            "Head map",
            "What each attention head does on repeats of random tokens: looks at the previous "
            "token, continues repeats (induction), copies, rests on the first token.",
            "A score describes where a head looks, not what the model uses it for: patch to know "
            "that. “Cannot” means that the head's window rules it out, and is not a 0.",
            f"{_READING}:head_map",
        ),
        "attention": Entry(
            "Attention",
            "Where each head looks while the model reads the text: a row is a token that looks, "
            "a column one that is looked at.",
            "Attention is not importance: much of it rests on the first token and moves nothing, "
            "and grey cells lie beyond a local layer's window.",
            f"{_READING}:attention",
        ),
        "lenses": Entry(
            "Lenses",
            "What the model would say if it stopped after each layer, token by token, and how "
            "far each layer is from the output.",
            "Look at the calibration first: the plain lens is known to fail on GPT-Neo, whose "
            "early layers seem to say one junk token with confidence; a tuned lens corrects for "
            "that.",
            f"{_READING}:lenses",
        ),
        "attribution": Entry(
            "Direct attribution",
            "How much each component writes directly into the difference of two logits after the "
            "last token; together they add up to the model's own.",
            "It counts direct writes alone: a head that acts through later layers shows next to "
            "nothing here and much under patching.",
            f"{_READING}:attribution",
        ),
        "patching": Entry(
            "Patching a task",
            "Values of a clean run are put, one place at a time, into a run on a corrupted "
            "prompt, and the change of the answer's logit difference is measured.",
            "A large effect says that the place carries what differs between the prompts, for "
            "these prompts; the intervals are over pairs, and two places can carry the same "
            "thing.",
            f"{_EXPERIMENTS}:patching",
        ),
        "probes": Entry(
            "Probes by layer",
            "How well a linear probe reads a property from each layer, beside the same probe on "
            "arbitrary labels (control) and on the untrained random twin.",
            "Only what lies above control and twin is the model's doing, and what can be read is "
            "not thereby used: see probes.causal_effect.",
            f"{_EXPERIMENTS}:probing",
        ),
        "projection": Entry(
            "Features",
            "Features of sentences seen from the two directions in which they differ most, and "
            "how much the layers resemble each other (CKA).",
            "Two dimensions show a part of the variance only, so that groups which overlap here "
            "may be far apart in the others; a few outlier dimensions can rule the picture.",
            f"{_EXPERIMENTS}:projection",
        ),
        "provenance": Entry(
            "Provenance",
            "The versions and settings that made this report.",
            "With the same versions, seed, model and text, the same numbers come out, up to the "
            "last digits of floating-point arithmetic.",
            f"{_MODEL}:provenance",
        ),
        "citing": Entry(
            "How to cite",
            "What to cite when you use these results.",
            "neoscope and the checkpoint are separate works by separate people; cite both.",
            f"{_MODEL}:citing",
        ),
    }
)
SECTIONS = tuple(CATALOGUE)
"""Names of all sections, in the report's order."""


def chosen(sections: str | Sequence[str] | None) -> tuple[str, ...]:
    """Return the names of sections that are wanted, in the report's order.

    Args:
        sections: One name, several, or None for all.

    Raises:
        ViewError: A name is unknown, or none is given.
    """
    if sections is None:
        return SECTIONS
    wanted = [str(name) for name in listed(sections)]
    if not wanted:
        raise ViewError(f"no section was named; there are {', '.join(SECTIONS)}")
    for name in wanted:
        if name not in CATALOGUE:
            raise ViewError(
                f"there is no section {name!r}{nearest(name, SECTIONS)}; there are "
                f"{', '.join(SECTIONS)}"
            )
    return tuple(name for name in SECTIONS if name in wanted)


def maker(name: str) -> Callable[..., Iterator[object]]:
    """Return the function that makes a section.

    Args:
        name: Of a section that there is.
    """
    import importlib

    module, function = CATALOGUE[name].home.split(":")
    found: Callable[..., Iterator[object]] = getattr(importlib.import_module(module), function)
    return found
