"""Logit lens and tuned lens of a cache: every layer's stream read as the output is read.

References: nostalgebraist 2020, "interpreting GPT: the logit lens"; Belrose et al. 2023,
arXiv:2303.08112, "Eliciting latent predictions with the tuned lens".
"""

from __future__ import annotations

from typing import Any

from neoscope.analysis.lens.measure import Reading, mean_offsets, measure
from neoscope.analysis.lens.result import LensResult
from neoscope.analysis.lens.states import STREAMS, entries
from neoscope.analysis.reading import GivenCache, GivenModel, owner
from neoscope.analysis.tuned.weights import GivenLens, as_lens
from neoscope.errors import AnalysisError
from neoscope.indices import Index, Positions


def logit_lens(
    cache: GivenCache,
    model: GivenModel | None = None,
    *,
    layers: Index = None,
    site: str = "resid_post",
    positions: Positions = None,
    k: int = 10,
    targets: Any = None,
    mean_corrected: bool = False,
) -> LensResult:
    """Read what every layer would say, through the final LayerNorm and the unembedding.

    The stream is normalised by its own scale, as the model's output is: the last row of
    ``resid_post`` is the model's output, to the last bit. It is that of the cached run too, unless
    an edit or a hook acted on the final LayerNorm: such a run is refused where the cache holds
    ``ln_final.scale`` or ``ln_final.normalized``, and cannot be told from others where it holds
    neither. A component (``attn_out``, a head) is
    centred, divided by the scale that the final LayerNorm has at that token, and multiplied by its
    gain, without its bias: logits of ``embed``, ``pos_embed`` and all ``attn_out`` and ``mlp_out``
    then add up to the model's but for what the bias says.

    On GPT-Neo the plain lens is known to fail; printed, the result shows how far each row is off.

    Args:
        cache: Of ``resid_pre`` and ``resid_post`` (or the components), with the last layer's
            ``resid_post``. Padding is not read.
        model: Needed for a cache that was loaded from a file.
        layers: Which layers; None for all that were cached, the embeddings first where
            ``resid_pre`` of layer 0 was.
        site: ``"resid_post"``, ``"resid_pre"`` or ``"resid_mid"``; ``"components"`` for embeddings,
            attention and MLP of each layer, or one of ``"embed"``, ``"pos_embed"``, ``"attn_out"``,
            ``"mlp_out"``; ``"heads"`` for what each head writes, z W_O.
        positions: Which positions of each text, -1 its last; None for all.
        k: Top tokens kept.
        targets: Tokens (words or ids) whose probability and rank are wanted at every token.
        mean_corrected: Give each layer's stream the mean that the last one has over these tokens,
            which takes away what a layer has in common at all tokens, such as GPT-Neo's shared
            embedding offset. It needs no training; it is made from the very tokens it is read at.

    Raises:
        AnalysisError: The model is gone or is another than made the cache, a site was not cached,
            the final LayerNorm was edited in that run, or an argument means nothing.
        CacheError: A layer that was asked for was not cached.
        SiteError: There is no such layer or position.

    Example:
        >>> import neoscope as ns
        >>> model = ns.load("organism")
        >>> _, cache = model.run_with_cache("When Mary and John went, John gave a drink to")
        >>> lens = logit_lens(cache, targets=" Mary")
        >>> lens.labels
        ('embed', '0', '1', '2', '3')
        >>> lens.top_tokens[-1, -1, 0], lens.target_rank[:, -1, 0].tolist()[-2:]
        (' Mary', [1, 1])
        >>> float(lens.kl[-1].max())
        0.0
    """
    found = owner(cache, model, "logit_lens")
    rows = entries(cache, found, site, layers, "logit_lens")
    name, translate = "logit", None
    if mean_corrected:
        if site not in STREAMS:
            raise AnalysisError(
                f"mean_corrected=True is for the stream ({', '.join(STREAMS)}), not for {site!r}"
            )
        name = "mean-corrected logit"
        translate = mean_offsets(cache, rows, found, positions)
    reading = Reading(name, site, positions, k, targets, translate)
    return measure(cache, found, rows, reading, "logit_lens")


def tuned_lens(
    cache: GivenCache,
    lens: GivenLens,
    model: GivenModel | None = None,
    *,
    layers: Index = None,
    site: str = "resid_post",
    positions: Positions = None,
    k: int = 10,
    targets: Any = None,
) -> LensResult:
    """Read what every layer would say, through the translators that a lens learned.

    Args:
        cache: As for :func:`logit_lens`.
        lens: Trained for this very model.
        model: Needed for a cache that was loaded from a file.
        layers: As for :func:`logit_lens`.
        site: ``"resid_post"`` or ``"resid_pre"``.
        positions: As for :func:`logit_lens`.
        k: Top tokens kept.
        targets: As for :func:`logit_lens`.

    Raises:
        AnalysisError: As for :func:`logit_lens`; or the lens was trained for another model than the
            one that made the cache, or the site is one for which there are no translators.
    """
    lens = as_lens(lens, "tuned_lens")
    found = owner(cache, model, "tuned_lens")
    lens.check(found)
    if site not in ("resid_post", "resid_pre"):
        raise AnalysisError(
            f"a tuned lens has translators for the stream before and after each block: "
            f"site='resid_post' or 'resid_pre', not {site!r}; logit_lens reads the others"
        )
    rows = entries(cache, found, site, layers, "tuned_lens")
    translators = lens.on(found)

    def translate(x: Any, row: int) -> Any:
        depth = rows[row].depth
        return x if depth is None else translators(x, depth)

    reading = Reading(lens.kind, site, positions, k, targets, translate)
    return measure(cache, found, rows, reading, "tuned_lens")
