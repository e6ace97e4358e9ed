"""``neoscope export``: features of a whole corpus, as a table that any classifier reads."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import typer

from neoscope.cli.cache.command import switch_on
from neoscope.cli.export import options as o
from neoscope.cli.export.run import check_input, dry, make_spec, run
from neoscope.cli.export.show import show, show_estimate
from neoscope.cli.options import (
    Device,
    Dtype,
    DtypeOption,
    Json,
    Model,
    Revision,
    load_model,
)

if TYPE_CHECKING:
    from neoscope.export import RayEngine


def export(
    model: Model,
    source: o.Input,
    out: o.Out,
    text_column: o.TextColumn = "text",
    id_column: o.IdColumn = None,
    keep: o.Keep = None,
    on_error: o.OnErrorOption = o.OnError.fail,
    sites: o.Sites = "resid_post",
    layers: o.Layers = "-1",
    pool: o.PoolOption = "mean",
    positions: o.Positions = None,
    feature_dtype: o.FeatureDtypeOption = o.FeatureDtype.float32,
    max_length: o.MaxLength = None,
    truncation: o.TruncationOption = o.Truncation.truncate,
    overlap: o.Overlap = None,
    normalize: o.Normalize = False,
    prepend_bos: o.PrependBos = False,
    file_format: o.FormatOption = o.Format.parquet,
    batch_tokens: o.BatchTokens = None,
    shard_rows: o.ShardRows = None,
    engine: o.EngineOption = o.Engine.local,
    ray_address: o.RayAddress = None,
    workers: o.Workers = None,
    dry_run: o.DryRun = False,
    revision: Revision = None,
    dtype: DtypeOption = Dtype.float32,
    device: Device = "cpu",
    as_json: Json = False,
) -> None:
    """Export hidden states of a corpus as a table; the same command again goes on with it."""
    _check_usage(engine, ray_address, workers)
    wanted: dict[str, Any] = {
        "sites": o.read_sites(sites),
        "layers": o.read_layers(layers),
        "pool": o.read_pools(pool),
        "positions": o.read_positions(positions),
        "dtype": feature_dtype.value,
        "max_length": max_length,
        "truncation": truncation.value,
        "overlap": overlap,
        "normalize": normalize,
        "prepend_bos": prepend_bos,
    }
    reading: dict[str, Any] = {"text_column": text_column, "id_column": id_column}
    reading["keep"] = o.read_keep(keep)
    check_input(source, positions=wanted["positions"], **reading)
    spec = make_spec(**wanted)
    computing = _ray(workers, ray_address) if engine == "ray" else None
    loaded = load_model(model, revision=revision, dtype=dtype, device=device, quiet=as_json)
    switch_on(loaded, wanted["sites"])
    options = {**reading, "batch_tokens": batch_tokens, "shard_rows": shard_rows}
    options |= {"on_error": on_error.value, "file_format": file_format.value}
    if dry_run:
        guess = dry(loaded, source, out, spec, **options)
        show_estimate(guess, out, file_format, engine, as_json=as_json)
    else:
        done = run(loaded, source, out, spec, quiet=as_json, engine=computing, **options)
        show(done, as_json=as_json)


def _check_usage(engine: o.Engine, ray_address: str | None, workers: int | None) -> None:
    for option, value in (("--ray-address", ray_address), ("--workers", workers)):
        if engine != "ray" and value is not None:
            raise typer.BadParameter(f"{option} is for --engine ray")


def _ray(workers: int | None, address: str | None) -> RayEngine:
    from neoscope.export import RayEngine

    return RayEngine(workers=workers, address=address)
