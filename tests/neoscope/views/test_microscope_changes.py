"""What a microscope changes are neoscope's own edits, and its code makes the same."""

from __future__ import annotations

import html
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import neoscope as ns
from neoscope import patching
from neoscope.edits import ablate, replace, steer
from neoscope.errors import EditError, ViewError
from neoscope.views import Microscope
from neoscope.views.microscope import page_widget as module
from neoscope.views.microscope.desk import MicroscopeDesk
from neoscope.views.microscope.quantising import shares, signed, thumbnails
from neoscope.views.microscope.showing import answer, show
from neoscope.views.microscope.static_page import static_page
from tests.neoscope.views.microscope_cases import JOHN, MARY, close

STATIC = Path(module.__file__).parents[1] / "static" / "microscope"


# ---- edits ------------------------------------------------------------------------------------


def test_edits_reproduce_the_run(desk: MicroscopeDesk, model: ns.HookedGPTNeo) -> None:
    desk.switch(2, 1, "mean")
    desk.steer("it's a slope", 1, -2.0)
    desk.patch(1, span=(9, 10))
    desk.patch(0, head=3)
    with torch.no_grad():
        expected = model.run_with_edits(MARY, desk.edits)[0]
    assert close(desk.run.logits, expected)
    assert not close(desk.base.logits, expected)
    assert close(desk.cache()["resid_post", 3], desk.run.cache["resid_post", 3])
    assert desk.cache() is desk.cache() and "blocks.0.attn.hook_q" in desk.cache()


def test_edits_set_from_python_are_the_switches_of_the_page(desk: MicroscopeDesk) -> None:
    desk.set_edits([ablate("z", 2, 1), ablate("mlp_out", 0), ablate("post", 1, unit=[3])])
    state = show(desk).state
    assert state["off"] == {"head 2.1": "zero", "mlp 0": "zero"}
    assert state["changes"][2]["label"] == "ablate('post', layer=1, unit=[3])"
    assert answer(desk, {"do": "switch", "layer": 2, "head": 1, "how": ""}) == ""
    assert [repr(one) for one in desk.edits] == [
        "ablate('mlp_out', layer=0)",
        "ablate('post', layer=1, unit=[3])",
    ]
    desk.set_edits(desk.edits[::-1])
    assert show(desk).state["off"] == {"mlp 0": "zero"}


def test_edit_that_does_not_fit_changes_nothing(desk: MicroscopeDesk) -> None:
    desk.switch(0, 0)
    before = show(desk)
    with pytest.raises(EditError):
        desk.set_edits([steer("resid_post", 0, torch.ones(3))])
    with pytest.raises(ViewError, match="is no edit"):
        desk.set_edits(["ablate"])
    assert show(desk) == before


def test_text_that_a_patch_does_not_fit_is_refused(desk: MicroscopeDesk) -> None:
    desk.patch(1, head=2)
    error = answer(desk, {"do": "text", "text": "The keys near the cabinet"})
    assert error and desk.setting.text == MARY
    desk.update(changes=())
    assert answer(desk, {"do": "text", "text": "The keys near the cabinet"}) == ""


def test_patches_need_prompts_that_align(desk: MicroscopeDesk) -> None:
    desk.update(other="The keys")
    with pytest.raises(ViewError, match="14 tokens and the other one 2"):
        desk.patch(1, head=0)
    assert "align" in answer(desk, {"do": "map", "site": "z"}) or desk.comparison is None
    desk.update(other="")
    with pytest.raises(ViewError, match="no other prompt"):
        desk.patch(1, head=0)


# ---- maps -------------------------------------------------------------------------------------


