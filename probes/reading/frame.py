"""Texts and labels of a frame as data for probes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from neoscope.errors import ProbeError, nearest
from probes.data.labels import as_list

if TYPE_CHECKING:
    from probes.data.dataset import ProbeData


def read_frame(
    model: Any,
    frame: Any,
    text: str,
    label: str | Sequence[str],
    group: str | None,
    type_column: str | None,
    options: Mapping[str, Any],
) -> ProbeData:
    """Return data of a frame; see :meth:`ProbeData.from_frame`.

    Args:
        model: The model.
        frame: Of pandas or polars, or a mapping of columns.
        text: Column of texts.
        label: Column of labels, or several.
        group: Column of groups.
        type_column: Column of types.
        options: Further arguments of ``ProbeData.from_texts``.

    Raises:
        ProbeError: It is no frame, or there is no such column.
    """
    from probes.data.dataset import ProbeData

    names = _names(frame)

    def column(name: str, what: str) -> list[Any]:
        if name not in names:
            raise ProbeError(
                f"{what}={name!r}: the frame has no such column{nearest(str(name), names)}; it has "
                f"{', '.join(names)}"
            )
        return as_list(frame[name], what)

    several = not isinstance(label, str)
    columns = [column(one, "label") for one in ([label] if isinstance(label, str) else label)]
    if not columns:
        raise ProbeError("label is empty: name at least one column")
    chosen: dict[str, Any] = {"label": None if several else label, **options}
    for name, what, key in ((group, "group", "groups"), (type_column, "type", "types")):
        if name is not None:
            chosen[key] = column(name, what)
    labels = [list(row) for row in zip(*columns, strict=True)] if several else columns[0]
    data = ProbeData.from_texts(model, column(text, "text"), labels, **chosen)
    return data.noted(label_names=list(map(str, label))) if several else data


def _names(frame: Any) -> list[str]:
    """Return the names of the columns."""
    # Of Arrow and of Hugging Face's datasets the former are names, and columns, if any, are data.
    for attribute in ("column_names", "columns"):
        if hasattr(frame, attribute):
            return list(map(str, getattr(frame, attribute)))
    if isinstance(frame, Mapping):
        return list(map(str, frame))
    raise ProbeError(f"expected a frame or a mapping of columns, found {type(frame).__name__}")
