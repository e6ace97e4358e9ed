"""``neoscope verify`` passes a model that is right, and fails one that is wrong in any way."""

from __future__ import annotations

import contextlib
import json
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jaxtyping
import pytest
import torch
from typer.testing import CliRunner

from neoscope import contract, parity
from neoscope.attention import Attention
from neoscope.block import Block
from neoscope.cli import app
from neoscope.config import NeoConfig
from neoscope.contract_report import Check, ContractReport
from neoscope.model import HookedGPTNeo
from neoscope.run import Run, Site
from neoscope.visibility import Visibility
from tests.neoscope.folders import write_checkpoint

RUNNER = CliRunner()
Patch = pytest.MonkeyPatch


@pytest.fixture(autouse=True)
def unannotated() -> Iterator[None]:
    """Do without checks of annotations: the contract makes so many calls that they take minutes."""
    before = jaxtyping.config.jaxtyping_disable
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", before)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_checkpoint(tmp_path_factory.mktemp("tiny"))


# ---- the command -----------------------------------------------------------------------------


def test_right_model_passes(folder: Path) -> None:
    result = RUNNER.invoke(app, ["verify", str(folder)], env={"COLUMNS": "200"})
    assert result.exit_code == 0, result.output
    assert result.stderr == ""
    assert "every site is causal" in result.stdout
    for what in ("write-back", "gradient", "equals transformers"):
        assert what in result.stdout


def test_json_is_all_that_is_printed(folder: Path) -> None:
    result = RUNNER.invoke(app, ["verify", str(folder), "--json", "--layers", "all"])
    facts = json.loads(result.stdout)
    assert result.exit_code == 0
    assert result.stderr == ""
    assert facts["ok"] is True
    assert facts["dtype"] == "float32"
    assert {check["what"] for check in facts["checks"]} >= {"write-back", "equals transformers"}
    assert all(check["passed"] for check in facts["checks"])


@pytest.fixture
def quick(monkeypatch: Patch) -> Callable[..., None]:
    """Let the contract and the comparison find what a test says, without running."""

    def set_up(*checks: Check) -> None:
        report = ContractReport("m", "float32", checks)
        monkeypatch.setattr(contract, "check", lambda *a, **o: report)
        monkeypatch.setattr(parity, "compare", lambda *a, **o: [])

    return set_up


def row(error: float, *, passed: bool, note: str = "") -> Check:
    return Check("write-back", "blocks.0.hook_z", "global", passed, error, 0.0, note)


def test_failure_names_the_site_and_exits_with_1(quick: Callable[..., None], folder: Path) -> None:
    quick(row(3.0, passed=False), row(0.0, passed=True))
    result = RUNNER.invoke(app, ["verify", str(folder)], env={"COLUMNS": "200"})
    assert result.exit_code == 1
    assert "FAILED write-back: blocks.0.hook_z: 3, must be 0" in result.stdout
    assert "NOT to be trusted" in result.stdout
    assert "1 failed" in result.stdout
    assert "Traceback" not in result.output


def test_failure_in_json_exits_with_1(quick: Callable[..., None], folder: Path) -> None:
    quick(row(float("nan"), passed=False))
    result = RUNNER.invoke(app, ["verify", str(folder), "--json"])
    assert result.exit_code == 1
    facts = json.loads(result.stdout, parse_constant=pytest.fail)
    assert facts["ok"] is False
    assert facts["checks"][0]["error"] is None


def test_markup_in_names_and_notes_is_shown_as_it_is(
    quick: Callable[..., None], tmp_path: Path
) -> None:
    quick(row(0.0, passed=True, note="[red]a[/red] [/]"))
    folder = write_checkpoint(tmp_path / "[bold]x[/]".replace("/", "\u2215"), tokenizer=False)
    result = RUNNER.invoke(app, ["verify", str(folder)], env={"COLUMNS": "300"})
    assert result.exit_code == 0
    assert str(folder) in result.stdout
    assert "note: 1 x [red]a[/red] [/]" in result.stdout


def test_narrow_terminal_is_not_overrun(quick: Callable[..., None], folder: Path) -> None:
    quick(row(0.0, passed=True, note="some words that are long enough to be broken " * 3))
    result = RUNNER.invoke(app, ["verify", str(folder)], env={"COLUMNS": "60"})
    assert max(map(len, result.stdout.splitlines())) <= 60