@pytest.mark.parametrize("site", ["resid_post", "z"])
def test_a_map_is_the_sweep_and_a_click_is_its_cell(
    site: str, desk: MicroscopeDesk, model: ns.HookedGPTNeo
) -> None:
    found = desk.compare(site)
    positions = None if site == "resid_post" else "all"
    metric = patching.logit_diff(" John", " Mary")
    expected = patching.sweep(
        model, JOHN, MARY, metric, site=site, positions=positions, progress=False
    )
    assert np.allclose(found.effects, expected.mean, atol=1e-4)
    assert (found.answer, found.wrong) == (" John", " Mary")
    state = show(desk).state
    assert (state["map"]["rows"], state["map"]["columns"]) == expected.mean.shape
    row, column = (
        int(i) for i in np.unravel_index(np.abs(expected.mean).argmax(), expected.mean.shape)
    )
    place = {"head": column} if site == "z" else {"span": state["map"]["spans"][column]}
    assert answer(desk, {"do": "patch", "layer": row, **place}) == ""
    ids = [model.tokenizer.encode(word)[0] for word in (" John", " Mary")]  # type: ignore[union-attr]
    moved = desk.run.logits[-1] - desk.base.logits[-1]
    assert float(moved[ids[0]] - moved[ids[1]]) == pytest.approx(
        expected.mean[row, column], abs=1e-3
    )
    assert show(desk).state["patched"]
    assert answer(desk, {"do": "patch", "layer": row, **place}) == ""
    assert desk.edits == []


def test_a_measurement_says_how_far_it_is(
    desk: MicroscopeDesk, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[tuple[int, int]] = []
    desk.compare("z", lambda done, total: told.append((done, total)))
    assert told == sorted(told) and told[-1] == (16, 16)
    scope = Microscope(desk.model, MARY, other=JOHN)
    sent: list[dict[str, int]] = []
    monkeypatch.setattr(scope, "send", sent.append)
    scope._answer(scope, {"do": "map", "site": "z"}, [])  # type: ignore[attr-defined]
    assert [(one["done"], one["total"]) for one in sent] == told
    found = scope.patching
    assert found is not None and found.mean.shape == (4, 4)


def test_map_of_a_long_prompt_is_in_blocks(model: ns.HookedGPTNeo) -> None:
    start = "Every night the teacher went to the store. " * 5
    desk = MicroscopeDesk(model, start + MARY, other=start + JOHN)
    found = desk.compare("resid_post")
    n = len(desk.base)
    assert n > 32 and len(found.spans) == found.effects.shape[1] <= 32
    assert found.spans[0][0] == 0 and found.spans[-1][1] == n
    column = int(np.abs(found.effects[1]).argmax())
    desk.patch(1, span=found.spans[column])
    first, last = found.spans[column]
    _, other = model.run_with_cache(start + JOHN, sites="resid_post")
    edit = replace("resid_post", 1, other, positions=list(range(first, last)))
    with torch.no_grad():
        assert close(desk.run.logits, model.run_with_edits(start + MARY, [edit])[0])


def test_map_needs_two_answers_and_goes_with_its_prompts(desk: MicroscopeDesk) -> None:
    desk.compare("z")
    assert show(desk).effects
    desk.update(text=JOHN.replace("store", "park"))
    assert desk.comparison is None and show(desk).state["map"] is None
    with pytest.raises(ViewError, match="both prompts are followed by ' John'"):
        desk.compare("z")


# ---- code -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text", [MARY, '<script>alert(\'1\')</script>\n""" שלום \u202e 👩‍👩‍👧 \\', "When"]
)
@pytest.mark.filterwarnings("ignore::neoscope.UnseenWordWarning")
def test_code_runs_and_gives_the_same(text: str, model: ns.HookedGPTNeo) -> None:
    direction = torch.linspace(-1, 1, model.config.d_model)
    directions = {"it's": direction, 'a "b"': direction.flip(0)}
    desk = MicroscopeDesk(model, text, other=text + "!", directions=directions)
    code: dict[str, Any] = {}
    exec(desk.code(), code)
    assert close(code["logits"][0].detach(), desk.base.logits)
    desk.switch(2, 1)
    desk.switch(1, None, "mean")
    desk.steer("it's", 0, 1.5)
    desk.steer('a "b"', 2, -0.75)
    desk.set_edits([*desk.edits, ablate("post", 3, unit=[1, 2])])
    if text == MARY:
        desk.update(other=JOHN)
        desk.patch(0, span=(9, 10))
        desk.patch(3, head=1)
    desk.update(selected=(2, 1), position=0)
    code = {}
    exec(desk.code(), code)
    assert close(code["logits"][0].detach(), desk.run.logits)
    assert torch.allclose(code["following"], desk.run.logits[0].softmax(-1), atol=1e-5)
    assert np.allclose(code["pattern"].numpy(), desk.run.pattern(2, 1), atol=1e-5)


