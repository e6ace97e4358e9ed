"""Examples for local tasks."""

from __future__ import annotations

import neoscope as ns

TEXTS = [sentence.text for sentence in ns.organism.sentences("ioi", 24)]


CHOICES = [
    {"context": text.rsplit(" ", 1)[0], "choices": ["the castle.", "Mary."], "label": i % 2}
    for i, text in enumerate(TEXTS)
]


PAIRS = [{"good": text, "bad": " ".join(reversed(text.split(" ")))} for text in TEXTS]