def test_unknown_model_is_one_line() -> None:
    result = RUNNER.invoke(app, ["verify", "no-such/model"])
    assert result.exit_code == 1
    assert result.stdout == ""
    assert result.stderr.count("\n") == 1


def test_unknown_layers_are_wrong_usage() -> None:
    result = RUNNER.invoke(app, ["verify", "--layers", "some"], env={"COLUMNS": "120"})
    assert result.exit_code == 2
    assert "'some' is not one of 'kinds', 'all'" in result.stderr


def test_weight_that_differs_from_the_file_fails(folder: Path, monkeypatch: Patch) -> None:
    load = HookedGPTNeo.from_pretrained

    def load_wrong(name: str, **options: Any) -> HookedGPTNeo:
        model = load(name, **options)
        with torch.no_grad():
            model.blocks[0].attn.weight_o[0, 0] += 0.05
        return model

    monkeypatch.setattr(HookedGPTNeo, "from_pretrained", load_wrong)
    report = ContractReport("m", "float32", ())
    monkeypatch.setattr(contract, "check", lambda *a, **o: report)
    result = RUNNER.invoke(app, ["verify", str(folder)])
    assert result.exit_code == 1
    assert "FAILED equals transformers: logits" in result.stdout


def test_broken_site_fails(folder: Path, monkeypatch: Patch) -> None:
    discard(monkeypatch, "attn.hook_pattern")
    monkeypatch.setattr(parity, "compare", lambda *a, **o: [])
    result = RUNNER.invoke(app, ["verify", str(folder)], env={"COLUMNS": "200"})
    assert result.exit_code == 1
    assert "FAILED moves what follows: blocks.0.attn.hook_pattern" in result.stdout


# ---- the contract finds what is broken ---------------------------------------------------------


@pytest.fixture(scope="module")
def model() -> HookedGPTNeo:
    config = NeoConfig(
        n_layers=2, d_model=8, n_heads=2, n_ctx=12, d_vocab=9, window_size=4, init_range=0.3
    )
    return HookedGPTNeo.from_config(config)


def failures(model: HookedGPTNeo) -> set[tuple[str, str]]:
    """What the contract finds wrong, and where; it must find it, not stumble over it."""
    return {(row.what, row.site) for row in contract.check(model).failures}


def kinds(model: HookedGPTNeo) -> set[str]:
    return {what for what, _ in failures(model)}


def test_model_is_right_before_it_is_broken(model: HookedGPTNeo) -> None:
    assert failures(model) == set()


def discard(monkeypatch: Patch, ending: str) -> None:
    """Let hooks and edits at a site run, and throw their result away."""
    tap = Run.tap

    def broken(self: Run, site: Site, x: torch.Tensor, guard: Any = None) -> torch.Tensor:
        after = tap(self, site, x, guard)
        return x if str(site.name).endswith(ending) else after

    monkeypatch.setattr(Run, "tap", broken)


@pytest.mark.parametrize(
    "site",
    [
        "attn.hook_pattern",
        "attn.hook_result",
        "hook_resid_mid",
        "hook_mlp_in",
        "hook_pos_embed",
        "ln_final.hook_normalized",
    ],
)
def test_discarded_edit_is_found(site: str, model: HookedGPTNeo, monkeypatch: Patch) -> None:
    discard(monkeypatch, site)
    found = failures(model)
    for what in ("moves what follows", "gradient"):
        where = {name for kind, name in found if kind == what}
        assert where
        assert all(name.endswith(site) for name in where)


def test_edit_of_resid_mid_that_only_the_mlp_sees_is_found(
    model: HookedGPTNeo, monkeypatch: Patch
) -> None:
    """What TransformerLens's bridge does to GPT-Neo: the residual stream itself never changes."""

    def forward(self: Block, stream: Any, run: Run, past: Any) -> Any:
        stream = run.tap(self.hook_resid_pre, stream)
        attn_out = run.tap(
            self.hook_attn_out, self.attn(stream, self.hook_attn_in, self.ln1, run, past)
        )
        stream = stream + attn_out
        mlp_in = run.tap(self.hook_resid_mid, stream)
        if run.looks(self.hook_mlp_in):
            mlp_in = run.tap(self.hook_mlp_in, mlp_in)
        stream = stream + run.tap(self.hook_mlp_out, self.mlp(self.ln2(mlp_in, run), run))
        return run.tap(self.hook_resid_post, stream)

    monkeypatch.setattr(Block, "forward", forward)
    found = {name for _, name in failures(model)}
    assert found == {"blocks.0.hook_resid_mid", "blocks.1.hook_resid_mid"}


