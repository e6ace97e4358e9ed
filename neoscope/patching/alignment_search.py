"""Distributed alignment search: the subspace of a site that carries a variable."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from neoscope.errors import PatchingError, SiteError
from neoscope.indices import whole
from neoscope.patching.base import refuse_edited
from neoscope.patching.cells import BY_HEAD, read_site
from neoscope.patching.das_result import DasControls, DasResult
from neoscope.patching.metrics.words import answer_ids
from neoscope.patching.prompts import Prompts, check_direction, read_prompts
from neoscope.sites import check_layer, resolve
from neoscope.tokens import Tokens

if TYPE_CHECKING:
    from neoscope.model import HookedGPTNeo


def das(
    model: HookedGPTNeo,
    clean: Any,
    corrupted: Any,
    answer: Any,
    wrong: Any,
    *,
    layer: Any,
    position: Any = -1,
    dim: Any = 1,
    site: str = "resid_post",
    direction: str = "denoise",
    targets: Any = None,
    held_out: Any = 0.25,
    controls: bool = True,
    epochs: int = 20,
    batch_size: int = 128,
    lr: float = 1e-2,
    seed: int = 0,
    prepend_bos: bool = False,
) -> DasResult:
    """Search the subspace whose interchange makes the model answer as a causal model says.

    Distributed alignment search (Geiger et al. 2024, arXiv 2303.02536), by TransformerLens's
    ``fit_das``: of the prompt that is patched, the coordinates inside the subspace are set to those
    of the other prompt, and cross-entropy over all answers trains the subspace.

    Args:
        model: Without hooks or edits in force.
        clean: Texts or token ids; as many pairs as one has, and pairs that differ in more than the
            variable too (with ``targets``): a subspace else learns whatever moves along.
        corrupted: One for each clean prompt.
        answer: What the clean prompts are answered with: one for each, a word or an id.
        wrong: The same of the corrupted prompts.
        layer: The layer; None for ``site="embed"``.
        position: The token that is patched: one for all pairs, or a tensor [pairs, 1].
        dim: Dimensions of the subspace.
        site: A site that is not by head.
        direction: ``"denoise"`` patches the corrupted prompt with the clean one's values,
            ``"noise"`` the reverse.
        targets: What a causal model says after the interchange; None for the answer of the prompt
            that the values come from.
        held_out: Share of pairs that are kept from the search, to measure the accuracy on.
        controls: Measure what it is to be compared with; takes as long again.
        epochs: Passes over the pairs.
        batch_size: Pairs of one step.
        lr: Step size of Adam.
        seed: Of the division, the start, the order and the controls.
        prepend_bos: For texts: put the beginning-of-text token first; GPT-Neo was trained without.

    Raises:
        PatchingError: Prompts do not align, all answers are the same, or a number means nothing.
        SiteError: The site is by head, or a layer or position does not exist.
    """
    from transformer_lens.tools.analysis import SubspaceInterchange

    refuse_edited(model)
    check_direction(direction)
    prompts = read_prompts(model, clean, corrupted, prepend_bos=prepend_bos)
    number = None if layer is None else check_layer(layer, model.config.n_layers, site)
    task = _task(model, prompts, site, number, position, direction, answer, wrong, targets)
    size = task.source(slice(0, 1)).shape[1]
    if (wanted := whole(dim)) is None or not 1 <= wanted <= size:
        raise PatchingError(f"dim={dim!r}; expected 1 to {size}, the last axis of {task.site!r}")
    train, test = _divided(len(prompts), held_out, seed)
    options = {"rank": wanted, "epochs": epochs, "batch_size": batch_size, "lr": lr, "seed": seed}
    found = task.search(train, task.targets, options)
    step = SubspaceInterchange(found.basis)
    return DasResult(
        basis=found.basis.cpu().clone(),
        site=task.site,
        layer=number,
        position=position,
        direction=direction,
        accuracy=task.accuracy(step, test),
        train_accuracy=task.accuracy(step, train),
        losses=found.losses,
        controls=_controls(task, step, train, test, options) if controls else None,
        n_train=len(train),
        n_held_out=len(test) if held_out else 0,
        seed=seed,
        model=model.cfg.model_name,
        fingerprint=model.fingerprint(),
    )


@dataclass(frozen=True, eq=False)
class _Task:
    """Interchanges of one site at one token, with the answers as classes.

    To TransformerLens an input is the number of a row of ``tokens``: first all prompts that are
    patched, then all that values are taken from.
    """

    model: HookedGPTNeo
    tokens: Tokens
    site: str
    hook: str
    columns: Int[Tensor, "pairs"]
    classes: Int[Tensor, "classes"]
    targets: Int[Tensor, "pairs"]
    """Class of each pair."""

    @property
    def n(self) -> int:
        """Pairs."""
        return len(self.targets)

    def logits(self, rows: Int[Tensor, "n"]) -> Float[Tensor, "n classes"]:
        """Run some rows; the logits of the answers after the last token."""
        tokens = self.tokens.rows(rows.tolist())
        stream = self.model(tokens, stop_at_layer=self.model.config.n_layers)
        normed = self.model.ln_final(stream[:, -1:])[:, 0]
        weight = self.model.unembed.rows[self.classes.to(normed.device)]
        found: Tensor = normed.float() @ weight.float().T
        return found

    def source(self, pairs: slice | Int[Tensor, "n"]) -> Float[Tensor, "n d"]:
        """Return what is put in."""
        from transformer_lens.tools.analysis import collect_activations

        rows = torch.arange(self.n, 2 * self.n)[pairs]
        found: Tensor = collect_activations(
            self.model, self.hook, rows, self.logits, positions=self.columns[pairs]
        )
        return found

    def search(self, pairs: Int[Tensor, "n"], targets: Int[Tensor, "pairs"], options: Any) -> Any:
        """Fit a subspace."""
        from transformer_lens.tools.analysis import fit_das

        with torch.enable_grad():
            return fit_das(
                self.model,
                self.hook,
                pairs,
                pairs + self.n,
                targets[pairs],
                self.logits,
                base_positions=self.columns[pairs],
                source_positions=self.columns[pairs],
                **options,
            )

    def accuracy(
        self, intervention: Any, pairs: Int[Tensor, "n"], targets: Tensor | None = None
    ) -> float:
        """Return the share of pairs whose likeliest answer is the target."""
        from transformer_lens.tools.analysis import intervened_logits

        logits = intervened_logits(
            self.model,
            self.hook,
            intervention,
            pairs,
            self.source(pairs),
            self.logits,
            positions=self.columns[pairs],
        )
        wanted = self.targets if targets is None else targets
        return float((logits.argmax(-1) == wanted[pairs]).double().mean())


def _task(
    model: HookedGPTNeo,
    prompts: Prompts,
    site: str,
    layer: int | None,
    position: Any,
    direction: str,
    answer: Any,
    wrong: Any,
    targets: Any,
) -> _Task:
    short = read_site(site)
    if short in BY_HEAD:
        raise SiteError(
            f"site={site!r} is by head; a subspace is searched in attn_out, mlp_out, pre, post, "
            "embed or the residual stream"
        )
    columns = prompts.columns(position, "position")
    if columns.shape[1] != 1:
        raise PatchingError(f"position={position!r} names {columns.shape[1]} tokens; expected one")
    n = len(prompts)
    sides = [answer_ids(model, answer, n, "answer"), answer_ids(model, wrong, n, "wrong")]
    default = sides[0] if direction == "denoise" else sides[1]
    said = default if targets is None else answer_ids(model, targets, n, "targets")
    classes = torch.cat([*sides, said]).unique()
    if len(classes) < 2:
        raise PatchingError("all answers are the same token; there is nothing to search for")
    donor = prompts.donor(direction)
    if donor is None:
        raise PatchingError("there are no corrupted prompts; give corrupted=")
    tokens = Tokens(
        ids=torch.cat([prompts.base(direction), donor]),
        mask=prompts.mask.repeat(2, 1),
        padding_side="left",
    )
    return _Task(
        model,
        tokens,
        short,
        resolve(model.config, short, layer).name,
        columns[:, 0],
        classes,
        torch.searchsorted(classes, said),
    )


def _divided(n: int, held_out: Any, seed: int) -> tuple[Tensor, Tensor]:
    if isinstance(held_out, bool | str) or not 0 <= held_out < 1:
        raise PatchingError(f"held_out={held_out!r}; expected a share of pairs, from 0 to below 1")
    order = torch.randperm(n, generator=torch.Generator().manual_seed(seed))
    kept = int(n * held_out)
    if held_out and not kept:
        raise PatchingError(
            f"held_out={held_out} of {n} pairs is none; give more pairs, or held_out=0"
        )
    return order[kept:], order[:kept] if kept else order


def _controls(
    task: _Task, step: Any, train: Tensor, test: Tensor, options: dict[str, Any]
) -> DasControls:
    from transformer_lens.tools.analysis import (
        NormMatchedPlacebo,
        SubspaceInterchange,
        arbitrary_targets,
        random_basis,
    )

    d, dim = step.basis.shape
    seed = options["seed"]
    elsewhere = random_basis(d, dim, seed=seed + 1)
    keys = [
        tuple(ids[real].tolist())
        for ids, real in zip(
            task.tokens.ids[task.n :].cpu(), task.tokens.mask[task.n :].cpu(), strict=True
        )
    ]
    targets = arbitrary_targets(keys, len(task.classes), seed)
    arbitrary = SubspaceInterchange(task.search(train, targets, options).basis)
    whole_site = SubspaceInterchange(torch.eye(d))
    return DasControls(
        nothing=task.accuracy(SubspaceInterchange(elsewhere, strength=0.0), test),
        whole=task.accuracy(whole_site, test),
        random=task.accuracy(SubspaceInterchange(elsewhere), test),
        placebo=task.accuracy(NormMatchedPlacebo(step, elsewhere), test),
        arbitrary=task.accuracy(arbitrary, train, targets),
    )
