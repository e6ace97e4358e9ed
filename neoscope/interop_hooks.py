"""TransformerLens's hooks by name, strict where a hook could silently do nothing."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Literal

from transformer_lens.hook_points import HookFunction
from transformer_lens.HookedRootModule import HookedRootModule

from neoscope.config import NeoConfig
from neoscope.errors import SiteError
from neoscope.site_kinds import MOVED
from neoscope.sites import select

Names = str | Sequence[str] | Callable[[str], bool] | None


class NamedHooks(HookedRootModule):
    """The part of HookedGPTNeo that hooks sites by name.

    A name that is no site, or whose switch is off, is refused when the hook is added; a predicate
    chooses among the sites that exist, and must match one. Names of TransformerLens 3 work too.
    """

    config: NeoConfig
    if TYPE_CHECKING:
        _switches_on: Callable[[], frozenset[str]]

    def setup(self) -> None:
        """Name all modules; ``blocks.0.hook_q_input`` is ``blocks.0.attn.hook_q_input`` too.

        ``transformer_lens.utilities.get_act_name`` still gives the former.
        """
        super().setup()  # type: ignore[no-untyped-call]  # transformer_lens
        for layer in range(self.config.n_layers):
            for old, new in MOVED.items():
                self.mod_dict[f"blocks.{layer}.{old}"] = self.mod_dict[f"blocks.{layer}.{new}"]

    def _hookable(self, names: Names) -> list[str]:
        """Return the full names that a request means.

        Raises:
            SiteError: A name is no site or is switched off, or a predicate matches none.
        """
        refs = select(self.config, names, switches=self._switches_on())
        if not refs:
            raise SiteError(
                "the predicate matches none of the model's sites; those whose switch is off, "
                "e.g. hook_result before set_use_attn_result(True), do not count"
            )
        return [ref.name for ref in refs]

    def add_hook(
        self,
        name: str | Callable[[str], bool],
        hook: HookFunction,
        dir: Literal["fwd", "bwd"] = "fwd",
        is_permanent: bool = False,
        level: int | None = None,
        prepend: bool = False,
    ) -> None:
        """Add a hook until :meth:`reset_hooks`.

        Args:
            name: A site, or a predicate on full names; a short name means the site in all layers.
            hook: ``hook(tensor, hook=site)``; it may write in place, or return a new tensor.
            dir: ``"bwd"`` sees, and may replace, the gradient.
            is_permanent: Keep it at :meth:`reset_hooks`.
            level: Of which nested ``with model.hooks(...)``; None for none.
            prepend: Before the hooks already there.

        Raises:
            SiteError: There is no such site, or its switch is off.
        """
        for one in self._hookable(name):
            super().add_hook(one, hook, dir, is_permanent, level, prepend)

    def _enable_hook(
        self,
        name: str | Callable[[str], bool],
        hook: Callable[..., Any],
        dir: Literal["fwd", "bwd"],
    ) -> None:
        for one in self._hookable(name):
            super()._enable_hook(one, hook, dir)

    def add_caching_hooks(self, names_filter: Names = None, *args: Any, **options: Any) -> Any:
        """Add hooks that fill the returned dict at every run; :meth:`run_with_cache` is simpler.

        Raises:
            SiteError: There is no such site, or its switch is off.
        """
        return super().add_caching_hooks(self._hookable(names_filter), *args, **options)

    def get_caching_hooks(self, names_filter: Names = None, *args: Any, **options: Any) -> Any:
        """Return a dict, and the forward and backward hooks that fill it.

        Raises:
            SiteError: There is no such site, or its switch is off.
        """
        return super().get_caching_hooks(self._hookable(names_filter), *args, **options)
