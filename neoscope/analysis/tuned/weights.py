"""TunedLens: a translator for every depth of the stream, which the last layers need not be.

Reference: Belrose et al. 2023, arXiv:2303.08112: LN_f(h + A h + b) W_U, A = b = 0 to begin with,
trained so that KL(the model's output || lens) is small.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jaxtyping import Float
from torch import Tensor

from neoscope.analysis.lens.result import LensResult
from neoscope.analysis.reading import (
    GivenCache,
    GivenModel,
    GivenProgress,
    as_model,
    check_progress,
)
from neoscope.errors import AnalysisError
from neoscope.fingerprint import remembered_fingerprint

if TYPE_CHECKING:
    from neoscope.analysis.tuned.evaluation import LensEvaluation
    from neoscope.model import HookedGPTNeo


@dataclass(frozen=True, eq=False, repr=False)
class TunedLens:
    """Translators of one model; make them with :meth:`train` or :meth:`load`.

    Depth 0 is the embeddings, depth ``l + 1`` the stream after layer ``l``; the last depth, from
    which the model's own output is read, has no translator.

    Example:
        >>> import neoscope as ns
        >>> model = ns.load("organism")
        >>> texts = [s.text for s in ns.organism.sentences("filler", 40, seed=0)]
        >>> lens = TunedLens.train(model, texts, steps=2, batch_tokens=128, progress=False)
        >>> lens
        TunedLens('tuned', of 'organism', 4 translators, 2 steps)
        >>> _, cache = model.run_with_cache("The keys near the cabinet")
        >>> lens.lens(cache).labels
        ('embed', '0', '1', '2', '3')
    """

    matrix: Float[Tensor, "depth d_model d_model"] | None
    """A of each depth; None for the debiased lens, which has only the bias."""
    bias: Float[Tensor, "depth d_model"]
    card: dict[str, Any]
    """What it was trained on and how, as plain values; ``card["held_out"]`` says how well."""

    @classmethod
    def train(
        cls,
        model: GivenModel,
        texts: Any,
        *,
        steps: int | None = None,
        epochs: int = 1,
        batch_tokens: int = 2048,
        optimizer: str = "sgd",
        lr: float = 1.0,
        momentum: float = 0.9,
        weight_decay: float = 1e-3,
        clip: float = 1.0,
        bias_only: bool = False,
        precision: str = "float32",
        held_out: int = 4096,
        prepend_bos: bool = False,
        seed: int = 0,
        folder: str | os.PathLike[str] | None = None,
        save_every: int = 20,
        progress: GivenProgress = True,
    ) -> TunedLens:
        """Train translators of all depths on any text, in one pass of the model.

        The objective and the optimisers are tuned-lens's own: the mean of KL(output || lens) over
        all tokens; SGD with Nesterov momentum and a rate of ``lr * (1 - momentum)``, or Adam
        (amsgrad, ``lr * 1e-3``, warmed up over a fifth of the steps); the rate falls to 0 in a
        straight line; weight decay pulls the residual form to the identity. Gradients are in closed
        form, and no more than a chunk of rows of logits is held.

        Args:
            model: The model; no hooks or edits may be in force.
            texts: Texts; rows of token ids; or what ``model.tokenize`` gave. Longer ones are cut.
            steps: How many; None for ``epochs`` times over the texts.
            epochs: For ``steps=None``.
            batch_tokens: Most tokens of a step.
            optimizer: ``"sgd"`` or ``"adam"``.
            lr: Factor of the rate.
            momentum: Of SGD; Adam's first beta.
            weight_decay: Towards the identity.
            clip: Largest norm of the gradient of all translators together.
            bias_only: Train the debiased lens: the bias alone.
            precision: Of the products with the vocabulary: ``"float32"`` or ``"bfloat16"``.
            held_out: Tokens to keep back for judging, but not more than a tenth of the texts, of
                which there must be ten (a longer one counts once for every context that it fills);
                0 to train on all, and judge nothing.
            prepend_bos: For texts: put the beginning-of-text token first.
            seed: Of the order of the texts, and of what is held out.
            folder: Where to keep the state and, when done, the lens: a new one, or its own. The
                same call on the same folder goes on where the last one ended, and ends with the
                same bits.
            save_every: Steps between two states.
            progress: True for a bar after two seconds, or a function of steps done and in all.

        Returns:
            The lens. After Ctrl-C the lens as it is then, with a warning.

        Raises:
            AnalysisError: The corpus is empty or so small that nothing can be held out, an argument
                means nothing, the loss is no number any more, or the folder holds something else.
        """
        from neoscope.analysis.tuned.settings import Settings
        from neoscope.analysis.tuned.training import train

        model = as_model(model, "TunedLens.train")
        progress = check_progress(progress, "TunedLens.train")
        settings = Settings(
            steps, epochs, batch_tokens, optimizer, lr, momentum, weight_decay, clip,
            bias_only, precision, held_out, prepend_bos, seed,
        )  # fmt: skip
        place = None if folder is None else Path(folder).expanduser()
        return train(model, texts, settings, place, save_every, progress)

    @property
    def kind(self) -> str:
        """``"tuned"``, or ``"debiased"`` where only the bias was trained."""
        return "debiased" if self.matrix is None else "tuned"

    def check(self, model: GivenModel) -> None:
        """Refuse another model than that it was trained for.

        Raises:
            AnalysisError: Names both.
        """
        model = as_model(model, "TunedLens.check")
        found = remembered_fingerprint(model, model.config)
        if found != self.card["fingerprint"]:
            raise AnalysisError(
                f"this lens was trained for {self.card['model']!r} (fingerprint "
                f"{self.card['fingerprint'][:12]}, {self.card['dtype']}), not for "
                f"{model.cfg.model_name!r} (fingerprint {found[:12]}, "
                f"{str(model.dtype).removeprefix('torch.')})"
            )

    def on(self, model: HookedGPTNeo) -> Callable[[Tensor, int], Tensor]:
        """Return the function of states [..., d_model] and their depth, where the model is."""
        bias = self.bias.to(model.device, model.dtype)
        matrix = None if self.matrix is None else self.matrix.to(model.device, model.dtype)

        def translate(x: Tensor, depth: int) -> Tensor:
            if depth == len(bias):
                return x
            moved: Tensor = x + bias[depth]
            return moved if matrix is None else moved + x @ matrix[depth].T

        return translate

    def lens(
        self, cache: GivenCache, model: GivenModel | None = None, **options: Any
    ) -> LensResult:
        """Read a cache through it; see :func:`analysis.tuned_lens`.

        Raises:
            AnalysisError: As there.
        """
        from neoscope.analysis.lens.reading import tuned_lens

        return tuned_lens(cache, self, model, **options)

    def evaluate(
        self,
        model: GivenModel,
        texts: Any,
        *,
        debiased: GivenLens | None = None,
        prepend_bos: bool = False,
        batch_tokens: int = 2048,
        progress: GivenProgress = True,
    ) -> LensEvaluation:
        """Compare it with the logit lens at every depth, on texts that it was not trained on.

        Args:
            model: The one that it was trained for.
            texts: As for :meth:`train`.
            debiased: A third lens to compare, such as one of ``bias_only=True``.
            prepend_bos: For texts: put the beginning-of-text token first.
            batch_tokens: Most tokens run at once.
            progress: True for a bar after two seconds, or a function of batches done and in all.

        Raises:
            AnalysisError: It was trained for another model, there is no text, or an argument means
                nothing.
        """
        from neoscope.analysis.tuned.evaluation import evaluate

        model = as_model(model, "TunedLens.evaluate")
        progress = check_progress(progress, "TunedLens.evaluate")
        lenses = {"logit": None, self.kind: self}
        if debiased is not None:
            debiased = as_lens(debiased, "TunedLens.evaluate(debiased=...)")
            lenses["debiased" if debiased.kind not in lenses else "other"] = debiased
        return evaluate(model, texts, lenses, prepend_bos, batch_tokens, progress)

    def save(self, folder: str | os.PathLike[str], *, overwrite: bool = False) -> Path:
        """Write ``lens.safetensors`` and ``card.json``, which holds the SHA-256 of the other.

        Args:
            folder: Made if it is not there. A lens of the same training in it is replaced, if this
                one has as many steps.
            overwrite: Replace another tuned lens too. Files that are none are never replaced.

        Raises:
            AnalysisError: Something else is in the folder, or it cannot be written.
        """
        from neoscope.analysis.tuned.files import save_lens

        return save_lens(self, Path(folder).expanduser(), overwrite=overwrite)

    @classmethod
    def load(cls, folder: str | os.PathLike[str]) -> TunedLens:
        """Read what :meth:`save` or :meth:`train` wrote.

        Raises:
            AnalysisError: There is no lens, it is damaged, or its training has not ended.
        """
        from neoscope.analysis.tuned.files import load_lens

        return load_lens(Path(folder).expanduser())

    def __repr__(self) -> str:
        """Return kind, model and steps."""
        return (
            f"TunedLens({self.kind!r}, of {self.card['model']!r}, {len(self.bias)} translators, "
            f"{self.card['steps']:,} steps)"
        )


if TYPE_CHECKING:
    GivenLens = TunedLens
else:
    # Checked where it is read, with an error that says what was found instead.
    GivenLens = Any


def as_lens(value: object, what: str) -> TunedLens:
    """Return what was given as a tuned lens, if it is one.

    Args:
        value: What the caller gave.
        what: The function, for the error.

    Raises:
        AnalysisError: It is something else, such as the folder of one.
    """
    if isinstance(value, TunedLens):
        return value
    path = isinstance(value, str | Path)
    how = f"TunedLens.load({str(value)!r})" if path else "TunedLens.train or load"
    raise AnalysisError(f"{what} takes a lens, as {how} returns; found {type(value).__name__}")
