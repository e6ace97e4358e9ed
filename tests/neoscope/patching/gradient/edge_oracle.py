"""What the edge and circuit tests share: a small model, pairs, and slow plain oracles."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from transformer_lens.tools.analysis import EdgeAttributionConfig, attribution_patch

from neoscope import HookedGPTNeo, NeoConfig
from neoscope.edits import add, transform
from neoscope.patching.circuits.graph import Edge, Graph
from neoscope.patching.gradient.edge_scores import EdgeScores
from tests.neoscope.interop_models import Writers, plain

N_POS, ANSWER, WRONG = 7, 3, 5
MetricFunction = Callable[[Tensor], Tensor]


@functools.cache
def model() -> HookedGPTNeo:
    """Three layers of two heads; the middle one's window is shorter than the prompts."""
    config = NeoConfig(
        n_layers=3,
        d_model=16,
        n_heads=2,
        n_ctx=32,
        d_vocab=20,
        d_mlp=24,
        window_size=3,
        attention_layers=("global", "local", "global"),
        init_range=0.3,
    )
    made = HookedGPTNeo.from_config(config, seed=1)
    generator = torch.Generator().manual_seed(2)
    with torch.no_grad():
        for parameter in made.parameters():
            if parameter.ndim == 1:  # No bias is zero and no gain is one: none can be forgotten.
                parameter += 0.3 * torch.randn(parameter.shape, generator=generator)
    return made


def fresh() -> HookedGPTNeo:
    """A copy of it, whose switches one may turn."""
    made = HookedGPTNeo.from_config(model().config)
    made.load_state_dict(model().state_dict())
    return made


def pairs(n: int = 2) -> tuple[Tensor, Tensor]:
    """Clean and corrupted tokens; every pair differs first in another column."""
    generator = torch.Generator().manual_seed(3)
    clean = torch.randint(1, 20, (n, N_POS), generator=generator)
    corrupted = clean.clone()
    for row in range(n):
        for column in (2 + row % 3, 5):
            corrupted[row, column] = clean[row, column] % 19 + 1
    return clean, corrupted


def difference(logits: Tensor) -> Tensor:
    """The mean logit difference at the last position."""
    return (logits[:, -1, ANSWER] - logits[:, -1, WRONG]).mean()


def graph() -> Graph:
    """The graph of the model."""
    return Graph.of(model().config)


def sender_name(kind: str, layer: int, head: int) -> str:
    """Our name of what ``plain`` calls a writer."""
    return {"embed": "embed", "head": f"a{layer}.h{head}", "mlp": f"m{layer}"}[kind]


def receiver_name(kind: str, layer: int, head: int) -> str:
    """Our name of what ``plain`` calls a reader."""
    if kind in ("q", "k", "v"):
        return f"a{layer}.h{head}<{kind}>"
    return "logits" if kind == "logits" else f"m{layer}"


def tl_name(node: object) -> str:
    """Our name of a TransformerLens node."""
    kind, layer, head = node.kind, node.layer, node.head  # type: ignore[attr-defined]
    if kind in ("embed", "logits"):
        return str(kind)
    if kind == "attn_head_out":
        return f"a{layer}.h{head}"
    return f"m{layer}" if kind.startswith("mlp") else f"a{layer}.h{head}<{kind[0]}>"


def tl_scores(clean: Tensor, corrupted: Tensor) -> dict[Edge, float]:
    """TransformerLens's own edge attribution, summed over positions."""
    config = EdgeAttributionConfig(granularity="edge")
    found = attribution_patch(fresh(), clean, corrupted, difference, config).edge_scores
    scores: dict[Edge, float] = {}
    for (writer, reader), score in found.items():
        edge = Edge(tl_name(writer), tl_name(reader))
        scores[edge] = scores.get(edge, 0.0) + score
    return scores


def gap(found: EdgeScores, expected: dict[Edge, float], row: int | None = None) -> float:
    """The largest difference of all edges (of one pair, or their mean) over the largest score."""
    assert set(expected) == set(found.graph.edges)
    scores = found.mean
    if row is not None:
        assert found.values is not None
        scores = found.values[row]
    largest = max(map(abs, expected.values()))
    assert largest > 0.05
    return max(abs(scores[found.graph.index(e)] - x) for e, x in expected.items()) / largest


