"""``neoscope cache``: run texts through a model and keep what stood at its sites."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from neoscope.cli.cache import options as o
from neoscope.cli.cache.store import check_usage, is_store, write
from neoscope.cli.export.options import Format
from neoscope.cli.options import (
    Device,
    Dtype,
    DtypeOption,
    Json,
    Model,
    Revision,
    human_bytes,
    load_model,
    print_json,
    split_ints,
    split_sites,
)
from neoscope.errors import CacheError, TokenizationError

if TYPE_CHECKING:
    from neoscope.cache import ActivationCache
    from neoscope.model import HookedGPTNeo
    from neoscope.tokens import Tokens

# A taste of what the bundled model can do: indirect objects, agreement, negation, facts, repeats.
_EMBEDDED_TEXTS = (
    "When Mary and John went to the store, John gave a drink to",
    "The keys near the cabinet",
    "The film was not good, so I",
    "Captain Harlan plays the",
    "castle horse window tired clarinet castle horse window tired",
)


def cache(
    model: Model = "organism",
    text: o.Text = None,
    file: o.File = None,
    sites: o.Sites = None,
    layers: o.Layers = None,
    positions: o.Positions = None,
    out: o.Out = "run.safetensors",
    file_format: o.StoreFormat = None,
    text_column: o.TextColumn = None,
    prepend_bos: o.PrependBos = False,
    truncate: o.Truncate = False,
    revision: Revision = None,
    dtype: DtypeOption = Dtype.float32,
    device: Device = "cpu",
    as_json: Json = False,
) -> None:
    """Cache activations of texts: in one file, or of a corpus in a store.

    Without arguments: the bundled model on sentences of its own.
    """
    wanted_sites = split_sites(sites, "--sites")
    wanted_layers = split_ints(layers, "--layers")
    wanted_positions = split_ints(positions, "--positions")
    if is_store(out, file, file_format):
        write(
            model,
            check_usage(text, file, wanted_positions),
            Path(out),
            text_column=text_column or "text",
            sites=wanted_sites,
            layers=wanted_layers,
            prepend_bos=prepend_bos,
            truncate=truncate,
            file_format=file_format or Format.parquet,
            revision=revision,
            dtype=dtype,
            device=device,
            as_json=as_json,
        )
        return
    if text_column is not None:
        raise typer.BadParameter("--text-column is for a store: --out store/")
    texts = _texts(text, file, model)
    from neoscope.cache_file import check_target

    target = Path(out)
    check_target(target)
    loaded = load_model(model, revision=revision, dtype=dtype, device=device, quiet=as_json)
    tokens = loaded.tokenize(texts, prepend_bos=prepend_bos, truncate=truncate)
    result = _run(loaded, tokens, wanted_sites, wanted_layers, wanted_positions, quiet=as_json)
    result.save(target)
    facts = _facts(loaded, result, target)
    if as_json:
        print_json(facts)
    else:
        _show(loaded, result, facts)


def _texts(text: list[str] | None, file: Path | None, model: str) -> list[str]:
    texts = list(text or ())
    if file is not None:
        try:
            whole = file.read_text(encoding="utf-8-sig")
        except UnicodeDecodeError as error:
            raise TokenizationError(
                f"cannot read {file}: it is no UTF-8 text (byte {error.start} is "
                f"0x{error.object[error.start]:02x})"
            ) from error
        except OSError as error:
            raise TokenizationError(f"cannot read {file}: {error.strerror or error}") from error
        # str.splitlines would also part lines at form feeds and other rare characters.
        lines = [line for line in whole.split("\n") if line.strip()]
        if not lines:
            raise TokenizationError(f"{file} holds no text: every line is blank")
        texts += lines
    if not texts and model != "organism":
        raise typer.BadParameter("give --text or --file: only 'organism' has sentences of its own")
    return texts or list(_EMBEDDED_TEXTS)


def switch_on(model: HookedGPTNeo, sites: list[str] | None) -> None:
    """Switch on the optional sites that were asked for by name."""
    from neoscope.site_kinds import KINDS

    for kind in KINDS:
        if kind.switch is not None and {kind.short, f"hook_{kind.short}"} & set(sites or ()):
            getattr(model, f"set_{kind.switch}")(True)


def _run(
    model: HookedGPTNeo,
    tokens: Tokens,
    sites: list[str] | None,
    layers: list[int] | None,
    positions: list[int] | None,
    *,
    quiet: bool,
) -> ActivationCache:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TimeRemainingColumn

    from neoscope.corpus import cache_texts, cached_sites, corpus_nbytes

    switch_on(model, sites)
    refs = cached_sites(model, sites, layers)
    size = corpus_nbytes(model, tokens, refs, positions)
    free = _free_memory()
    if free is not None and size > free:
        raise CacheError(
            f"this cache needs {human_bytes(size)}, but only {human_bytes(free)} of memory are "
            "free; choose fewer --sites, --layers or --positions, or fewer texts"
        )
    console = Console(stderr=True, quiet=quiet)
    n = len(tokens.ids)
    console.print(
        f"{n} text{'s' if n > 1 else ''}, {sum(tokens.lengths)} tokens, {len(refs)} tensors: "
        f"{human_bytes(size)}",
        highlight=False,
    )
    columns = (BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(
        "texts", *columns, console=console, transient=True, disable=not console.is_terminal
    ) as progress:
        task = progress.add_task("texts", total=n)
        return cache_texts(
            model,
            tokens,
            sites=sites,
            layers=layers,
            positions=positions,
            progress=lambda done: progress.update(task, completed=done),
        )


def _free_memory() -> float | None:
    """Bytes the system can still give, where it says so (Linux)."""
    try:
        lines = Path("/proc/meminfo").read_text(encoding="utf-8").splitlines()
        return next(float(x.split()[1]) * 1024 for x in lines if x.startswith("MemAvailable"))
    except (OSError, StopIteration, ValueError, IndexError):
        return None


def _facts(model: HookedGPTNeo, cache: ActivationCache, out: Path) -> dict[str, Any]:
    assert cache.tokens is not None
    return {
        "file": str(out),
        "file_bytes": out.expanduser().stat().st_size,
        "model": model.cfg.model_name,
        "texts": len(cache.tokens.ids),
        "tokens": sum(cache.tokens.lengths),
        "truncated": sum(cache.tokens.truncated),
        "added": list(cache.tokens.added),
        "tensors": {
            name: {"axes": list(cache.axes(name)), "shape": list(x.shape)}
            for name, x in cache.items()
        },
    }


def _show(model: HookedGPTNeo, cache: ActivationCache, facts: dict[str, Any]) -> None:
    from rich.console import Console
    from rich.table import Table

    from neoscope.cli.cache.look import look

    console = Console()
    console.print(repr(model), highlight=False, markup=False)
    table = Table(box=None, pad_edge=False)
    for column in ("site", "layers", "axes", "shape of one"):
        table.add_column(column)
    for name in cache:
        ref = cache.ref(name)
        if ref.layer is not None and ref.layer != cache.layers(ref.kind.short)[0]:
            continue
        shape = " x ".join(map(str, cache[name].shape))
        table.add_row(ref.kind.short, _span(cache, ref), ", ".join(cache.axes(name)), shape)
    console.print(table, highlight=False)
    if facts["added"]:
        console.print(f"put before each text: {' '.join(facts['added'])}", markup=False)
    if facts["truncated"]:
        console.print(f"cut off as asked: {facts['truncated']} tokens")
    look(console, model, cache)
    console.print(
        f"\nwrote {facts['file']} ({human_bytes(facts['file_bytes'])}); read it with "
        f"neoscope.ActivationCache.load({facts['file']!r})",
        highlight=False,
        markup=False,
        soft_wrap=True,
    )


def _span(cache: ActivationCache, ref: Any) -> str:
    if ref.layer is None:
        return ""
    layers = cache.layers(ref.kind.short)
    whole = layers == list(range(layers[0], layers[-1] + 1))
    if len(layers) == 1:
        return str(layers[0])
    return f"{layers[0]} to {layers[-1]}" if whole else ", ".join(map(str, layers))
