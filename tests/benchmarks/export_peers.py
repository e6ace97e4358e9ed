"""What people use today to get features out of GPT-Neo, each as its documentation shows it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from sentence_transformers import SentenceTransformer
from sentence_transformers import models as modules
from torch import Tensor
from transformers import AutoTokenizer, GPTNeoModel, pipeline

from tests.benchmarks.harness import Settings


@dataclass(frozen=True)
class Peers:
    """One checkpoint, loaded by each of them."""

    model: Any
    tokenizer: Any
    feature_extraction: Any
    sentences: SentenceTransformer

    def lengths(self, texts: Sequence[str]) -> list[int]:
        """Return the tokens of each text."""
        return [len(ids) for ids in self.tokenizer(list(texts))["input_ids"]]

    def plain_loop(self, texts: Sequence[str]) -> Tensor:
        """Sorted by length, padded batches of 32, base model, masked mean."""
        lengths = self.lengths(texts)
        order = sorted(range(len(texts)), key=lambda i: -lengths[i])
        out = torch.empty(len(texts), self.model.config.hidden_size)
        with torch.inference_mode():
            for start in range(0, len(texts), 32):
                index = order[start : start + 32]
                batch = self.tokenizer(
                    [texts[i] for i in index], padding=True, return_tensors="pt"
                ).to(self.model.device)
                hidden = self.model(**batch, use_cache=False).last_hidden_state
                mask = batch["attention_mask"][..., None].to(hidden.dtype)
                out[index] = ((hidden * mask).sum(1) / mask.sum(1)).float().cpu()
        return out

    def pipeline(self, texts: Sequence[str]) -> Tensor:
        """The feature-extraction pipeline, whose rows are averaged as they come, padding too."""
        found = self.feature_extraction(list(texts), batch_size=16, return_tensors=True)
        return torch.stack([hidden[0].float().mean(0) for hidden in found])

    def sentence_transformers(self, texts: Sequence[str]) -> Tensor:
        """Transformer and Pooling modules, batches of 32."""
        out: Tensor = self.sentences.encode(
            list(texts), batch_size=32, convert_to_tensor=True, show_progress_bar=False
        )
        return out.float().cpu()


def load(folder: Path, settings: Settings, dtype: torch.dtype) -> Peers:
    """Load a checkpoint by all of them, eager attention being all that GPT-Neo has on a CPU."""
    tokenizer = AutoTokenizer.from_pretrained(folder)
    tokenizer.pad_token = tokenizer.eos_token
    model = GPTNeoModel.from_pretrained(folder, dtype=dtype, attn_implementation="eager")
    model = model.to(settings.device).eval()
    transformer = modules.Transformer(
        str(folder), model_kwargs={"dtype": dtype, "attn_implementation": "eager"}
    )
    transformer.tokenizer.pad_token = transformer.tokenizer.eos_token
    pooling = modules.Pooling(model.config.hidden_size, pooling_mode="mean")
    return Peers(
        model,
        tokenizer,
        pipeline("feature-extraction", model=model, tokenizer=tokenizer, device=settings.device),
        SentenceTransformer(modules=[transformer, pooling], device=settings.device),
    )