def autograd_scores(
    clean: Tensor,
    corrupted: Tensor,
    steps: int,
    *,
    noise: bool = False,
    metric: MetricFunction = difference,
    of: HookedGPTNeo | None = None,
) -> dict[Edge, float]:
    """Edge attribution of one pair, along the path, by split inputs and autograd, step by step."""
    made = HookedGPTNeo.from_config((of or model()).config)
    made.load_state_dict((of or model()).state_dict())
    made.set_use_attn_result(True)
    made.set_use_split_qkv_input(True)
    made.set_use_hook_mlp_in(True)
    base, donor = (clean, corrupted) if noise else (corrupted, clean)
    sites = ["blocks.0.hook_resid_pre", "result", "mlp_out"]
    with torch.no_grad():
        a, b = (made.run_with_cache(x, sites=sites)[1] for x in (base, donor))
    begin, end = (cache["blocks.0.hook_resid_pre"] for cache in (a, b))
    names = Graph.of(made.config)
    written = {"embed": end - begin}
    for layer in range(made.config.n_layers):
        change = b["result", layer] - a["result", layer]
        written |= {f"a{layer}.h{h}": change[:, :, h] for h in range(made.config.n_heads)}
        written[f"m{layer}"] = b["mlp_out", layer] - a["mlp_out", layer]
    scores = dict.fromkeys(names.edges, 0.0)
    for step in range(steps):
        grads = _input_gradients(made, begin + step / steps * (end - begin), metric)
        for edge in scores:
            scores[edge] += float((written[edge.sender] * grads[edge.receiver]).sum()) / steps
    return scores


def _input_gradients(
    made: HookedGPTNeo, stream: Tensor, metric: MetricFunction
) -> dict[str, Tensor]:
    seen: dict[tuple[str, int], Tensor] = {}

    def keep(site: str, layer: int) -> Callable[[Tensor], Tensor]:
        def change(x: Tensor) -> Tensor:
            seen[site, layer] = x
            return x

        return change

    last = made.config.n_layers - 1
    sites = [
        *((s, i) for i in range(last + 1) for s in ("q_input", "k_input", "v_input", "mlp_in")),
        ("resid_post", last),
    ]
    edits = [transform(site, layer, keep(site, layer)) for site, layer in sites]
    value = metric(made(stream.requires_grad_(True), start_at_layer=0, edits=edits))
    found = dict(zip(seen, torch.autograd.grad(value, list(seen.values())), strict=True))
    grads = {"logits": found["resid_post", last]}
    for layer in range(last + 1):
        grads[f"m{layer}"] = found["mlp_in", layer]
        for kind in "qkv":
            for head in range(made.config.n_heads):
                grads[f"a{layer}.h{head}<{kind}>"] = found[f"{kind}_input", layer][:, :, head]
    return grads


def circuit_logits(clean: Tensor, corrupted: Tensor, edges: Sequence[Edge]) -> Tensor:
    """Logits of a circuit by ``plain``: each reader sums its own edges, one after another."""
    kept = set(edges)
    _, base = plain(model(), corrupted)

    def read(kind: str, layer: int, head: int, writers: Writers) -> Tensor:
        x = torch.stack([base[key] for key in writers]).sum(0)
        for key, write in writers.items():
            if key[0] in ("embed", "head", "mlp"):
                edge = Edge(sender_name(*key), receiver_name(kind, layer, head))
                if edge in kept:
                    x = x + write - base[key]
        return x

    logits, _ = plain(model(), clean, read)
    return logits.detach()


def exact_effects(
    clean: Tensor, corrupted: Tensor, edges: Sequence[Edge], metric: MetricFunction
) -> Tensor:
    """Exact effect of each edge in each pair: one run each in which one input alone is changed."""
    made = fresh()
    made.set_use_attn_result(True)
    made.set_use_split_qkv_input(True)
    made.set_use_hook_mlp_in(True)
    sites = ["blocks.0.hook_resid_pre", "result", "mlp_out"]
    out = torch.zeros(len(clean), len(edges))
    with torch.no_grad():
        for row in range(len(clean)):
            base, donor = corrupted[row : row + 1], clean[row : row + 1]
            (logits, a), (_, b) = (made.run_with_cache(x, sites=sites) for x in (base, donor))
            for i, edge in enumerate(edges):
                change = _written(b, edge.sender) - _written(a, edge.sender)
                edits = [_into(edge.receiver, change, made.config.n_layers)]
                out[row, i] = metric(made.run_with_edits(base, edits)) - metric(logits)
    return out


def _written(cache: object, sender: str) -> Tensor:
    if sender == "embed":
        return cache["blocks.0.hook_resid_pre"]  # type: ignore[index]
    layer, _, head = sender[1:].partition(".h")
    if head:
        return cache["result", int(layer)][:, :, int(head)]  # type: ignore[index]
    return cache["mlp_out", int(layer)]  # type: ignore[index]


def _into(receiver: str, change: Tensor, n_layers: int) -> object:
    if receiver == "logits":
        return add("resid_post", n_layers - 1, change)
    layer, _, rest = receiver[1:].partition(".h")
    if not rest:
        return add("mlp_in", int(layer), change)
    head, _, kind = rest.rstrip(">").partition("<")
    return add(f"{kind}_input", int(layer), change[:, :, None], head=int(head))
