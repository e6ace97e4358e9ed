"""Every error a user of neoscope can meet, in one small tree.

::

    NeoscopeError
    ├── CheckpointError   a checkpoint that cannot be found, read or trusted
    │   ├── ConfigError   its config.json is not a usable GPT-Neo configuration
    │   └── WeightsError  its weights are missing, extra, misshapen, damaged or unsafe
    ├── TokenizationError text, tokens or a mask that the model cannot take
    ├── ArgumentError     an argument whose value means nothing
    ├── SiteError         a site, layer, head or position that does not exist or cannot be honoured
    ├── EditError         an edit whose value does not fit its site
    ├── CacheError        a cache that cannot be read, written or asked for that
    ├── ContractError     a model that breaks the site contract
    ├── ExportError       input that cannot be exported, or an export that cannot go on
    ├── StoreError        a feature store that cannot be read, written or resumed
    ├── PatchingError     prompts, a metric or a cell that a patching experiment cannot take
    ├── ProbeError        data, labels or features that no probe can be trained on or applied to
    ├── AnalysisError     a cache, lens or question that an analysis cannot answer
    ├── GenerationError   a prompt or options from which no text can be generated
    ├── EvaluationError   a task or suite that cannot be found, read or run
    ├── ViewError         a result that cannot be drawn, or a picture that cannot be written
    └── MissingExtraError an optional part is not installed; the message says how to get it
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class NeoscopeError(Exception):
    """Base of all errors that neoscope raises on purpose."""


class CheckpointError(NeoscopeError):
    """A checkpoint could not be found or read."""


class ConfigError(CheckpointError, ValueError):
    """A configuration does not describe a GPT-Neo that can be built."""


class WeightsError(CheckpointError):
    """Weights are missing, unexpected, misshapen, damaged, not finite or unsafe to load."""


class TokenizationError(NeoscopeError, ValueError):
    """Text, token ids or an attention mask cannot be fed to the model."""


class ArgumentError(NeoscopeError, ValueError):
    """An argument has a value that means nothing."""


class SiteError(NeoscopeError, KeyError, ValueError):
    """A site, layer, head or position does not exist, or is switched off."""

    def __str__(self) -> str:
        """Return the plain message: KeyError would print its repr."""
        return str(self.args[0]) if self.args else ""


class EditError(NeoscopeError, ValueError):
    """An edit's value, shape or target does not fit the site it is meant for."""


class CacheError(NeoscopeError, ValueError):
    """A cache file is damaged, or a cache was asked for something it cannot give."""


class ContractError(NeoscopeError):
    """A model does not honour the site contract."""


class ExportError(NeoscopeError, ValueError):
    """A row, column or option of an export cannot be used, or the export cannot go on."""


class StoreError(NeoscopeError, ValueError):
    """A feature store is damaged, locked, incomplete, or made of something else."""


class PatchingError(NeoscopeError, ValueError):
    """Prompts, a metric, a cell or a budget that a patching experiment cannot take."""


class ProbeError(NeoscopeError, ValueError):
    """Data, labels or features that a probe cannot be trained on, judged by or applied to."""


class AnalysisError(NeoscopeError, ValueError):
    """A cache, corpus, lens or question from which an analysis cannot be made."""


class GenerationError(NeoscopeError, ValueError):
    """A prompt, or options that contradict each other, from which no text can be generated."""


class EvaluationError(NeoscopeError, ValueError):
    """A task or suite that cannot be found, read or run."""


class ViewError(NeoscopeError, ValueError):
    """A result cannot be drawn as asked, or a picture or report cannot be written."""


class MissingExtraError(NeoscopeError, ImportError):
    """An optional dependency is needed and not installed."""


def nearest(name: str, known: Iterable[str]) -> str:
    """Return ``"; did you mean 'x'?"`` for the known name closest to ``name``, or ``""``."""
    known = list(known)
    match = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    # Something else is wrong with a name that is known.
    return f"; did you mean {match[0]!r}?" if match and name not in known else ""


def missing_extra(module: str, extra: str) -> MissingExtraError:
    """Return the error that tells how to install the extra which holds ``module``."""
    return MissingExtraError(
        f"{module} is not installed; it comes with an extra: pip install 'neoscope[{extra}]'"
    )
