"""Random configurations: a tiny model, a batch in any padding, and writes at any of its sites."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from hypothesis import strategies as st
from torch import Tensor

import neoscope as ns
from neoscope import edits
from neoscope.sites import SiteRef, all_sites
from tests.promises.plain_gpt_neo import ACTIVATIONS, Array, Change

SWITCHES: tuple[tuple[str, ...], ...] = (
    (),
    ("use_attn_result",),
    ("use_hook_mlp_in", "use_split_qkv_input"),
    ("use_attn_in", "use_attn_result"),
    ("use_attn_result", "use_hook_mlp_in", "use_split_qkv_input"),
)
ONE_INPUT = ("ln1.scale", "ln1.normalized")
"""Sites that have several values each where q, k and v have inputs of their own."""


@dataclass(frozen=True)
class Case:
    """A model's shape and dtype, the switches that are on, and a batch."""

    config: ns.NeoConfig
    dtype: torch.dtype
    switches: tuple[str, ...]
    columns: tuple[tuple[int, ...], ...]
    """For each row, the columns in which its tokens stand."""
    width: int
    seed: int

    @functools.cached_property
    def model(self) -> ns.HookedGPTNeo:
        """Weights large enough to be felt; gains and biases that are not one and zero."""
        model = ns.HookedGPTNeo.from_config(self.config, seed=self.seed)
        generator = torch.Generator().manual_seed(self.seed)
        for parameter in model.parameters():
            if parameter.ndim == 1:
                parameter.data += 0.2 * torch.randn(parameter.shape, generator=generator)
        for switch in self.switches:
            getattr(model, f"set_{switch}")(True)
        return model.to(self.dtype)

    @functools.cached_property
    def sites(self) -> list[SiteRef]:
        """Every site that has one value, in forward order."""
        split = {"use_split_qkv_input", "use_attn_in"} & set(self.switches)
        refs = all_sites(self.config, frozenset(self.switches))
        return [ref for ref in refs if not (split and ref.kind.short in ONE_INPUT)]

    @functools.cached_property
    def ids(self) -> Tensor:
        """[row, column]; what stands in padding is as random as what stands in the text."""
        generator = torch.Generator().manual_seed(self.seed + 1)
        shape = (len(self.columns), self.width)
        return torch.randint(self.config.d_vocab, shape, generator=generator)

    @functools.cached_property
    def mask(self) -> Tensor | None:
        """[row, column], or None where nothing is padded."""
        real = torch.zeros(len(self.columns), self.width, dtype=torch.bool)
        for row, columns in enumerate(self.columns):
            real[row, list(columns)] = True
        return None if bool(real.all()) else real

    @property
    def shortest(self) -> int:
        """Tokens of the shortest text."""
        return min(map(len, self.columns))

    @property
    def limit(self) -> float:
        """How far, relative to the largest value, a run may be from arithmetic without rounding."""
        return max(1e-4, 24 * torch.finfo(self.dtype).eps)

    def row(self, ref: SiteRef, x: Tensor, row: int) -> Array:
        """Return one text's part of a site [batch, ...], padding left out."""
        out = x[row]
        for axis, name in enumerate(ref.kind.axes[1:]):
            if name in ("pos", "query", "key"):
                out = out.index_select(axis, torch.tensor(self.columns[row]))
        return out.double().numpy()


@dataclass(frozen=True)
class Write:
    """One write: as an edit of neoscope's, and as indexing in an array of one text."""

    ref: SiteRef
    what: str
    where: dict[str, Any]
    number: float
    seed: int

    def value(self, case: Case, *, along: bool = False) -> Tensor:
        """A tensor shaped as the whole site, or as its last axis; positive where it divides."""
        shape = self.ref.shape(case.config, len(case.columns), case.width)
        drawn = torch.randn(shape, generator=torch.Generator().manual_seed(self.seed))
        drawn = drawn.abs() + 0.5 if self.ref.kind.short.endswith("scale") else drawn
        return drawn[(0,) * (drawn.ndim - 1)] if along else drawn

    def edit(self, case: Case) -> edits.Edit:
        """Return the edit."""
        site: Any = {"site": self.ref.name, **self.where}
        if self.what == "ablate":
            return edits.ablate(**site)
        if self.what == "scale":
            return edits.scale(factor=self.number, **site)
        if self.what == "steer":
            return edits.steer(vector=self.value(case, along=True), scale=self.number, **site)
        if self.what == "transform":
            return edits.transform(function=lambda part: part.mul_(0.5) + self.number, **site)
        kind, value = self.what.split()
        given = self.number if value == "number" else self.value(case, along=value == "vector")
        return (
            edits.replace(value=given, **site) if kind == "put" else edits.add(value=given, **site)
        )

    def plain(self, case: Case, row: int, x: Array) -> Array:
        """Return what stands there after it in one text, given what stood there."""
        axes = zip(self.ref.kind.axes[1:], x.shape, strict=True)
        at = np.ix_(*(self._chosen(axis, n) for axis, n in axes))
        old, new = x[at], x.copy()
        value = self.value(case, along="vector" in self.what or self.what == "steer")
        full = np.asarray(case.row(self.ref, value.expand_as(self.value(case)), row))[at]
        with np.errstate(invalid="ignore"):  # nothing times a masked score
            new[at] = {
                "ablate": lambda: np.zeros_like(old),
                "scale": lambda: old * self.number,
                "steer": lambda: old + self.number * full,
                "transform": lambda: 0.5 * old + self.number,
                "put number": lambda: np.full_like(old, self.number),
                "put tensor": lambda: full,
                "put vector": lambda: full,
                "add number": lambda: old + self.number,
                "add tensor": lambda: old + full,
            }[self.what]()
        return new

    def first_position(self, case: Case) -> list[int]:
        """Return, for each text, the first of its tokens that is written to."""
        asked = self.where.get("positions", 0)
        listed = [asked] if isinstance(asked, int) else asked
        return [min(at % len(columns) for at in listed) for columns in case.columns]

    def _chosen(self, axis: str, size: int) -> list[int]:
        names = {"pos": "positions", "query": "positions", "key": "keys", "head": "head"}
        asked = self.where.get(names.get(axis, "unit"))
        listed = range(size) if asked is None else [asked] if isinstance(asked, int) else asked
        return [i % size for i in listed]


