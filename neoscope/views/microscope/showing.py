"""What a view shows of a desk, as JSON values and bytes; and what its messages ask for."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from neoscope.errors import NeoscopeError
from neoscope.progress import Report
from neoscope.views.labels import spoken
from neoscope.views.microscope.changes import Patch, Steering, Switch
from neoscope.views.microscope.comparing import Comparison
from neoscope.views.microscope.desk import MicroscopeDesk
from neoscope.views.microscope.prompt_run import decoded
from neoscope.views.microscope.quantising import signed

TOP = 10
"""Rows of the table of next tokens."""


@dataclass(frozen=True)
class Shown:
    """Everything on screen."""

    state: dict[str, Any]
    """Plain JSON values that UTF-8 can write."""
    thumbs: bytes
    pattern: bytes
    """Of the selected head."""
    effects: bytes
    """Of the map; empty for none."""


def answer(desk: MicroscopeDesk, message: Any, told: Report | None = None) -> str:
    """Do what a view asks for; return what went wrong, or nothing.

    Args:
        desk: It is changed, unless something is wrong.
        message: ``{"do": "text", "text": ...}`` and the like; anything else changes nothing.
        told: Is told how far a long measurement is.
    """
    try:
        _do(desk, message if isinstance(message, Mapping) else {}, told or False)
    except NeoscopeError as error:
        return str(error)
    except (RuntimeError, MemoryError) as error:  # torch's, such as no memory left
        return f"this could not be run: {error}"
    return ""


def _do(desk: MicroscopeDesk, message: Mapping[str, Any], told: bool | Report) -> None:
    what, get = message.get("do"), message.get
    if what in ("text", "other"):
        desk.update(**{what: str(get("text") or "")})
    elif what == "select":
        desk.update(selected=(get("layer"), get("head")))
    elif what == "position":
        desk.update(position=get("position"))
    elif what == "switch":
        desk.switch(get("layer"), get("head"), str(get("how") or ""))
    elif what == "steer":
        desk.steer(str(get("name")), get("layer"), get("scale"))
    elif what == "map":
        desk.compare(str(get("site")), told)
    elif what == "patch":
        span = get("span")
        desk.patch(get("layer"), head=get("head"), span=tuple(span) if span else None)
    elif what == "remove":
        desk.remove(str(get("key")))
    elif what == "clear":
        desk.update(changes=())


def show(desk: MicroscopeDesk, error: str = "") -> Shown:
    """Return what is to be shown.

    Args:
        desk: What is looked at.
        error: What went wrong, if anything did.
    """
    effects, largest = b"", 0.0
    if desk.comparison is not None:
        quantised, largest = signed(desk.comparison.effects)
        effects = quantised.tobytes()
    return Shown(
        state=_writable(_state(desk, error, largest)),
        thumbs=desk.run.thumbnail_bytes,
        pattern=desk.run.pattern_bytes(*desk.setting.selected),
        effects=effects,
    )


def _state(desk: MicroscopeDesk, error: str, largest: float) -> dict[str, Any]:
    setting, run, config = desk.setting, desk.run, desk.model.config
    changes = setting.changes
    windows = [config.window_size if kind == "local" else None for kind in config.kinds]
    return {
        "model": str(desk.model.cfg.model_name),
        "windows": windows,
        "heads": config.n_heads,
        "text": setting.text,
        "other": setting.other,
        "error": error or not_finite(desk),
        "notes": list(desk.base.notes),
        "tokens": [spoken(token) for token in run.tokens],
        "thumb": run.thumbnail_size,
        "selected": list(setting.selected),
        "position": desk.position,
        "changes": [{"key": one.key, "label": one.label} for one in changes],
        "off": {one.key: one.how for one in changes if isinstance(one, Switch)},
        "steering": [
            {"name": one.direction.name, "layer": one.layer, "scale": one.scale}
            for one in changes
            if isinstance(one, Steering)
        ],
        "directions": [{"name": one.name, "layer": one.layer} for one in desk.directions],
        "norms": desk.base.norms,
        "next": following(desk),
        "loss": {"before": desk.base.loss, "after": run.loss},
        "lens": _lens(desk),
        "map": None if desk.comparison is None else _map(desk.comparison, largest),
        "patched": [
            {"site": one.site, "layer": one.layer, "head": one.head, "span": one.span}
            for one in changes
            if isinstance(one, Patch) and one.other == setting.other
        ],
    }


def following(desk: MicroscopeDesk, top: int = TOP) -> list[dict[str, Any]]:
    """Return the likeliest next tokens at the selected one, of the edited and the unedited run.

    Args:
        desk: What is looked at.
        top: How many; the likeliest in either run, in the edited run's order.
    """
    after = desk.run.log_probs(desk.position).exp()
    before = desk.base.log_probs(desk.position).exp()
    # NaN would stand above every number.
    largest = after.nan_to_num(0.0).maximum(before.nan_to_num(0.0)).topk(min(top, len(after)))
    rows = [
        {
            "id": int(i),
            "token": spoken(decoded(desk.model, int(i))),
            "before": float(before[i]),
            "after": float(after[i]),
        }
        for i in largest.indices
    ]
    return sorted(rows, key=lambda row: -_or_zero(row["after"]))


def not_finite(desk: MicroscopeDesk) -> str:
    """Say what is no number, or nothing.

    Args:
        desk: What is looked at.
    """
    for name, run in (("unedited", desk.base), ("edited", desk.run)):
        if not bool(run.logits.isfinite().all()):
            advice = (
                "take an edit out, or steer less far" if name == "edited" else "see the weights"
            )
            return f"the {name} run gives NaN or infinity where “–” stands; {advice}"
    return ""


def _or_zero(value: Any) -> float:
    return float(value) if math.isfinite(value) else 0.0


def _lens(desk: MicroscopeDesk) -> dict[str, Any]:
    strip = desk.strip
    rows = zip(strip.labels, strip.tokens, strip.probabilities, strict=True)
    return {
        "name": strip.lens,
        "caveat": strip.caveat,
        "rows": [{"label": a, "token": spoken(b), "probability": c} for a, b, c in rows],
    }


def _map(found: Comparison, largest: float) -> dict[str, Any]:
    rows, columns = found.effects.shape
    gap = _finite(found.result.clean) - _finite(found.result.corrupted)
    return {
        "site": found.site,
        "rows": rows,
        "columns": columns,
        "largest": largest,
        "gap": gap,
        "answer": spoken(found.answer),
        "wrong": spoken(found.wrong),
        "spans": [list(span) for span in found.spans],
    }


def _finite(baseline: Any) -> float:
    return float(np.nan_to_num(np.asarray(baseline, np.float64)).mean())


def _writable(value: Any) -> Any:
    """Show half a surrogate pair as letters, and NaN as None: no message can hold them."""
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, str):
        return value.encode("utf-8", "backslashreplace").decode("utf-8")
    if isinstance(value, dict):
        return {_writable(key): _writable(item) for key, item in value.items()}
    return [_writable(item) for item in value] if isinstance(value, list | tuple) else value
