"""NeoConfig: the frozen shape of a GPT-Neo, read from an old or new Hugging Face config.json.

Reference: ``transformers/models/gpt_neo/configuration_gpt_neo.py`` (transformers 5.23).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, Literal, cast

from neoscope.errors import ConfigError, nearest

LayerKind = Literal["global", "local"]

# The first spelling is today's; the others were written by transformers 3 and 4 and by converters.
_SPELLINGS: dict[str, tuple[str, ...]] = {
    "n_layers": ("num_layers", "num_hidden_layers", "n_layer"),
    "n_heads": ("num_heads", "num_attention_heads", "n_head"),
    "d_model": ("hidden_size", "n_embd"),
    "d_mlp": ("intermediate_size", "n_inner"),
    "n_ctx": ("max_position_embeddings", "n_positions", "n_ctx"),
    "d_vocab": ("vocab_size",),
    "window_size": ("window_size",),
    "act_fn": ("activation_function",),
    "ln_eps": ("layer_norm_epsilon",),
    "tie_word_embeddings": ("tie_word_embeddings",),
    "init_range": ("initializer_range",),
    "bos_token_id": ("bos_token_id",),
    "eos_token_id": ("eos_token_id",),
    "pad_token_id": ("pad_token_id",),
}

# All other fields are whole numbers.
_TYPES: dict[str, type] = {
    "act_fn": str,
    "ln_eps": float,
    "init_range": float,
    "tie_word_embeddings": bool,
}
_TYPE_NAMES: dict[type, str] = {
    int: "a whole number",
    float: "a number",
    bool: "true or false",
    str: "a name",
}


@dataclasses.dataclass(frozen=True)
class NeoConfig:
    """The shape of a GPT-Neo.

    Example:
        >>> NeoConfig(n_layers=2, d_model=64, n_heads=4, n_ctx=32, d_vocab=100).d_head
        16
    """

    n_layers: int = 12
    d_model: int = 768
    n_heads: int = 12
    n_ctx: int = 2048
    d_vocab: int = 50257
    window_size: int = 256
    """Keys a query of a local layer sees, itself included."""
    attention_layers: tuple[LayerKind, ...] | None = None
    """The kind of each layer; None alternates global and local, beginning with global."""
    d_mlp: int | None = None
    """Neurons of an MLP; None is four times d_model."""
    act_fn: str = "gelu_new"
    ln_eps: float = 1e-5
    tie_word_embeddings: bool = True
    init_range: float = 0.02
    bos_token_id: int | None = 50256
    eos_token_id: int | None = 50256
    pad_token_id: int | None = None

    def __post_init__(self) -> None:
        """Fill in derived fields and refuse shapes that cannot be built."""
        for field in ("n_layers", "d_model", "n_heads", "n_ctx", "d_vocab", "window_size"):
            value = getattr(self, field)
            if not isinstance(value, int) or isinstance(value, bool) or value < 1:
                raise ConfigError(f"{field} is {value!r}; expected a whole number of at least 1")
        if self.d_model % self.n_heads:
            raise ConfigError(
                f"d_model {self.d_model} cannot be divided by n_heads {self.n_heads}; "
                "GPT-Neo gives every head d_model / n_heads dimensions"
            )
        if self.d_mlp is None:
            object.__setattr__(self, "d_mlp", 4 * self.d_model)
        elif not isinstance(self.d_mlp, int) or isinstance(self.d_mlp, bool) or self.d_mlp < 1:
            raise ConfigError(f"d_mlp is {self.d_mlp!r}; expected a whole number of at least 1")
        kinds: Sequence[str] | None = self.attention_layers
        if kinds is None:
            kinds = tuple(("global", "local")[i % 2] for i in range(self.n_layers))
        for kind in kinds:
            if kind not in ("global", "local"):
                raise ConfigError(f"attention kind {kind!r}; expected 'global' or 'local'")
        if len(kinds) != self.n_layers:
            raise ConfigError(
                f"attention_layers names {len(kinds)} layers, but n_layers is {self.n_layers}"
            )
        object.__setattr__(self, "attention_layers", tuple(kinds))
        if not 0 < self.ln_eps < 1:
            raise ConfigError(f"ln_eps is {self.ln_eps!r}; expected a number between 0 and 1")

    @property
    def d_head(self) -> int:
        """Dimensions of one head."""
        return self.d_model // self.n_heads

    @property
    def kinds(self) -> tuple[LayerKind, ...]:
        """``"global"`` or ``"local"`` for each layer."""
        assert self.attention_layers is not None
        return self.attention_layers

    @property
    def n_neurons(self) -> int:
        """Neurons of one MLP."""
        assert self.d_mlp is not None
        return self.d_mlp

    def window(self, layer: int) -> int | None:
        """Keys a query of ``layer`` sees, itself included; None where it sees all before it."""
        return self.window_size if self.kinds[layer] == "local" else None

    @property
    def n_params(self) -> int:
        """Number of parameters, tied embeddings counted once."""
        d, m = self.d_model, self.n_neurons
        block = 4 * d * d + d + 2 * d * m + m + d + 4 * d
        embeddings = (self.d_vocab * (1 if self.tie_word_embeddings else 2) + self.n_ctx) * d
        return embeddings + self.n_layers * block + 2 * d

    @classmethod
    def from_hf(cls, raw: Mapping[str, Any], where: str = "config.json") -> NeoConfig:
        """Read a Hugging Face configuration, in any spelling GPT-Neo checkpoints have used.

        Args:
            raw: The parsed ``config.json``.
            where: Named in errors.

        Raises:
            ConfigError: It is another architecture, a needed key is missing, or values contradict.
        """
        _require_gpt_neo(raw, where)
        fields: dict[str, Any] = {}
        for field, keys in _SPELLINGS.items():
            values = {key: raw[key] for key in keys if raw.get(key) is not None}
            if len(set(map(repr, values.values()))) > 1:
                raise ConfigError(f"{where} contradicts itself: {values}")
            if values:
                key, value = next(iter(values.items()))
                fields[field] = _typed(field, value, f"{where}: {key}")
        for field in ("n_layers", "n_heads", "d_model", "d_vocab"):
            if field not in fields:
                wanted = " or ".join(map(repr, _SPELLINGS[field]))
                raise ConfigError(f"{where} has no key {wanted}")
        kinds = _layer_kinds(raw, where)
        if kinds is not None:
            fields["attention_layers"] = kinds
        try:
            return cls(**fields)
        except ConfigError as error:
            raise ConfigError(f"{where}: {error}") from error

    def to_hf(self) -> dict[str, Any]:
        """Return the ``config.json`` that transformers' GPTNeoForCausalLM reads."""
        fields: dict[str, Any] = {
            keys[0]: getattr(self, field) for field, keys in _SPELLINGS.items()
        }
        return fields | {
            "model_type": "gpt_neo",
            "architectures": ["GPTNeoForCausalLM"],
            "attention_types": [[[kind], 1] for kind in self.kinds],
            "attention_layers": list(self.kinds),
        }


