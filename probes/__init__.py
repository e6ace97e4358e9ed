"""Probes: what a representation knows, how simply, and whether the model uses it."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from probes import erasure as erasure
    from probes import filtering as filtering
    from probes import judging as judging
    from probes import use as use
    from probes.applying.matching import check_source as check_source
    from probes.applying.predicting import Applied as Applied
    from probes.applying.predicting import apply as apply
    from probes.applying.predicting import apply_texts as apply_texts
    from probes.data.dataset import ProbeData as ProbeData
    from probes.data.places import Place as Place
    from probes.data.places import Source as Source
    from probes.data.splits import check_leak as check_leak
    from probes.data.splits import group_folds as group_folds
    from probes.data.splits import group_split as group_split
    from probes.erasure import Eraser as Eraser
    from probes.erasure import LeaceFitter as LeaceFitter
    from probes.erasure import Scrubbing as Scrubbing
    from probes.erasure import fit_leace as fit_leace
    from probes.erasure import fit_leace_layers as fit_leace_layers
    from probes.erasure import fit_mean_projection as fit_mean_projection
    from probes.erasure import scrub as scrub
    from probes.filtering import ContentFilter as ContentFilter
    from probes.filtering import FilterCalibration as FilterCalibration
    from probes.filtering import ReviewItem as ReviewItem
    from probes.filtering import ReviewQueue as ReviewQueue
    from probes.filtering import Screened as Screened
    from probes.filtering import Withheld as Withheld
    from probes.keeping.card import ProbeCard as ProbeCard
    from probes.keeping.saving import load as load
    from probes.keeping.saving import save as save
    from probes.linear.logistic import LogisticProbe as LogisticProbe
    from probes.linear.lowrank import LowRankProbe as LowRankProbe
    from probes.linear.ridge import RidgeProbe as RidgeProbe
    from probes.means.centroid import CentroidProbe as CentroidProbe
    from probes.means.mass_mean import MassMeanProbe as MassMeanProbe
    from probes.mlp.perceptron import MLPProbe as MLPProbe
    from probes.mlp.perceptron import MLPRegressorProbe as MLPRegressorProbe
    from probes.reading.conllu import ConlluSentence as ConlluSentence
    from probes.reading.conllu import parse_conllu as parse_conllu
    from probes.reading.conllu import read_conllu as read_conllu
    from probes.sparse.curve import SparseCurve as SparseCurve
    from probes.sparse.curve import sparse_curve as sparse_curve
    from probes.sparse.neurons import SparseProbe as SparseProbe
    from probes.structural.estimators import DepthProbe as DepthProbe
    from probes.structural.estimators import DistanceProbe as DistanceProbe
    from probes.structural.scores import depth_spearman as depth_spearman
    from probes.structural.scores import distance_spearman as distance_spearman
    from probes.structural.scores import root_accuracy as root_accuracy
    from probes.structural.scores import uuas as uuas
    from probes.structural.trees import root_paths as root_paths
    from probes.structural.trees import stacked_root_paths as stacked_root_paths
    from probes.structural.trees import tree_depths as tree_depths
    from probes.structural.trees import tree_distances as tree_distances
    from probes.structural.trees import tree_edges as tree_edges
    from probes.sweeping.result import SweepResult as SweepResult
    from probes.sweeping.running import sweep as sweep
    from probes.use.amnesic import AmnesicReport as AmnesicReport
    from probes.use.amnesic import amnesic as amnesic
    from probes.use.causal import causal_effect as causal_effect
    from probes.use.effects import Effect as Effect
    from probes.use.report import CausalReport as CausalReport

_HOMES = {
    "AmnesicReport": "probes.use.amnesic",
    "Applied": "probes.applying.predicting",
    "CausalReport": "probes.use.report",
    "CentroidProbe": "probes.means.centroid",
    "ConlluSentence": "probes.reading.conllu",
    "ContentFilter": "probes.filtering",
    "DepthProbe": "probes.structural.estimators",
    "DistanceProbe": "probes.structural.estimators",
    "Effect": "probes.use.effects",
    "Eraser": "probes.erasure",
    "FilterCalibration": "probes.filtering",
    "LeaceFitter": "probes.erasure",
    "LogisticProbe": "probes.linear.logistic",
    "LowRankProbe": "probes.linear.lowrank",
    "MLPProbe": "probes.mlp.perceptron",
    "MLPRegressorProbe": "probes.mlp.perceptron",
    "MassMeanProbe": "probes.means.mass_mean",
    "Place": "probes.data.places",
    "ProbeCard": "probes.keeping.card",
    "ProbeData": "probes.data.dataset",
    "ReviewItem": "probes.filtering",
    "ReviewQueue": "probes.filtering",
    "RidgeProbe": "probes.linear.ridge",
    "Screened": "probes.filtering",
    "Scrubbing": "probes.erasure",
    "Source": "probes.data.places",
    "SparseCurve": "probes.sparse.curve",
    "SparseProbe": "probes.sparse.neurons",
    "SweepResult": "probes.sweeping.result",
    "Withheld": "probes.filtering",
    "amnesic": "probes.use.amnesic",
    "apply": "probes.applying.predicting",
    "apply_texts": "probes.applying.predicting",
    "causal_effect": "probes.use.causal",
    "check_leak": "probes.data.splits",
    "check_source": "probes.applying.matching",
    "depth_spearman": "probes.structural.scores",
    "distance_spearman": "probes.structural.scores",
    "fit_leace": "probes.erasure",
    "fit_leace_layers": "probes.erasure",
    "fit_mean_projection": "probes.erasure",
    "group_folds": "probes.data.splits",
    "group_split": "probes.data.splits",
    "load": "probes.keeping.saving",
    "parse_conllu": "probes.reading.conllu",
    "read_conllu": "probes.reading.conllu",
    "root_accuracy": "probes.structural.scores",
    "root_paths": "probes.structural.trees",
    "save": "probes.keeping.saving",
    "scrub": "probes.erasure",
    "sparse_curve": "probes.sparse.curve",
    "stacked_root_paths": "probes.structural.trees",
    "sweep": "probes.sweeping.running",
    "tree_depths": "probes.structural.trees",
    "tree_distances": "probes.structural.trees",
    "tree_edges": "probes.structural.trees",
    "uuas": "probes.structural.scores",
}
_MODULES = ("erasure", "filtering", "judging", "use")

__all__ = [
    "AmnesicReport",
    "Applied",
    "CausalReport",
    "CentroidProbe",
    "ConlluSentence",
    "ContentFilter",
    "DepthProbe",
    "DistanceProbe",
    "Effect",
    "Eraser",
    "FilterCalibration",
    "LeaceFitter",
    "LogisticProbe",
    "LowRankProbe",
    "MLPProbe",
    "MLPRegressorProbe",
    "MassMeanProbe",
    "Place",
    "ProbeCard",
    "ProbeData",
    "ReviewItem",
    "ReviewQueue",
    "RidgeProbe",
    "Screened",
    "Scrubbing",
    "Source",
    "SparseCurve",
    "SparseProbe",
    "SweepResult",
    "Withheld",
    "amnesic",
    "apply",
    "apply_texts",
    "causal_effect",
    "check_leak",
    "check_source",
    "depth_spearman",
    "distance_spearman",
    "erasure",
    "filtering",
    "fit_leace",
    "fit_leace_layers",
    "fit_mean_projection",
    "group_folds",
    "group_split",
    "judging",
    "load",
    "parse_conllu",
    "read_conllu",
    "root_accuracy",
    "root_paths",
    "save",
    "scrub",
    "sparse_curve",
    "stacked_root_paths",
    "sweep",
    "tree_depths",
    "tree_distances",
    "tree_edges",
    "use",
    "uuas",
]


def __getattr__(name: str) -> Any:
    """Import a public name, and what it needs, when it is first used."""
    if name in _MODULES:
        return importlib.import_module(f"probes.{name}")
    if name not in _HOMES:
        raise AttributeError(f"module 'probes' has no attribute {name!r}")
    value = getattr(importlib.import_module(_HOMES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
