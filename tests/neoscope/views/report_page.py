"""A report's page as the tests read it: what it could load or run, and what it says."""

from __future__ import annotations

from html.parser import HTMLParser

QUIET = {"progress": False}
SCRIPT = "<script>alert(1)</script>"


class Page(HTMLParser):
    """Everything in a page that could load or run something."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.loads: list[str] = []
        self.scripts: list[dict[str, str | None]] = []
        self.data: dict[str, str] = {}
        self.text: list[str] = []
        self._into: str | None = None
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        names = {"src", "srcset", "data", "poster", "action", "background"}
        self.loads += [f"{tag} {name}={given[name]}" for name in names & given.keys()]
        href = given.get("href") or "#"
        if not href.startswith("#"):
            self.loads.append(f"{tag} href={href}")
        if any(name.startswith("on") for name in given):
            self.loads.append(f"{tag} {given}")
        if tag == "script":
            self.scripts.append(given)
            self._into = given.get("id") or "code"

    def handle_endtag(self, tag: str) -> None:
        if tag == "script":
            self._into = None

    def handle_data(self, data: str) -> None:
        if self._into is None:
            self.text.append(data)
        else:
            self.data[self._into] = self.data.get(self._into, "") + data
