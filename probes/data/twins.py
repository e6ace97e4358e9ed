"""Random twins: the same rows read by a model whose weights mean nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from neoscope.errors import ProbeError
from probes.data.picking import listed

if TYPE_CHECKING:
    from probes.data.dataset import ProbeData


def has_twin(data: ProbeData) -> bool:
    """Whether a random twin came with the data, or can be drawn."""
    return data.random_twin is not None or None not in (data.remake, data.model)


def twin_data(data: ProbeData, seed: int) -> ProbeData | None:
    """Return the same rows as a random model reads them, or None where there is no such model.

    Args:
        data: What a probe is trained on.
        seed: Of the weights, unless the data came with a twin.
    """
    if data.random_twin is not None or data.remake is None or data.model is None:
        return data.random_twin
    return data.remake(twin_of(data.model, seed))


def twin_of(model: Any, seed: int) -> Any:
    """Return a model of the same shape with weights drawn anew.

    Args:
        model: A HookedGPTNeo.
        seed: Of the draw.
    """
    return type(model).from_config(
        model.config, seed, tokenizer=model.tokenizer, dtype=model.dtype, device=model.device
    )


def check_twin(data: ProbeData, twin: Any) -> None:
    """Check that data are the same rows and places, read by another model.

    Args:
        data: What a probe is trained on.
        twin: What it is compared with.

    Raises:
        ProbeError: They are not.
    """
    if not (hasattr(twin, "places") and hasattr(twin, "n_rows")):
        raise ProbeError(f"random_twin: expected ProbeData, found {type(twin).__name__}")
    if twin.n_rows != data.n_rows:
        raise ProbeError(f"random_twin has {twin.n_rows} rows, and the data have {data.n_rows}")
    missing = [place for place in data.places if place not in twin.places]
    if missing:
        raise ProbeError(
            f"random_twin has no features of {listed(missing)}; it has {listed(twin.places)}"
        )
    ours, theirs = data.source, twin.source
    if ours.model is not None and ours.model == theirs.model:
        raise ProbeError(
            f"random_twin was made by the same model as the data (fingerprint {ours.model[:12]}): "
            "give features of a model with random weights"
        )
    if None not in (ours.pool, theirs.pool) and ours.pool != theirs.pool:
        raise ProbeError(f"random_twin is pooled by {theirs.pool}, and the data by {ours.pool}")