def test_code_of_a_model_made_in_memory_takes_it_as_it_is() -> None:
    config = ns.NeoConfig(n_layers=2, d_model=8, n_heads=2, n_ctx=16, d_vocab=750)
    model = ns.HookedGPTNeo.from_config(config, tokenizer=ns.load("organism").tokenizer)
    desk = MicroscopeDesk(model, "the dog")
    code = {"model": model}
    exec(desk.code(), code)
    assert close(code["logits"][0].detach(), desk.run.logits)  # type: ignore[index]


def test_edit_with_a_value_cannot_be_written(desk: MicroscopeDesk) -> None:
    desk.set_edits([steer("resid_post", 0, torch.ones(128))])
    with pytest.raises(ViewError, match="cannot be written down"):
        desk.code()


# ---- bytes ------------------------------------------------------------------------------------


def test_quantisation_is_within_half_a_step() -> None:
    values = np.random.default_rng(0).random((5, 7)).astype(np.float32)
    assert np.abs(shares(values) / 255 - values).max() <= 1 / 510 + 1e-7
    effects = np.random.default_rng(1).normal(size=(4, 6))
    effects[1, 2] = np.nan
    quantised, largest = signed(effects)
    back = (quantised.astype(float) - 128) / 127 * largest
    known = np.isfinite(effects)
    assert np.abs(back - effects)[known].max() <= largest / 254 + 1e-9
    assert (quantised == 0).sum() == 1 and quantised[1, 2] == 0
    assert signed(np.zeros((1, 2)))[0].tolist() == [[128, 128]]
    assert signed(np.full((1, 1), np.nan))[1] == 0.0


@pytest.mark.parametrize("n", [1, 23, 24, 25, 100])
def test_a_thumbnail_keeps_every_peak(n: int) -> None:
    pattern = np.zeros((1, n, n), np.float32)
    pattern[0, n - 1, n // 3] = 1.0
    small = thumbnails(pattern)
    size = min(n, 24)
    assert small.shape == (1, size, size)
    assert int((small == 255).sum()) == 1 and small[0, -1].max() == 255


# ---- the page ---------------------------------------------------------------------------------


def test_static_page_says_the_same_without_scripts(desk: MicroscopeDesk) -> None:
    desk.switch(2, 1)
    page = static_page(desk)
    assert "<script" not in page and "<svg" in page and "head 2.1 off (zero)" in page
    row = show(desk).state["next"][0]
    assert html.escape(row["token"]) in page and f"{row['after']:.4f}" in page
    assert len(page) < 200_000


@pytest.mark.filterwarnings("ignore::neoscope.UnseenWordWarning")
def test_static_page_escapes(model: ns.HookedGPTNeo) -> None:
    # A token of GPT-2's could be the whole tag; here letters are tokens, and a label is not.
    evil = "<script>alert(1)</script>"
    desk = MicroscopeDesk(model, evil, directions={evil: torch.ones(128)})
    desk.steer(evil, 0, 1.0)
    page = static_page(desk)
    assert "<script" not in page and "&lt;script&gt;" in page


def test_no_text_can_become_markup() -> None:
    script = module.script()
    for way in ("innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval("):
        assert way not in script
    for text in (script, module.style()):
        assert "http" not in text and "@import" not in text and "url(" not in text


def test_every_class_of_the_page_has_its_style() -> None:
    used = set(re.findall(r"nsm-[a-z][\w-]*", re.sub(r"--nsm-[\w-]+", "", module.script())))
    styled = set(re.findall(r"\.(nsm-[\w-]+)", module.style()))
    bare = {"nsm-title-", "nsm-heads", "nsm-pattern", "nsm-changes", "nsm-next", "nsm-steer"}
    assert used - styled - bare <= {"nsm-bars", "nsm-narrow", "nsm-key-fill", "nsm-token-text"}
    assert all(len(path.read_text().splitlines()) <= 300 for path in STATIC.glob("*.js"))
