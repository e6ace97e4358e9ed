"""neoscope: an interpretability and feature-extraction workbench for GPT-Neo.

Names are imported when first used, so that ``import neoscope`` costs milliseconds.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from neoscope.lazy import public_names

if TYPE_CHECKING:
    from neoscope import analysis as analysis
    from neoscope import contract as contract
    from neoscope import demo as demo
    from neoscope import doctor as doctor
    from neoscope import edits as edits
    from neoscope import evaluate as evaluate
    from neoscope import export as export
    from neoscope import organism as organism
    from neoscope import patching as patching
    from neoscope import store as store
    from neoscope import views as views
    from neoscope.cache import ActivationCache as ActivationCache
    from neoscope.cache_size import estimate_nbytes as estimate_nbytes
    from neoscope.config import NeoConfig as NeoConfig
    from neoscope.errors import NeoscopeError as NeoscopeError
    from neoscope.kv_cache import KVCache as KVCache
    from neoscope.loading import load as load
    from neoscope.model import HookedGPTNeo as HookedGPTNeo
    from neoscope.pipelines import pipeline as pipeline
    from neoscope.tokens import Tokens as Tokens
    from neoscope.unseen import UnseenWordWarning as UnseenWordWarning

__version__ = "0.1.0"

_HOMES = {
    "ActivationCache": "neoscope.cache",
    "HookedGPTNeo": "neoscope.model",
    "KVCache": "neoscope.kv_cache",
    "NeoConfig": "neoscope.config",
    "NeoscopeError": "neoscope.errors",
    "Tokens": "neoscope.tokens",
    "UnseenWordWarning": "neoscope.unseen",
    "estimate_nbytes": "neoscope.cache_size",
    "load": "neoscope.loading",
    "pipeline": "neoscope.pipelines",
}
_MODULES = (
    "analysis",
    "contract",
    "demo",
    "doctor",
    "edits",
    "evaluate",
    "export",
    "organism",
    "patching",
    "store",
    "views",
)

__all__ = [
    "ActivationCache",
    "HookedGPTNeo",
    "KVCache",
    "NeoConfig",
    "NeoscopeError",
    "Tokens",
    "UnseenWordWarning",
    "analysis",
    "contract",
    "demo",
    "doctor",
    "edits",
    "estimate_nbytes",
    "evaluate",
    "export",
    "load",
    "organism",
    "patching",
    "pipeline",
    "store",
    "views",
]

__getattr__, __dir__ = public_names(
    __name__, _HOMES | {name: f"neoscope.{name}" for name in _MODULES}
)
