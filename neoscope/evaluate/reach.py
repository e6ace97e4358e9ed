"""Does the hub answer? Asked once and briefly, where its own client would try for half a minute."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from typing import Any

_SECONDS = 2.5
"""The most that is waited for an answer; a machine with a network has it in a tenth of that."""


class Reach:
    """Lets ``datasets`` and the hub's client work from their caches where the hub is out of reach.

    It is asked when the first data set of the hub is wanted, and not again.
    """

    def __init__(self) -> None:
        """Ask nothing yet."""
        self.missing: str | None = None
        """What did not answer; None where it did, or was not asked."""
        self._asked = False

    @contextlib.contextmanager
    def needed(self) -> Iterator[None]:
        """Work with the hub, or, where it does not answer, as ``HF_HUB_OFFLINE=1`` does."""
        from huggingface_hub import constants

        if not self._asked and not constants.HF_HUB_OFFLINE:
            self._asked = True
            self.missing = None if answers(constants.ENDPOINT) else constants.ENDPOINT
        with _offline() if self.missing else contextlib.nullcontext():
            yield


def answers(address: str, seconds: float = _SECONDS) -> bool:
    """Return whether anything answers at an address, with whatever it says.

    Args:
        address: Its URL; proxies and certificates are those of the hub's client.
        seconds: The most that is waited, the look-up of the name included.
    """
    from huggingface_hub import get_session

    heard = threading.Event()
    ended = threading.Event()

    def ask() -> None:
        try:
            get_session().head(address, timeout=seconds)
            heard.set()
        except Exception:
            pass
        finally:
            ended.set()

    # A name that nobody looks up waits longer than any timeout of the client's.
    threading.Thread(target=ask, name="neoscope-reach", daemon=True).start()
    ended.wait(seconds)
    return heard.is_set()


@contextlib.contextmanager
def _offline() -> Iterator[None]:
    """Set what ``HF_HUB_OFFLINE=1`` sets, which is read once at import."""
    import datasets
    from huggingface_hub import constants

    places: tuple[Any, ...] = (constants, datasets.config)
    before = [place.HF_HUB_OFFLINE for place in places]
    for place in places:
        place.HF_HUB_OFFLINE = True
    try:
        yield
    finally:
        for place, was in zip(places, before, strict=True):
            place.HF_HUB_OFFLINE = was
