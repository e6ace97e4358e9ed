"""FeatureSpec: which numbers are taken of every text, and how its tokens are pooled."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, cast

from neoscope.config import NeoConfig
from neoscope.errors import ArgumentError, SiteError, nearest
from neoscope.export.derived import DERIVED, Defined, Derived
from neoscope.indices import listed, whole
from neoscope.site_kinds import BY_SHORT, SYNONYMS
from neoscope.sites import SiteRef, check_layer, select, short_name, unknown_site

Pool = Literal["mean", "weighted_mean", "last", "first", "max", "token", "spans", "none"]
POOLS = ("mean", "weighted_mean", "last", "first", "max", "token", "spans", "none")
TRUNCATIONS = ("truncate", "error", "stride")
_DTYPES = ("float32", "float16")
# With these on, LayerNorm 1 runs once for each input: there is no one tensor to keep.
_SPLITTING = frozenset(("use_split_qkv_input", "use_attn_in"))


@dataclass(frozen=True)
class Feature:
    """One column of features."""

    name: str
    """Letters, digits and underscores, so that SQL and Spark need no quotes."""
    source: SiteRef | Derived
    layer: int | None
    pool: Pool
    width: int | None
    """Numbers a row; None where it differs from row to row (attention patterns)."""

    @property
    def defined(self) -> Defined:
        """Which tokens of a text have it."""
        return self.source.defined if isinstance(self.source, Derived) else "everywhere"


@dataclass(frozen=True)
class FeatureSpec:
    """What is extracted of every text, in one forward.

    Example:
        >>> spec = FeatureSpec("resid_post", layers=[0, -1], pool=["mean", "last"])
        >>> [feature.name for feature in spec.features(NeoConfig())][:3]
        ['resid_post_0_mean', 'resid_post_0_last', 'resid_post_11_mean']
    """

    sites: str | Sequence[str] = ("resid_post",)
    """Names of sites, short or full, and of what is derived from them: ``hidden`` (the stream after
    the final LayerNorm, transformers' ``last_hidden_state``; ``resid_post`` of the last layer is
    the one before it), ``loss``, ``surprisal``, ``entropy`` (nats), ``attn_to_first``,
    ``attn_to_previous`` (probability), ``attn_entropy`` (nats), the last three by head; in windows
    the first token is the window's."""
    layers: Any = None
    """Layers of the short names; None for all."""
    pool: str | Sequence[str] = ("mean",)
    """``mean``; ``weighted_mean``, position i weighing i + 1 (SGPT, Muennighoff 2022); ``last``,
    ``first``; ``max`` by dimension; ``token`` and ``spans``, at places that each row names itself;
    ``none``, one row a token."""
    positions: Any = None
    """Which tokens of each text are pooled: an int, a slice or a list (-1 is the last token); for
    ``token`` and ``spans`` the name of the column that says where: a token's number, a span of
    characters [start, stop] (``token`` takes its last token, ``spans`` the mean of each)."""
    dtype: str = "float32"
    """What features are kept in: ``float32`` or ``float16``."""
    max_length: int | None = None
    """Most tokens of a text, or of a window of it; None for the model's context."""
    truncation: str = "truncate"
    """What becomes of a longer text: cut on the right (``truncate``), ``error``, or read in windows
    (``stride``)."""
    overlap: int | None = None
    """Tokens that a window repeats of the one before it, as context; default half a window. Every
    token is pooled once, from the window in which it has more context."""
    normalize: bool = False
    """Divide each pooled vector by its Euclidean norm; single numbers stay as they are."""
    prepend_bos: bool = False
    """Put the beginning-of-text token before each text; GPT-Neo was trained without."""

    def __post_init__(self) -> None:
        """Check what can be checked without a model.

        Raises:
            ArgumentError: A value means nothing, or two contradict each other.
        """
        pools = tuple(listed(self.pool))
        for pool in pools:
            self._check_known("pool", pool, POOLS)
        pools = tuple(dict.fromkeys(pools))
        object.__setattr__(self, "pool", pools)
        object.__setattr__(self, "sites", tuple(listed(self.sites)))
        if self.layers is not None:
            layers = [(n, whole(n)) for n in listed(self.layers)]
            # What is no whole number is named where the layers are looked up.
            kept = tuple(given if number is None else number for given, number in layers)
            object.__setattr__(self, "layers", kept)
        for name in ("pool", "sites", "layers"):
            if getattr(self, name) == ():
                raise ArgumentError(f"{name} is empty: name at least one")
        self._check_known("dtype", self.dtype, _DTYPES)
        self._check_known("truncation", self.truncation, TRUNCATIONS)
        self._check_lengths()
        self._check_positions()
        if "none" in pools and len(pools) > 1:
            raise ArgumentError(
                f"pool={list(pools)}: 'none' gives one row a token, the others one a text; "
                "extract them apart"
            )
        for name, given in (("normalize", self.normalize), ("positions", self.positions)):
            if "none" in pools and given not in (None, False):
                raise ArgumentError(f"{name} is for what is pooled; pool='none' pools nothing")

    @staticmethod
    def _check_known(name: str, value: Any, known: Sequence[str]) -> None:
        if value not in known:
            raise ArgumentError(
                f"{name}={value!r} is unknown{nearest(str(value), known)}; known: "
                f"{', '.join(known)}"
            )

    def _check_lengths(self) -> None:
        length = None if self.max_length is None else whole(self.max_length)
        if self.max_length is not None and (length is None or length < 1):
            raise ArgumentError(f"max_length={self.max_length!r} is no whole number above 0")
        object.__setattr__(self, "max_length", length)
        if self.overlap is None:
            return
        overlap = whole(self.overlap)
        if self.truncation != "stride":
            raise ArgumentError(f"overlap={self.overlap!r} is for truncation='stride' only")
        if overlap is None or overlap < 1 or (length is not None and overlap >= length):
            raise ArgumentError(
                f"overlap={self.overlap!r} must be a whole number from 1 to max_length - 1"
            )
        object.__setattr__(self, "overlap", overlap)

    def _check_positions(self) -> None:
        own = {"token", "spans"} & set(self.pool)
        if own and not isinstance(self.positions, str):
            raise ArgumentError(
                f"pool={min(own)!r} takes its place from each row: positions= names the column "
                f"that says where; found {self.positions!r}"
            )
        if isinstance(self.positions, str) and set(self.pool) - {"token", "spans"}:
            raise ArgumentError(
                f"positions={self.positions!r} names a column, which pool='token' and 'spans' "
                f"alone can read; found pool={list(self.pool)}"
            )
        if isinstance(self.positions, slice):
            try:
                range(1)[self.positions]
            except (TypeError, ValueError) as error:
                raise ArgumentError(f"positions={self.positions!r}: {error}") from None
        if self.positions is None or isinstance(self.positions, str | slice):
            return
        numbers = [whole(value) for value in listed(self.positions)]
        if not numbers or None in numbers:
            raise ArgumentError(
                f"positions={self.positions!r} must be whole numbers, a slice, or the name of a "
                "column"
            )
        object.__setattr__(self, "positions", tuple(cast("list[int]", numbers)))

    @property
    def column(self) -> str | None:
        """The input column that says where in each row, if one does."""
        return self.positions if isinstance(self.positions, str) else None

    @property
    def by_token(self) -> bool:
        """Whether a row of the result is a token, not a text."""
        return "none" in self.pool

    def features(
        self, config: NeoConfig, switches: frozenset[str] = frozenset()
    ) -> tuple[Feature, ...]:
        """Return the columns that this means for a model, in order.

        Args:
            config: The model's shape.
            switches: Names of the ``cfg`` switches that are on.

        Raises:
            SiteError: A site or layer does not exist, is switched off, or has several values.
            ArgumentError: A pattern is to be pooled.
        """
        found: dict[str, Feature] = {}
        for site in self.sites:
            for source, layer in self._sources(site, config, switches):
                for pool in cast("tuple[Pool, ...]", self.pool):
                    feature = self._feature(source, layer, pool, config)
                    found[feature.name] = feature
        return tuple(found.values())

    def _sources(
        self, site: str, config: NeoConfig, switches: frozenset[str]
    ) -> list[tuple[SiteRef | Derived, int | None]]:
        derived = DERIVED.get(site) if isinstance(site, str) else None
        if derived is None:
            if not isinstance(site, str):
                raise unknown_site(site)
            if "." not in site and short_name(site.removeprefix("hook_")) is None:
                known = [*BY_SHORT, *DERIVED]
                raise SiteError(
                    f"no site is called {site!r}{nearest(site, [*known, *SYNONYMS])}; known: "
                    f"{', '.join(known)}"
                )
            refs = select(config, [site], self.layers, switches=switches)
            for ref in refs if switches & _SPLITTING else ():
                if ref.kind.short in ("ln1.scale", "ln1.normalized"):
                    raise SiteError(
                        f"site {ref.name!r} has several values while "
                        f"{min(switches & _SPLITTING)} is on; switch it off"
                    )
            return [(ref, ref.layer) for ref in refs]
        if not derived.layered:
            return [(derived, None)]
        layers = range(config.n_layers) if self.layers is None else listed(self.layers)
        return [
            (derived, layer)
            for layer in dict.fromkeys(check_layer(n, config.n_layers, site) for n in layers)
        ]

    def _feature(
        self, source: SiteRef | Derived, layer: int | None, pool: Pool, config: NeoConfig
    ) -> Feature:
        width: int | None
        if isinstance(source, Derived):
            short, width = source.name, source.width(config)
        else:
            short = source.kind.short
            square = "key" in source.kind.axes
            if square and pool != "none":
                raise ArgumentError(
                    f"{short!r} has a row of keys for every query, which cannot be pooled: take "
                    "attn_to_first, attn_to_previous or attn_entropy, or pool='none'"
                )
            if square and self.truncation == "stride":
                raise ArgumentError(f"{short!r} cannot be read in windows: truncation='stride'")
            width = None if square else source.numel(config, 1, 1)
        parts = [short.replace(".", "_"), layer, None if pool == "none" else pool]
        name = "_".join(str(part) for part in parts if part is not None)
        return Feature(name, source, layer, pool, width)

    def record(self) -> dict[str, Any]:
        """Return it as plain JSON values, for manifests."""
        values = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        if isinstance(self.positions, slice):
            at = self.positions
            values["positions"] = {"slice": [whole(n) for n in (at.start, at.stop, at.step)]}
        return {
            key: list(value) if isinstance(value, tuple) else value for key, value in values.items()
        }