def plainly(case: Case, writes: Sequence[Write], row: int) -> Change:
    """Return what the writes, in order, do in the plain run of one text."""

    def change(name: str, x: Array) -> Array:
        for write in writes:
            if write.ref.name == name:
                x = write.plain(case, row, x)
        return x

    return change


def some(size: int, *, negative: bool) -> st.SearchStrategy[Any]:
    """One index, or several in any order, from one end; all of them only in their order."""
    low = -size if negative else 0
    one = st.integers(low, low + size - 1)
    several = st.lists(one, min_size=1, max_size=size, unique=True)
    return one | several.map(lambda listed: sorted(listed) if len(listed) == size else listed)


def case_of(draw: Any) -> Case:
    """Draw a model of one to three layers and a batch of one to three texts."""
    n_layers, n_heads = draw(st.integers(1, 3)), draw(st.integers(1, 3))
    config = ns.NeoConfig(
        n_layers=n_layers,
        n_heads=n_heads,
        d_model=n_heads * draw(st.integers(-(-4 // n_heads), 16 // n_heads)),
        n_ctx=draw(st.integers(9, 20)),
        d_vocab=draw(st.integers(2, 30)),
        window_size=draw(st.integers(1, 10)),
        attention_layers=tuple(draw(st.sampled_from(("global", "local"))) for _ in range(n_layers)),
        d_mlp=draw(st.none() | st.integers(1, 20)),
        act_fn=draw(st.sampled_from(sorted(ACTIVATIONS))),
        ln_eps=draw(st.sampled_from((1e-5, 1e-3))),
        tie_word_embeddings=draw(st.booleans()),
        init_range=0.3,
    )
    width = draw(st.integers(1, 9))
    side = draw(st.sampled_from(("none", "left", "right", "anywhere")))
    rows = []
    for _ in range(draw(st.integers(1, 3))):
        n = width if side == "none" else draw(st.integers(1, width))
        columns: Any = {
            "left": range(width - n, width),
            "anywhere": sorted(draw(st.permutations(range(width)))[:n]),
        }.get(side, range(n))
        rows.append(tuple(columns))
    dtypes = (torch.float32,) * 3 + (torch.float64, torch.bfloat16, torch.float16)
    return Case(
        config,
        draw(st.sampled_from(dtypes)),
        draw(st.sampled_from(SWITCHES)),
        tuple(rows),
        width,
        draw(st.integers(0, 2**20)),
    )


def write_of(draw: Any, case: Case) -> Write:
    """Draw a write at any site of a case: what, how much, and at which part."""
    ref = draw(st.sampled_from(case.sites))
    axes, size = ref.kind.axes, ref.shape(case.config, 1, 1)[-1]
    possible: dict[str, tuple[bool, int]] = {
        "head": ("head" in axes, case.config.n_heads),
        "positions": (bool({"pos", "query"} & set(axes)), case.shortest),
        "keys": ("key" in axes, case.shortest),
        "unit": (axes[-1].startswith("d_"), size),
    }
    where = {
        name: draw(some(n, negative=draw(st.booleans())))
        for name, (there, n) in possible.items()
        if there and draw(st.booleans())
    }
    what = ["scale", "transform", "add number", "put tensor", "add tensor"]
    low = 0.5
    if not ref.kind.short.endswith("scale"):
        what += ["ablate", "put number"]
        low = -2.0
        if not {"unit", "keys"} & set(where):
            what += ["steer", "put vector"]  # all of the last axis
    number = draw(st.floats(low, 2.0, width=16))
    return Write(ref, draw(st.sampled_from(what)), where, number, draw(st.integers(0, 2**20)))
