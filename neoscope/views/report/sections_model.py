"""Sections about the model itself: its card, the site contract, provenance, how to cite."""

from __future__ import annotations

import datetime
import importlib.metadata
import platform
from collections.abc import Iterator
from typing import Any

from neoscope.views.report.citing import BIBTEX, cite_neoscope
from neoscope.views.report.parts import Block, Code, Picture, Prose, Table, said, table
from neoscope.views.report.study import Study, label_of
from neoscope.views.report.truth import card_of

_PACKAGES = (
    "torch", "transformers", "transformer-lens", "numpy", "scikit-learn", "pandas", "plotly",
)  # fmt: skip


def model_card(study: Study) -> Iterator[Block]:
    """Show shape, source and tokenizer."""
    c = study.model.config
    kinds = [c.window(layer) for layer in range(c.n_layers)]
    local = [str(i) for i, window in enumerate(kinds) if window is not None]
    window = next((w for w in kinds if w is not None), None)
    facts = [
        ("model", study.label),
        ("source", _source(study)),
        ("parameters", f"{c.n_params:,}"),
        ("layers", f"{c.n_layers}, of which {len(local)} local"),
        ("local layers", f"{', '.join(local)} (window {window})" if local else "none"),
        ("heads", f"{c.n_heads} a layer, {c.d_head} dimensions each"),
        ("residual stream", f"{c.d_model} dimensions"),
        ("MLP", f"{c.n_neurons:,} neurons a layer, {c.act_fn}"),
        ("context", f"{c.n_ctx:,} tokens"),
        ("vocabulary", f"{c.d_vocab:,} tokens{_tied(c.tie_word_embeddings)}"),
        ("number format", f"{str(study.model.dtype).removeprefix('torch.')}"),
        ("tokenizer", _tokenizer(study.model)),
    ]
    yield Table("Shape and source", ("what", "value"), tuple(facts))
    yield Table("Hashes", ("what", "SHA-256 (beginning)"), tuple(_hashes(study)))
    if card_of(study) is not None:
        from neoscope import views

        yield Picture(
            views.training(),
            "How the bundled model learnt: losses, and the share of repeats it continued, by step.",
        )


def _tied(tied: bool) -> str:
    return ", embedding and unembedding shared" if tied else ", unembedding of its own"


def _source(study: Study) -> str:
    found = study.model.checkpoint
    if found is None:
        return "made here, from a configuration"
    from neoscope.organism import BUNDLED

    if study.label in BUNDLED:
        return "bundled with neoscope"
    at = f" at revision {found.revision}" if found.revision else ""
    return f"{'the hub: ' if '/' in study.label else 'a local folder: '}{study.label}{at}"


def _tokenizer(model: Any) -> str:
    if model.tokenizer is None:
        return "none"
    name = type(model.tokenizer).__name__
    return f"{name}, {len(model.tokenizer):,} entries"


def _hashes(study: Study) -> Iterator[tuple[str, str]]:
    from neoscope.fingerprint import tokenizer_fingerprint

    yield "configuration and every weight", study.model.fingerprint()
    if study.model.tokenizer is not None:
        yield "tokenizer", tokenizer_fingerprint(study.model.tokenizer)
    if study.model.is_edited:
        yield "edits", "in force while this was measured"


def site_contract(study: Study) -> Iterator[Block]:
    """Show what was checked of the sites of this very checkpoint."""
    report = study.contract
    holds = "holds" if report.ok else "is BROKEN"
    yield Prose(
        f"The contract {holds}: {len(report.checks):,} checks, {len(report.failures)} failures.",
        "" if report.ok else "warn",
    )
    rows = tuple(
        (what, said(n), said(failed), said(worst, 2), _limit(what, limit))
        for what, n, failed, worst, limit in report.summary()
    )
    yield Table("Checks", ("what", "checked", "failed", "worst", "limit"), rows)
    failures = report.failures
    if failures:
        frame = report.to_dataframe()
        yield table("What failed", frame[~frame["passed"]].drop(columns="passed"))
    for note in dict.fromkeys(check.note for check in report.checks if check.note):
        n = sum(check.note == note for check in report.checks)
        yield Prose(f"{n} checks: {note}.")


def _limit(what: str, limit: float) -> str:
    """What a check's number must keep to; these two show that something moved."""
    at_least = what in ("moves what follows", "gradient")
    return f"{'>' if at_least else '≤'} {said(limit, 2)}"


def provenance(study: Study, *, dated: bool = False) -> Iterator[Block]:
    """Show what made the report."""
    from neoscope import __version__

    rows = [("neoscope", __version__), ("Python", platform.python_version())]
    rows += [(name, importlib.metadata.version(name)) for name in _PACKAGES]
    yield Table("Versions", ("package", "version"), tuple(rows))
    settings = [
        ("seed", str(study.seed)),
        ("pairs of prompts", said(study.n_pairs)),
        ("sentences", said(study.n_sentences)),
        ("beginning-of-text token before the text", "yes" if study.prepend_bos else "no"),
        ("tuned lens", "none" if study.lens is None else "given"),
    ]
    if dated:
        settings.append(("date", datetime.datetime.now(datetime.UTC).date().isoformat()))
    yield Table("Settings", ("what", "value"), tuple(settings))


def citing(study: Study) -> Iterator[Block]:
    """Show what to cite."""
    yield Prose(cite_neoscope())
    yield Prose(
        f"{label_of(study.model)} has GPT-Neo's architecture. When you use a GPT-Neo checkpoint, "
        "its authors ask you to cite both the software and the Pile, the data it was trained on:"
    )
    yield Code(BIBTEX)
