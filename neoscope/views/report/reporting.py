"""Report: a model measured from all sides, section by section."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from neoscope.errors import NeoscopeError
from neoscope.progress import Progress
from neoscope.views.labels import escaped
from neoscope.views.report.catalogue import CATALOGUE, chosen, maker
from neoscope.views.report.given import (
    GivenLens,
    GivenModel,
    GivenText,
    given_lens,
    given_model,
    given_text,
)
from neoscope.views.report.parts import Section, Unavailable
from neoscope.views.report.study import Study, calm
from neoscope.views.report.target import GivenPath, check_path


class Report:
    """A model, seen from all sides; everything is measured when it is made.

    Example:
        >>> import neoscope as ns
        >>> report = ns.views.Report(ns.load("organism"), sections=["model", "citing"])
        >>> [(section.name, section.status) for section in report.sections]
        [('model', 'done'), ('citing', 'done')]
    """

    sections: tuple[Section, ...]
    """What there is, in order; ``status`` is ``"done"``, ``"skipped"`` (this model has nothing for
    it; ``note`` says why) or ``"failed"`` (``note`` is the error)."""

    def __init__(
        self,
        model: GivenModel,
        text: GivenText = None,
        *,
        sections: str | Sequence[str] | None = None,
        lens: GivenLens = None,
        seed: int = 0,
        prepend_bos: bool = False,
        dated: bool = False,
        study: Study | None = None,
        progress: bool | Callable[[int, int], None] = True,
    ) -> None:
        """Measure everything.

        Args:
            model: A loaded model, or what :func:`neoscope.load` takes.
            text: What attention, lenses and attribution are shown on; default a sentence that the
                model can read. Pictures show its first 256 tokens.
            sections: One name or several of ``neoscope.views.report.SECTIONS``; None for all.
            lens: A :class:`neoscope.analysis.TunedLens` or its folder, shown beside the plain lens.
            seed: Of prompts, probes and all other choices.
            prepend_bos: Put the beginning-of-text token before the text.
            dated: Write today's date under "Provenance".
            study: What was measured already, by a demonstration; then the arguments above that
                say what to measure are not read.
            progress: True for a bar after two seconds, False for none, or a function of how many
                sections are done and how many there are.

        Raises:
            ViewError: There is no such section; or the model is no model, or the text no text.
            AnalysisError: There is no such lens.
            CheckpointError: There is no model of that name.
            TokenizationError: The text is empty, or longer than the model's context.
        """
        names = chosen(sections)
        given_text(text)
        lens = given_lens(lens)
        model = given_model(model)
        self._study = study or Study(model, text, lens=lens, seed=seed, prepend_bos=prepend_bos)
        self.model, self.seed = self._study.label, self._study.seed
        with calm(model), warnings.catch_warnings():
            if text is not None:
                self._study.tokens  # noqa: B018  # a text that cannot be read is an error at once
            with Progress(progress, len(names), "section") as bar:
                made = []
                for name in names:
                    options = {"dated": True} if dated and name == "provenance" else {}
                    made.append(_section(name, self._study, options))
                    bar.update()
            self.text = self._study.text if self._study.model.tokenizer is not None else ""
        self.sections = tuple(made)

    @property
    def failed(self) -> tuple[str, ...]:
        """Names of the sections that failed."""
        return tuple(one.name for one in self.sections if one.status == "failed")

    def html(self) -> str:
        """Return the page: one file's whole content."""
        from neoscope.views.report.writing import page

        return page(self.model, self.text, self.sections)

    def save(self, path: GivenPath) -> Path:
        """Write the page.

        Args:
            path: An ``.html`` file; an old one is replaced once the new one is whole.

        Raises:
            ViewError: It has another ending, its folder is not there or cannot be written.
        """
        from neoscope.views.saving import write

        return write(check_path(path), self.html().encode("utf-8", "backslashreplace"))

    def _repr_html_(self) -> str:
        """Return what a notebook shows: each section, and how it went."""
        rows = "".join(
            f"<tr><td>{escaped(one.title)}</td><td>{escaped(one.status)}</td>"
            f"<td>{escaped(one.note)}</td></tr>"
            for one in self.sections
        )
        return (
            f"<p><b>Report on {escaped(self.model)}</b>: {len(self.sections)} sections; "
            "<code>save(&quot;report.html&quot;)</code> writes the page.</p>"
            "<table><thead><tr><th>section</th><th>status</th><th>note</th></tr></thead>"
            f"<tbody>{rows}</tbody></table>"
        )

    def __repr__(self) -> str:
        """Return one line."""
        failed = f", failed: {', '.join(self.failed)}" if self.failed else ""
        return f"Report({self.model!r}, {len(self.sections)} sections{failed})"


def _section(name: str, study: Study, options: dict[str, Any]) -> Section:
    """Make one section; what goes wrong in it is told in it."""
    entry = CATALOGUE[name]
    blocks: list[Any] = []
    status, note = "done", ""
    try:
        found: Iterator[Any] = maker(name)(study, **options)
        for block in found:
            blocks.append(block)  # noqa: PERF402  # what came before an error is kept
    except Unavailable as why:
        status, note = "skipped", str(why)
    except NeoscopeError as error:
        status, note = "failed", " ".join(str(error).split())
    except Exception as error:
        status, note = "failed", f"unexpected {type(error).__name__}: {error}"
    return Section(name, entry.title, entry.seen, entry.read, tuple(blocks), status, note)