def leak(monkeypatch: Patch) -> None:
    """Let every query see the token after it."""
    allowed = Visibility._allowed

    def broken(self: Visibility, window: Any, rows: Any, columns: Any) -> torch.Tensor:
        seen = allowed(self, window, rows, columns)
        return seen | seen.roll(1, dims=-1)

    monkeypatch.setattr(Visibility, "_allowed", broken)


def test_mask_that_leaks_the_future_when_looked_at_is_found(
    model: HookedGPTNeo, monkeypatch: Patch
) -> None:
    leak(monkeypatch)
    found = failures(model)
    assert "looked at = not looked at (logits)" in {name for _, name in found}
    assert any(what == "leaves the left alone" for what, _ in found)


def test_mask_that_always_leaks_the_future_is_found(
    model: HookedGPTNeo, monkeypatch: Patch
) -> None:
    leak(monkeypatch)
    monkeypatch.setattr(Visibility, "causal_only", False)
    assert "leaves the left alone" in kinds(model)


@pytest.mark.parametrize("by", [-1, 1])
def test_window_off_by_one_is_found(by: int, model: HookedGPTNeo, monkeypatch: Patch) -> None:
    monkeypatch.setattr(model.blocks[1].attn, "window", 4 + by)
    found = failures(model)
    assert found
    assert all("(layer 1)" in name for _, name in found)


def test_write_that_corrupts_what_was_read_is_found(
    model: HookedGPTNeo, monkeypatch: Patch
) -> None:
    def add(stream: Any, write: Any, site: Site, run: Run) -> Any:
        write = run.tap(site, write)
        return stream + write if torch.is_grad_enabled() else stream.add_(write)

    monkeypatch.setattr(Block, "_add", staticmethod(add))
    assert "read identity" in kinds(model)


def test_edit_that_corrupts_upstream_is_found(model: HookedGPTNeo, monkeypatch: Patch) -> None:
    """A hook that writes in place, where its tensor is shared with an earlier site."""
    tap = Run.tap

    def broken(self: Run, site: Site, x: torch.Tensor, guard: Any = None) -> torch.Tensor:
        name = str(site.name)
        after = tap(self, site, x, guard)
        if name in self.edits and name.endswith("attn_out") and self.recorder is not None:
            self.recorder.tensors[name.replace("attn_out", "resid_pre")].add_(after - x)
        return after

    monkeypatch.setattr(Run, "tap", broken)
    assert ("leaves upstream alone", "blocks.1.hook_attn_out") in failures(model)


def test_hooks_left_behind_are_found(model: HookedGPTNeo, monkeypatch: Patch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(HookedGPTNeo, "reset_hooks", lambda self, *a, **o: None)
        found = kinds(model)
    model.reset_hooks(including_permanent=True)
    assert "clean after an exception" in found


def test_edits_left_behind_are_found(model: HookedGPTNeo, monkeypatch: Patch) -> None:
    @contextlib.contextmanager
    def edits(self: HookedGPTNeo, *new: Any) -> Iterator[HookedGPTNeo]:
        self._edit_groups[threading.get_ident()] = [(object(), new)]
        yield self

    monkeypatch.setattr(HookedGPTNeo, "edits", edits)
    assert "clean after an exception" in kinds(model)
    assert model._edits == []


def test_cut_gradient_is_found(model: HookedGPTNeo, monkeypatch: Patch) -> None:
    tap = Run.tap

    def broken(self: Run, site: Site, x: torch.Tensor, guard: Any = None) -> torch.Tensor:
        after = tap(self, site, x, guard)
        return after.detach() if str(site.name).endswith("ln2.hook_scale") else after

    monkeypatch.setattr(Run, "tap", broken)
    found = {name for what, name in failures(model) if what == "gradient"}
    assert found == {"blocks.0.ln2.hook_scale", "blocks.1.ln2.hook_scale"}


def test_kv_cache_that_forgets_the_window_is_found(model: HookedGPTNeo, monkeypatch: Patch) -> None:
    forward = Attention.forward

    def broken(self: Attention, *args: Any) -> Any:
        window = self.window
        if args[-1] is not None:
            self.window = None
        try:
            return forward(self, *args)
        finally:
            self.window = window

    monkeypatch.setattr(Attention, "forward", broken)
    assert ("same text, same numbers", "token by token with a KV cache") in failures(model)
