"""Microscope: what is on its screen, and what can be done there, as attributes and methods."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from neoscope.errors import ViewError, nearest
from neoscope.views.microscope.desk import MicroscopeDesk
from neoscope.views.microscope.static_page import static_page

if TYPE_CHECKING:
    from jaxtyping import Float
    from torch import Tensor

    from neoscope.analysis.tuned.weights import TunedLens
    from neoscope.cache import ActivationCache
    from neoscope.edits import Edit
    from neoscope.model import HookedGPTNeo
    from neoscope.patching.results.result import PatchingResult


class Microscope:
    """A widget in which a model is read and changed by clicking, in JupyterLab, Notebook, VS Code.

    Type a prompt; click a head to see where it looks, and a token to see what comes next there and
    what each layer would say. Switch heads and MLPs off, steer, patch from a second prompt, and see
    what the model says move beside what it says unedited. Everything on screen is an attribute
    here, and what is set here is shown there. Where no widget can run, a table and a picture of the
    same state stand in its place (``to_html``).

    Args:
        model: With a tokenizer, without hooks or edits in force.
        text: The prompt: up to 512 tokens.
        other: A second prompt, to patch from; token for token as long.
        lens: A :class:`neoscope.analysis.TunedLens` to read layers with; None for the logit lens.
        directions: Names to vectors [d_model] or to linear probes, to steer along. Each is scaled
            to length 1, so that a step's scale is its length.

    Raises:
        MissingExtraError: anywidget is not installed (the extra ``notebook``).
        TokenizationError: The prompt is empty or longer than the context.
        ViewError: A direction does not fit the model, the prompt is longer than 512 tokens, or
            the model is none, or has hooks or edits in force.

    Example:
        >>> import neoscope as ns
        >>> from neoscope.views import Microscope
        >>> model = ns.load("organism")
        >>> scope = Microscope(model, "When Mary and John went to the store, John gave a drink to")
        >>> scope.selected = (2, 1)
        >>> scope.switch_off(2, 1)
        >>> scope.edits
        [ablate('z', layer=2, head=1)]
        >>> scope.logits.shape
        torch.Size([14, 750])
    """

    _desk: MicroscopeDesk

    def __new__(cls, *args: Any, **kwargs: Any) -> Any:
        """Make the widget: its class needs anywidget, so that it is there when it is first made."""
        if cls is not Microscope:
            return super().__new__(cls, *args, **kwargs)
        from neoscope.views.microscope.page_widget import widget_class

        made = widget_class()
        return made.__new__(made)

    def __init__(
        self,
        model: HookedGPTNeo,
        text: str,
        *,
        other: str = "",
        lens: TunedLens | None = None,
        directions: Any = None,
    ) -> None:
        """Run the prompt."""
        self._desk = MicroscopeDesk(model, text, other=other, lens=lens, directions=directions)

    def __setattr__(self, name: str, value: Any) -> None:
        """Set what there is; a name that is misspelt would otherwise change nothing silently."""
        if not name.startswith("_") and not hasattr(type(self), name):
            known = ("text", "other", "selected", "position", "edits")
            raise ViewError(
                f"a microscope has no {name!r} to set{nearest(name, known)}; there are "
                f"{', '.join(known)}"
            )
        super().__setattr__(name, value)

    def __repr__(self) -> str:
        """Return one line: what is on the screen, and where the screen is."""
        edits = "1 edit" if len(self.edits) == 1 else f"{len(self.edits)} edits"
        said = self.text if len(self.text) <= 60 else f"{self.text[:57]}..."
        return (
            f"Microscope({said!r}, head {'.'.join(map(str, self.selected))}, token "
            f"{self.position}, {edits}); it needs a notebook to be clicked on; to_html() is the "
            "same as a page"
        )

    def _refresh(self) -> None:
        """Show what has changed."""

    # ---- what is looked at ----------------------------------------------------------------------

    @property
    def model(self) -> HookedGPTNeo:
        """The model."""
        return self._desk.model

    @property
    def text(self) -> str:
        """The prompt. Setting it runs it, with the edits in force."""
        return self._desk.setting.text

    @text.setter
    def text(self, text: str) -> None:
        self._desk.update(text=text)
        self._refresh()

    @property
    def other(self) -> str:
        """The prompt that patches come from; empty for none."""
        return self._desk.setting.other

    @other.setter
    def other(self, other: str) -> None:
        self._desk.update(other=other)
        self._refresh()

    @property
    def selected(self) -> tuple[int, int]:
        """Layer and head whose pattern is shown."""
        return self._desk.setting.selected

    @selected.setter
    def selected(self, selected: Any) -> None:
        self._desk.update(selected=selected)
        self._refresh()

    @property
    def position(self) -> int:
        """The selected token, from 0. Setting None selects the last, whatever the prompt is."""
        return self._desk.position

    @position.setter
    def position(self, position: int | None) -> None:
        self._desk.update(position=position)
        self._refresh()

    @property
    def edits(self) -> list[Edit]:
        """The edits in force, in order. Setting them runs the prompt with others."""
        return self._desk.edits

    @edits.setter
    def edits(self, edits: Any) -> None:
        self._desk.set_edits(edits)
        self._refresh()

    # ---- what comes out -------------------------------------------------------------------------

    @property
    def cache(self) -> ActivationCache:
        """Every site of the edited run; it is made when it is first asked for."""
        return self._desk.cache()

    @property
    def logits(self) -> Float[Tensor, "pos d_vocab"]:
        """Of the edited run, float32."""
        return self._desk.run.logits

    @property
    def unedited_logits(self) -> Float[Tensor, "pos d_vocab"]:
        """Of the same prompt without edits, float32."""
        return self._desk.base.logits

    @property
    def loss(self) -> float | None:
        """Mean nats a token of the edited run; None for one token."""
        return self._desk.run.loss

    @property
    def patching(self) -> PatchingResult | None:
        """What :meth:`compare` measured last, of these two prompts."""
        found = self._desk.comparison
        return None if found is None else found.result

    def code(self) -> str:
        """Return Python code that runs the prompt with the same edits.

        Raises:
            ViewError: An edit that was set from Python holds a value that cannot be written down.
        """
        return self._desk.code()

    def to_html(self) -> str:
        """Return the current state as HTML without any script: tables and pictures."""
        return static_page(self._desk)

    # ---- what is changed ------------------------------------------------------------------------

    def switch_off(self, layer: Any, head: Any = None, how: str = "zero") -> None:
        """Switch a head or an MLP off.

        Args:
            layer: From 0.
            head: From 0; None for the layer's MLP.
            how: ``"zero"``, or ``"mean"``: the mean over the prompt's own tokens.

        Raises:
            SiteError: There is no such part.
            ViewError: There is no such way.
        """
        self._desk.switch(layer, head, how)
        self._refresh()

    def switch_on(self, layer: int, head: int | None = None) -> None:
        """Switch a head or an MLP on again.

        Args:
            layer: From 0.
            head: From 0; None for the layer's MLP.

        Raises:
            SiteError: There is no such part.
        """
        self._desk.switch(layer, head, "")
        self._refresh()

    def steer(self, name: str, layer: int, scale: Any) -> None:
        """Step along a direction after a block, at every position.

        Args:
            name: One of the directions.
            layer: From 0.
            scale: Length of the step; 0 takes it away.

        Raises:
            ViewError: There is no such direction, or the scale is no number.
            SiteError: There is no such layer.
        """
        self._desk.steer(name, layer, scale)
        self._refresh()

    def compare(self, site: str = "resid_post", *, progress: Any = True) -> PatchingResult:
        """Map what patches from the other prompt do in the unedited model.

        Args:
            site: ``"resid_post"``, by layer and position, or ``"z"``, by head.
            progress: True for a bar after two seconds, False for none, or a function that is told
                how many runs are done, and of how many.

        Returns:
            Effects on logit(the other prompt's likeliest next token) - logit(this prompt's). A
            prompt of more than 32 tokens is patched in blocks of positions.

        Raises:
            ViewError: There is no other prompt, it is not as long, or both have the same answer.
            PatchingError: The prompts do not align token by token.
        """
        found = self._desk.compare(site, progress)
        self._refresh()
        return found.result

    def patch(self, layer: int, *, head: int | None = None, position: int | None = None) -> None:
        """Put values of the other prompt's run there; the same again takes them out.

        Args:
            layer: From 0.
            head: A head, at all positions.
            position: Or a position of the stream after the block.

        Raises:
            ViewError: There is no other prompt, it is not as long, or no place was named.
            SiteError: There is no such place.
        """
        span = None if position is None else (position, position + 1)
        self._desk.patch(layer, head=head, span=span)
        self._refresh()

    def clear(self) -> None:
        """Take all edits out."""
        self._desk.update(changes=())
        self._refresh()