def _require_gpt_neo(raw: Mapping[str, Any], where: str) -> None:
    found = raw.get("model_type")
    names = [str(name) for name in raw.get("architectures") or ()]
    if found is None and any(
        name.startswith("GPTNeoFor") or name == "GPTNeoModel" for name in names
    ):
        return
    if found != "gpt_neo":
        described = f"model_type {found!r}" if found is not None else f"architectures {names}"
        hint = " (GPT-NeoX is another architecture)" if found == "gpt_neox" else ""
        raise ConfigError(
            f"{where} is not a GPT-Neo: it says {described}{hint}; expected 'gpt_neo'"
        )


def _typed(field: str, value: Any, what: str) -> Any:
    """Return a JSON value as the type of its field."""
    if field == "eos_token_id" and isinstance(value, list):
        # Several tokens may end a text; GPT-Neo's own is the first.
        return _typed(field, value[0], what) if value else None
    expected = _TYPES.get(field, int)
    if expected is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if not isinstance(value, expected) or (isinstance(value, bool) and expected is not bool):
        raise ConfigError(f"{what} is {value!r}; expected {_TYPE_NAMES[expected]}")
    return value


def _layer_kinds(raw: Mapping[str, Any], where: str) -> tuple[LayerKind, ...] | None:
    """Expand ``attention_types``; fall back to ``attention_layers``; both may be present."""
    kinds: list[str] | None = None
    types = raw.get("attention_types")
    if types:
        try:
            kinds = [kind for pattern, times in types for _ in range(times) for kind in pattern]
        except (TypeError, ValueError) as error:
            raise ConfigError(
                f"{where}: attention_types is {types!r}; expected e.g. [[['global', 'local'], 6]]"
            ) from error
    listed = raw.get("attention_layers")
    if kinds is None and listed is not None:
        if not isinstance(listed, Sequence) or isinstance(listed, str):
            raise ConfigError(
                f"{where}: attention_layers is {listed!r}; expected e.g. ['global', 'local']"
            )
        kinds = list(listed)
    for kind in kinds or ():
        if kind not in ("global", "local"):
            hint = nearest(str(kind), ("global", "local"))
            raise ConfigError(
                f"{where}: attention kind {kind!r}; expected 'global' or 'local'{hint}"
            )
    return cast("tuple[LayerKind, ...]", tuple(kinds)) if kinds is not None else None
