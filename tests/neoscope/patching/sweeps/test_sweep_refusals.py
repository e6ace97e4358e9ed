"""What a sweep refuses, and that the message says what to do."""

from __future__ import annotations

from typing import Any

import pytest
import torch

import neoscope as ns
from neoscope.edits import ablate
from neoscope.errors import NeoscopeError, PatchingError, SiteError, TokenizationError
from neoscope.organism import pairs
from neoscope.patching.metrics import logit_diff, loss
from neoscope.patching.sweeps.sweeping import sweep
from tests.neoscope.patching import plain
from tests.neoscope.patching.cases import SEVERAL, model_of

MODEL = model_of()
CLEAN, CORRUPTED = SEVERAL
METRIC = logit_diff([1, 2, 3], [4, 5, 6])


def run(site: str = "resid_pre", metric: Any = METRIC, **options: Any) -> Any:
    return sweep(MODEL, CLEAN, CORRUPTED, metric, site, progress=False, **options)


@pytest.mark.parametrize(
    ("clean", "corrupted", "message"),
    [
        ([[1, 2, 3]], [[1, 2]], "(?s)pair 0 does not align.*3 tokens.*2.*misalignment"),
        ([[1, 2, 3]], [[1, 2, 3]], "the same in pair 0"),
        ([[1, 2], [3, 4]], [[1, 3]], "2 clean and 1 corrupted"),
        ([[1, 99]], [[1, 2]], "clean: prompt 0 has token id 99"),
        ([[]], [[]], "no tokens"),
        ([], [], "no prompts"),
        ([[1] * 33], [[2] * 33], "33 tokens, but the model's context is 32"),
        ("a text", "another", "tokenizer"),
        ([[1, 2]], None, "no corrupted prompt to take values from"),
    ],
)
def test_prompts_that_cannot_be_patched(clean: Any, corrupted: Any, message: str) -> None:
    with pytest.raises((PatchingError, TokenizationError), match=message):
        sweep(MODEL, clean, corrupted, logit_diff(1, 2), progress=False)


@pytest.mark.parametrize(
    ("metric", "message"),
    [
        (lambda x: x[:, -1], r"returned shape \[3, 40\].*expected \[3\], one number a pair"),
        (lambda x: x[:, -1, 0].mean(), "keep the axis of pairs"),
        (lambda x: x[..., 0], r"choose a position, such as logits\[:, -1, token\]"),
        (lambda x: x[:, -1, 0] * float("nan"), "returned nan for pair 0.*expected finite numbers"),
        (lambda x: None, "returned NoneType"),
        (lambda x: x[:2, -1, 0], r"returned shape \[2\]"),
        (3.5, r"metric=3\.5 is no metric"),
        (logit_diff, r"call it, as in patching\.logit_diff\(\.\.\.\)"),
        (logit_diff([1, 2], 3), "2.*3 pairs"),
        (logit_diff(40, 3), "40"),
        (loss, "call it"),
    ],
)
def test_metrics_that_cannot_be_used(metric: Any, message: str) -> None:
    with pytest.raises(PatchingError, match=message):
        run(metric=metric)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"site": "resid_prr"}, r"did you mean 'resid_pre'\?"),
        ({"site": "z", "heads": 7}, "heads 0 to 1"),
        ({"layers": 9}, "layer 9"),
        ({"positions": 6}, "pair 0, which has 5 tokens"),
        ({"direction": "denoising"}, r"did you mean 'denoise'\?"),
        (
            {"batch_tokens": 7},
            "batch_tokens=7 does not hold one prompt of 8 tokens; give 8 or more",
        ),
        ({"metric_positions": 6}, "metric_positions.*pair 0"),
        ({"metric_positions": "every"}, "expected 'all'"),
        ({"metric_positions": []}, "selects no token"),
        ({"subspace": torch.zeros(16)}, "zero or linearly dependent"),
        ({"subspace": torch.ones(5)}, "directions of 5 entries.*has 16"),
        ({"source": "nosie"}, "did you mean 'noise'"),
        ({"prepend_bos": True}, "is for texts"),
    ],
)
def test_options_that_mean_nothing(options: dict[str, Any], message: str) -> None:
    with pytest.raises(NeoscopeError, match=message) as caught:
        run(**options)
    assert isinstance(caught.value, SiteError | PatchingError)


def test_words_that_are_several_tokens_and_texts() -> None:
    organism = ns.load("organism")
    found = pairs("ioi", 2)
    with pytest.raises(PatchingError, match=r"(?s)David Martin.*tokens"):
        sweep(organism, found.clean, found.corrupted, logit_diff(" David Martin", " coin"))
    with pytest.raises(PatchingError, match=r"(?s)does not align.*misalignment"):
        sweep(organism, found.clean[0], found.corrupted[0] + " the", logit_diff(" the", " a"))


def test_a_model_with_hooks_or_edits_in_force_is_refused() -> None:
    model = plain.random_model()
    model.add_hook("hook_embed", lambda x, hook: x)
    with pytest.raises(PatchingError, match=r"hooks or edits in force.*reset_hooks"):
        sweep(model, CLEAN, CORRUPTED, METRIC, progress=False)
    model.reset_hooks()
    with model.edits([ablate("z", 0, 0)]), pytest.raises(PatchingError, match="in force"):
        sweep(model, CLEAN, CORRUPTED, METRIC, progress=False)
    assert sweep(model, CLEAN, CORRUPTED, METRIC, layers=0, progress=False).complete
