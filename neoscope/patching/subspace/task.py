"""Task: interchanges of one site at one token, to be answered as a causal model says."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from neoscope.errors import PatchingError, SiteError
from neoscope.patching.engine.cells import BY_HEAD, read_site
from neoscope.patching.metrics.words import answer_ids
from neoscope.patching.prompts.pairs import Prompts
from neoscope.sites import resolve
from neoscope.tokens import Tokens

if TYPE_CHECKING:
    from neoscope.model import HookedGPTNeo


@dataclass(frozen=True, eq=False)
class Task:
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

    def search(
        self,
        pairs: Int[Tensor, "n"],
        targets: Int[Tensor, "pairs"],
        options: Any,
        ran: Callable[[int], None],
    ) -> Any:
        """Fit a subspace; ``ran`` is told of each run how many pairs it holds."""
        from transformer_lens.tools.analysis import fit_das

        def logits(rows: Int[Tensor, "n"]) -> Float[Tensor, "n classes"]:
            ran(len(rows))
            return self.logits(rows)

        with torch.enable_grad():
            return fit_das(
                self.model,
                self.hook,
                pairs,
                pairs + self.n,
                targets[pairs],
                logits,
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


def read_task(
    model: HookedGPTNeo,
    prompts: Prompts,
    site: str,
    layer: int | None,
    position: Any,
    direction: str,
    answer: Any,
    wrong: Any,
    targets: Any,
) -> Task:
    """Read what is searched; see :func:`neoscope.patching.das` for the arguments.

    Raises:
        SiteError: The site is by head, or the position does not exist.
        PatchingError: It is not one position, all answers are the same, or there are no corrupted
            prompts.
    """
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
    return Task(
        model,
        tokens,
        short,
        resolve(model.config, short, layer).name,
        columns[:, 0],
        classes,
        torch.searchsorted(classes, said),
    )
