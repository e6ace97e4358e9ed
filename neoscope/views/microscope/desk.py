"""MicroscopeDesk: the state of a microscope, and what changes it; knows no browser."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace as _replace
from typing import TYPE_CHECKING, Any

import torch

from neoscope.cache import ActivationCache
from neoscope.edits import Edit
from neoscope.errors import ViewError, nearest
from neoscope.progress import Report
from neoscope.views.microscope.changes import (
    HOWS,
    Change,
    Patch,
    Steering,
    Switch,
    as_change,
)
from neoscope.views.microscope.code_text import write_code
from neoscope.views.microscope.comparing import Comparison, compare, refuse_unaligned
from neoscope.views.microscope.directions import find, read_directions
from neoscope.views.microscope.lens_strip import LensStrip, read_strip
from neoscope.views.microscope.prompt_run import (
    MOST_TOKENS,
    PromptRun,
    refuse_edited,
    run_prompt,
)
from neoscope.views.microscope.setting import (
    Setting,
    check_model,
    read_scale,
    read_selected,
    within,
)

if TYPE_CHECKING:
    from neoscope.analysis.tuned.weights import TunedLens
    from neoscope.model import HookedGPTNeo


class MicroscopeDesk:
    """Holds a setting and the runs that show it. What cannot be done raises and changes nothing."""

    def __init__(
        self,
        model: HookedGPTNeo,
        text: str,
        *,
        other: str = "",
        lens: TunedLens | None = None,
        directions: Any = None,
    ) -> None:
        """Run the first prompt.

        Args:
            model: With a tokenizer.
            text: The prompt.
            other: A second one, for patches.
            lens: A trained lens to read layers with; None for the logit lens.
            directions: Names to vectors [d_model] or probes, to steer along.
        """
        check_model(model)
        self.model = model
        self.lens = lens
        self.directions = read_directions(directions, model.config.d_model)
        self._cache: ActivationCache | None = None
        self._sources: dict[str, tuple[PromptRun, ActivationCache]] = {}
        self.comparison: Comparison | None = None
        """The last map, while both its prompts are still there."""
        self.setting = Setting(text)
        self.base = self.run = run_prompt(model, text)
        self.strip: LensStrip = read_strip(self.run, lens, self.position)
        if other:
            self.update(other=other)

    # ---- reading ------------------------------------------------------------------------------

    @property
    def position(self) -> int:
        """The selected token, from 0."""
        chosen = self.setting.position
        return len(self.run) - 1 if chosen is None else chosen

    @property
    def edits(self) -> list[Edit]:
        """The edits in force."""
        return [one.edit for one in self.setting.changes]

    def cache(self) -> ActivationCache:
        """Return every site of the edited run; it is made when it is first asked for."""
        if self._cache is None:
            refuse_edited(self.model)
            with torch.no_grad():
                _, self._cache = self.model.run_with_cache(self.setting.text, edits=self.edits)
        return self._cache

    def code(self) -> str:
        """Return Python code that does the same.

        Raises:
            ViewError: An edit holds a value that cannot be written down.
        """
        now = self.setting
        return write_code(self.model, now.text, now.changes, now.selected, self.position)

    # ---- changing -----------------------------------------------------------------------------

    def update(self, **parts: Any) -> None:
        """Change the setting, and run what has to run.

        Args:
            parts: Fields of :class:`Setting`.

        Raises:
            NeoscopeError: It cannot be shown; nothing was changed.
        """
        if "selected" in parts:
            parts["selected"] = read_selected(parts["selected"], self.model.config)
        if parts.get("position") is not None:
            n = len(self.base) if "text" not in parts else MOST_TOKENS
            parts["position"] = within("position", parts["position"], n)
        old, new = self.setting, _replace(self.setting, **parts)
        if new.other and new.other != old.other:
            run_prompt(self.model, new.other)  # says what is wrong with it
        base, run = self.base, self.run
        if new.text != old.text:
            run = base = run_prompt(self.model, new.text)
            # Another text has other places; the last token is always one.
            new = _replace(new, position=None) if "position" not in parts else new
        if new.position is not None:
            new = _replace(new, position=within("position", new.position, len(base)))
        rerun = new.text != old.text or new.changes != old.changes
        if rerun:
            edits = [one.edit for one in new.changes]
            run = run_prompt(self.model, new.text, edits) if edits else base
        position = len(run) - 1 if new.position is None else new.position
        strip = self.strip
        if rerun or position != self.position:
            strip = read_strip(run, self.lens, position)
        if rerun:
            self._cache = None
        if (new.text, new.other) != (old.text, old.other):
            self.comparison = None
        self.setting, self.base, self.run, self.strip = new, base, run, strip

    def set_edits(self, edits: Any) -> None:
        """Put other edits in force; those that the microscope made itself stay what they are.

        Args:
            edits: All of them.
        """
        if isinstance(edits, Edit):
            edits = [edits]
        if not isinstance(edits, Iterable):
            raise ViewError(f"edits is {edits!r}; expected a list of edits, [] for none")
        edits = list(edits)
        known = {id(one.edit): one for one in self.setting.changes}
        for one in edits:
            if not isinstance(one, Edit):
                raise ViewError(f"{one!r} is no edit; make one with neoscope.edits.ablate")
        self.update(changes=tuple(known.get(id(one)) or as_change(one) for one in edits))

    def switch(self, layer: Any, head: Any = None, how: str = "zero") -> None:
        """Switch a head or an MLP off, or on again.

        Args:
            layer: From 0.
            head: From 0; None for the layer's MLP.
            how: ``"zero"``, ``"mean"``, or ``""`` for on.
        """
        if how not in HOWS and how != "":
            raise ViewError(
                f"a part is switched off by one of {', '.join(map(repr, HOWS))}{nearest(how, HOWS)}"
                f"; found {how!r}"
            )
        layer = within("layer", layer, self.model.config.n_layers)
        head = None if head is None else within("head", head, self.model.config.n_heads)
        change = Switch(layer, head, how)
        self._put(change.key, change if how else None)

    def steer(self, name: str, layer: Any, scale: Any) -> None:
        """Steer along a direction; another step along it replaces the one before.

        Args:
            name: One of the directions.
            layer: After which block, from 0.
            scale: Length of the step; 0 takes it away.
        """
        layer = within("layer", layer, self.model.config.n_layers)
        step = read_scale(scale)
        change = Steering(find(self.directions, name), layer, step)
        self._put(change.key, change if step else None)

    def compare(self, site: str = "resid_post", progress: bool | Report = False) -> Comparison:
        """Map what patches from the other prompt do.

        Args:
            site: ``"resid_post"`` or ``"z"``.
            progress: True for a bar after two seconds, False for none, or a function that is told
                how many runs are done, and of how many.
        """
        found = compare(self.model, self.base, self._source()[0], site, progress)
        self.comparison = found
        return found

    def patch(self, layer: Any, *, head: Any = None, span: tuple[int, int] | None = None) -> None:
        """Put values of the other prompt there; the same again takes them out.

        Args:
            layer: From 0.
            head: A head, at all positions; None for the stream after the block.
            span: Positions [start, stop) of the stream.
        """
        layer = within("layer", layer, self.model.config.n_layers)
        if head is not None:
            head, span = within("head", head, self.model.config.n_heads), None
        elif span is None:
            raise ViewError("patch needs a position or a head")
        else:
            first = within("position", span[0], len(self.base))
            span = (first, max(first + 1, min(int(span[1]), len(self.base))))
        other, source = self._source()
        refuse_unaligned(self.base, other)
        site = "resid_post" if head is None else "z"
        change = Patch(self.setting.other, source, site, layer, head, span)
        there = any(one.key == change.key for one in self.setting.changes)
        self._put(change.key, None if there else change)

    def remove(self, key: str) -> None:
        """Take one change out.

        Args:
            key: As the change says.
        """
        self._put(key, None)

    def _put(self, key: str, change: Change | None) -> None:
        """Put a change in the place of the one with its key, or at the end; None takes it out."""
        kept = list(self.setting.changes)
        at = next((i for i, one in enumerate(kept) if one.key == key), len(kept))
        kept[at : at + 1] = [] if change is None else [change]
        self.update(changes=tuple(kept))

    def _source(self) -> tuple[PromptRun, ActivationCache]:
        """Return the other prompt's run, and what patches take from it."""
        other = self.setting.other
        if not other:
            raise ViewError("there is no other prompt to patch from: write one")
        if other not in self._sources:
            run = run_prompt(self.model, other)
            with torch.no_grad():
                _, cache = self.model.run_with_cache(
                    other, sites=["resid_post", "z"], return_type=None
                )
            self._sources = {other: (run, cache)}
        return self._sources[other]
