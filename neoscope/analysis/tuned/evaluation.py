"""How far tuned, debiased and logit lens are from the output, depth by depth, on held-out text."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from neoscope.analysis.given import whole_number
from neoscope.analysis.readout import Readout, Wanted, spans
from neoscope.analysis.result import Result
from neoscope.analysis.tuned.data import read_pieces, streams
from neoscope.errors import AnalysisError
from neoscope.progress import Progress

if TYPE_CHECKING:
    import pandas as pd

    from neoscope.analysis.tuned.weights import TunedLens
    from neoscope.model import HookedGPTNeo


@dataclass(frozen=True, eq=False, repr=False)
class LensEvaluation(Result):
    """KL(the model's output || lens), mean over tokens in nats, of several lenses at every depth.

    Beside it the bias in bits, KL between the mean distributions: of a good lens it is near 0.
    """

    model: str
    lenses: tuple[str, ...]
    labels: tuple[str, ...]
    """``"embed"``, then layers; without the last, which is the output."""
    n_tokens: int
    kl: Float[np.ndarray, "lens depth"]
    bias: Float[np.ndarray, "lens depth"]

    def heading(self) -> str:
        """Return what was compared, on how much."""
        return (
            f"{', '.join(self.lenses)} lens in {self.model}: KL(output || lens) in nats, bias in "
            f"bits, over {self.n_tokens:,} tokens"
        )

    def by_name(self) -> dict[str, list[float]]:
        """Return each lens's KL at every depth."""
        return {name: row.tolist() for name, row in zip(self.lenses, self.kl, strict=True)}

    def to_dataframe(self) -> pd.DataFrame:
        """Return one row a depth, a column for each lens's KL and for its bias."""
        import pandas as pd

        columns: dict[str, Any] = {"layer": self.labels}
        columns |= {f"kl_{name}": row for name, row in zip(self.lenses, self.kl, strict=True)}
        columns |= {
            f"bias_bits_{name}": row for name, row in zip(self.lenses, self.bias, strict=True)
        }
        return pd.DataFrame(columns)


def evaluate(
    model: HookedGPTNeo,
    texts: Any,
    lenses: Mapping[str, TunedLens | None],
    prepend_bos: bool,
    batch_tokens: int,
    progress: bool | Callable[[int, int], None],
) -> LensEvaluation:
    """Compare lenses; see :meth:`TunedLens.evaluate`.

    Args:
        model: The model.
        texts: Held out.
        lenses: By name; None is the logit lens.
        prepend_bos: For texts.
        batch_tokens: Most tokens run at once.
        progress: As there.
    """
    if model.is_edited:
        raise AnalysisError("hooks or edits are in force; leave them before judging a lens")
    for lens in lenses.values():
        if lens is not None:
            lens.check(model)
    batch_tokens = whole_number(batch_tokens, "batch_tokens")
    pieces = read_pieces(model, texts, prepend_bos=prepend_bos, what="judge a lens by")
    judge = _Judge(model, lenses)
    batches = pieces.batches(batch_tokens, 0, 0)
    with Progress(progress, len(batches), "batch") as bar, torch.no_grad():
        for batch in batches:
            judge.see(streams(model, batch))
            bar.update()
    kl, bias = judge.found(pieces.n_tokens)
    return LensEvaluation(
        model=str(model.cfg.model_name),
        lenses=tuple(lenses),
        labels=("embed", *map(str, range(model.config.n_layers - 1))),
        n_tokens=pieces.n_tokens,
        kl=kl,
        bias=bias,
    )


class _Judge:
    """Sums up, chunk by chunk."""

    def __init__(self, model: HookedGPTNeo, lenses: Mapping[str, TunedLens | None]) -> None:
        self.model = model
        self.readers = [None if lens is None else lens.on(model) for lens in lenses.values()]
        self.readout = Readout(model.unembed.rows.detach())
        n, v = model.config.n_layers, model.config.d_vocab
        self.kl = torch.zeros(len(lenses), n, dtype=torch.float64)
        self.mean = torch.zeros(len(lenses) * n + 1, v, device=model.device)

    def see(self, found: list[Tensor]) -> None:
        """Read every depth by every lens."""
        n, device = self.model.config.n_layers, self.model.device
        none = torch.zeros(0, dtype=torch.long, device=device)
        for span in spans(len(found[-1]), self.readout.most):
            size = span.stop - span.start
            wanted = Wanted(1, torch.full((size,), -1, device=device), none)
            self._read(found[-1][span], wanted, -1, refer=True)
            for number, read in enumerate(self.readers):
                for depth, stream in enumerate(found[:-1]):
                    x = stream[span] if read is None else read(stream[span], depth)
                    kl = self._read(x, wanted, number * n + depth)
                    self.kl[number, depth] += float(kl.double().sum())

    def _read(self, x: Tensor, wanted: Wanted, mean: int, *, refer: bool = False) -> Tensor:
        hidden = self.model.ln_final(x)
        return self.readout.read(hidden, wanted, self.mean[mean], refer=refer).kl

    def found(self, n_tokens: int) -> tuple[Any, Any]:
        """Return mean KL in nats, and bias in bits."""
        least = float(np.finfo(np.float32).tiny)
        mean = (self.mean.double() / n_tokens).clamp(min=least).cpu().numpy()
        bits = (mean[-1] * np.log2(mean[-1] / mean[:-1])).sum(1)
        kl = self.kl.numpy() / n_tokens
        return kl, np.maximum(bits, 0).reshape(kl.shape)
