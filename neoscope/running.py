"""The ways to run a model beyond calling it: with a cache of its sites, and with edits."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self, cast

import torch
from torch import Tensor
from transformer_lens.HookedRootModule import HookedRootModule

from neoscope.cache import ActivationCache
from neoscope.config import NeoConfig
from neoscope.edit import Edit, compile_edits
from neoscope.errors import SiteError
from neoscope.indices import Positions, whole
from neoscope.inputs import Input, ReturnType, is_text, read_pos_slice
from neoscope.kv_cache import KVCache
from neoscope.recorder import Recorder
from neoscope.run import EditFunction, Site, Watcher
from neoscope.sites import SiteRef, all_sites, select
from neoscope.tokens import Tokens, from_ids

if TYPE_CHECKING:
    from neoscope.model import HookedGPTNeo


@dataclass(frozen=True)
class Span:
    """The layers that a forward walks."""

    start: int | None = None
    stop: int | None = None

    def runs(self, ref: SiteRef, n_layers: int) -> bool:
        """Whether a site is passed."""
        start = -1 if self.start is None else self.start
        stop = n_layers + 1 if self.stop is None else self.stop
        return start <= ref.order(n_layers)[0] < stop

    def __str__(self) -> str:
        """Return the arguments that made it."""
        given = {"start_at_layer": self.start, "stop_at_layer": self.stop}
        return ", ".join(f"{name}={at}" for name, at in given.items() if at is not None)


class Running(HookedRootModule):
    """The part of HookedGPTNeo that caches and edits."""

    config: NeoConfig
    if TYPE_CHECKING:
        tokenize: Callable[..., Tokens]
        _switches_on: Callable[[], frozenset[str]]
        _edit_groups: dict[int, list[tuple[object, tuple[Edit, ...]]]]

    def run_with_cache(  # type: ignore[override]  # its own arguments are keywords here too
        self,
        input: Input,
        attention_mask: Tensor | Sequence[Sequence[int]] | None = None,
        *,
        sites: str | Sequence[str] | None = None,
        layers: int | Sequence[int] | None = None,
        positions: Positions = None,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
        names_filter: str | Sequence[str] | Callable[[str], bool] | None = None,
        pos_slice: Any = None,
        remove_batch_dim: bool = False,
        incl_bwd: bool = False,
        return_type: ReturnType = "logits",
        **options: Any,
    ) -> tuple[Any, ActivationCache]:
        """Run the model and keep what stood at the asked-for sites.

        Args:
            input: As for :meth:`forward`.
            attention_mask: As for :meth:`forward`.
            sites: Site names, short (``"pattern"``) or full; default all.
            layers: Layers of the short names; default all.
            positions: Which positions of each text to keep; padding does not count, -1 is the last
                real token. On scores and patterns it selects queries.
            device: Where cached tensors go; default the model's.
            dtype: What they are kept in; default as computed.
            names_filter: TransformerLens's way to say ``sites``: full names or a predicate.
            pos_slice: TransformerLens's way to say ``positions``: columns, padding counted.
            remove_batch_dim: Drop the batch axis of a batch of one.
            incl_bwd: Also keep the gradient of the loss at each site, as ``name + "_grad"``; needs
                ``return_type="loss"``. No parameter's ``.grad`` is touched.
            return_type: As for :meth:`forward`; None stops after the last wanted site.
            options: The rest of :meth:`forward`'s arguments.

        Returns:
            What :meth:`forward` returns, and the cache. Cached tensors are detached, and never
            change afterwards, whatever an edit does downstream or the caller does to what it gave
            or got.

        Raises:
            SiteError: A site or layer does not exist or is switched off.

        Example:
            >>> import neoscope as ns
            >>> model = ns.HookedGPTNeo.from_config(
            ...     ns.NeoConfig(n_layers=4, d_model=8, n_heads=2, n_ctx=16, d_vocab=10))
            >>> _, cache = model.run_with_cache([[1, 2, 3]], sites="z", layers=[0, 1], positions=-1)
            >>> cache.stack("z").shape
            torch.Size([2, 1, 1, 2, 4])
        """
        if is_text(input):
            text_options = {
                key: options.pop(key)
                for key in ("prepend_bos", "padding_side", "truncate")
                if key in options
            }
            input = self.tokenize(input, **text_options)
        span = self._span(
            options.get("start_at_layer"), options.get("stop_at_layer"), options.get("past")
        )
        recorder = Recorder(
            {ref.name: ref for ref in self._wanted(sites, layers, names_filter, span)},
            positions=positions,
            columns=read_pos_slice(pos_slice),
            device=None if device is None else torch.device(device),
            dtype=dtype,
            keep_graph=incl_bwd,
        )
        if span.start is not None and isinstance(input, Tensor):
            input = input.clone()  # its first site holds it, and the caller may write into it
        with torch.enable_grad() if incl_bwd else contextlib.nullcontext():
            out = self(input, attention_mask, return_type=return_type, _record=recorder, **options)
            if incl_bwd:
                recorder.add_gradients(out)
        if span.stop is not None and isinstance(out, Tensor):
            out = out.clone()  # as does its last
        cache = ActivationCache(
            recorder.tensors,
            self.config,
            tokens=self._token_record(input, attention_mask),
            positions=positions,
            model=cast("HookedGPTNeo", self),
        )
        return out, cache.remove_batch_dim() if remove_batch_dim else cache

    def _wanted(
        self, sites: Any, layers: Any, names_filter: Any, span: Span
    ) -> tuple[SiteRef, ...]:
        if names_filter is not None:
            if sites is not None:
                raise SiteError("give either sites or names_filter, not both")
            sites = names_filter
        on = self._switches_on()
        split = {"use_split_qkv_input", "use_attn_in"} & on
        # With split inputs LayerNorm 1 runs once for each of them: there is no one tensor to keep.
        drop = ("ln1.scale", "ln1.normalized") if split else ()
        wanted = select(self.config, sites, layers, switches=on, drop=drop)
        for ref in wanted:
            if ref.kind.short in drop:
                raise SiteError(
                    f"site {ref.name!r} has several values while {min(split)} is on; switch it off"
                )
        passed = tuple(ref for ref in wanted if span.runs(ref, self.config.n_layers))
        named = sites is not None and not callable(sites)
        if named and len(passed) < len(wanted):
            missed = next(ref.name for ref in wanted if ref not in passed)
            raise SiteError(f"site {missed!r} would not be passed: {span}")
        if not passed:
            raise SiteError("no site was selected: the filter matches none that the run passes")
        return passed

    def _span(
        self, start_at_layer: int | None, stop_at_layer: int | None, past: KVCache | None
    ) -> Span:
        n = self.config.n_layers
        if past is not None and (start_at_layer is not None or stop_at_layer is not None):
            raise SiteError("a KV cache needs every layer: leave out start_at_layer, stop_at_layer")
        found = []
        for name, layer in (("start_at_layer", start_at_layer), ("stop_at_layer", stop_at_layer)):
            number = None if layer is None else whole(layer)
            if layer is not None and (number is None or not -n <= number <= n):
                raise SiteError(f"{name}={layer!r} is out of range; the model has {n} layers")
            found.append(number + n if number is not None and number < 0 else number)
        if found[0] is not None and found[1] is not None and found[0] > found[1]:
            raise SiteError(
                f"start_at_layer={start_at_layer} is after stop_at_layer={stop_at_layer}"
            )
        return Span(*found)

    def _compiled(self, edits: Edit | Sequence[Edit], span: Span) -> dict[str, list[EditFunction]]:
        on = self._switches_on()
        edits = [edits] if isinstance(edits, Edit) else edits
        compiled = compile_edits([*self._edits, *edits], self.config, on)
        if compiled and span != Span():
            for ref in all_sites(self.config, on):
                if ref.name in compiled and not span.runs(ref, self.config.n_layers):
                    raise SiteError(f"an edit of {ref.name!r} would not run: {span}")
        return compiled

    def _last_site(self, recorder: Watcher | None) -> str | None:
        """The last site that a record or a hook needs; None when nothing does."""
        wanted = set(recorder.wanted) if recorder is not None else set()
        hooked = {
            name for name, site in self.hook_dict.items() if isinstance(site, Site) and site.hooked
        }
        names = [
            ref.name
            for ref in all_sites(self.config, self._switches_on())
            if ref.name in wanted or ref.name in hooked
        ]
        return names[-1] if names else None

    def _token_record(self, input: Any, attention_mask: Any) -> Tokens | None:
        if isinstance(input, Tokens):
            return input
        if isinstance(input, Tensor) and input.ndim == 3:
            return None
        ids, mask = from_ids(input, attention_mask, d_vocab=self.config.d_vocab)
        mask = torch.ones_like(ids, dtype=torch.bool) if mask is None else mask
        mask = mask[:, -ids.shape[1] :]  # with a KV cache it may cover past tokens too
        return Tokens(ids=ids.clone(), mask=mask.clone())  # they may be the caller's own

    def run_with_edits(
        self, input: Input, edits: Edit | Sequence[Edit], attention_mask: Any = None, **options: Any
    ) -> Any:
        """Run the model with edits, in order; takes all of :meth:`forward`'s arguments.

        Raises:
            SiteError: An edit's site, layer, head or position does not exist.
            EditError: An edit's value does not fit its site.
        """
        return self(input, attention_mask, edits=edits, **options)

    @contextlib.contextmanager
    def edits(self, *edits: Edit | Sequence[Edit]) -> Iterator[Self]:
        """Make edits part of every run of this thread inside the ``with``.

        They are undone however it is left, and in whatever order several are left.
        """
        flat = [e for item in edits for e in ([item] if isinstance(item, Edit) else item)]
        compile_edits(flat, self.config, self._switches_on())
        thread, entry = threading.get_ident(), (object(), tuple(flat))
        self._edit_groups.setdefault(thread, []).append(entry)
        try:
            yield self
        finally:
            left = [other for other in self._edit_groups[thread] if other[0] is not entry[0]]
            self._edit_groups[thread] = left
            if not left:
                del self._edit_groups[thread]

    @property
    def is_edited(self) -> bool:
        """Whether hooks or edits are in force, so that the model is not what its weights say."""
        hooked = (site.hooked for site in self.hook_dict.values() if isinstance(site, Site))
        return bool(self._edits) or any(hooked)

    @property
    def _edits(self) -> list[Edit]:
        """The edits in force in this thread."""
        groups = self._edit_groups.get(threading.get_ident(), ())
        return [edit for _, group in groups for edit in group]
