"""The names of generation's options."""

from __future__ import annotations

NAMED = (
    "max_new_tokens", "max_length", "min_length", "min_new_tokens", "do_sample", "temperature",
    "top_k", "top_p", "min_p", "typical_p", "repetition_penalty", "no_repeat_ngram_size",
    "bad_words_ids", "num_return_sequences", "num_beams", "length_penalty", "early_stopping",
    "stop_strings",
)  # fmt: skip
"""Arguments of ``model.generate`` that are options of transformers."""

OPTIONS = frozenset(NAMED) | {
    "begin_suppress_tokens", "bos_token_id", "encoder_no_repeat_ngram_size",
    "encoder_repetition_penalty", "eos_token_id", "epsilon_cutoff", "eta_cutoff",
    "exponential_decay_length_penalty", "forced_bos_token_id", "forced_eos_token_id", "max_time",
    "pad_token_id", "remove_invalid_values", "renormalize_logits", "sequence_bias",
    "suppress_tokens", "top_h", "watermarking_config",
}  # fmt: skip
"""All options of transformers that are taken here."""

OWN = {
    "attention_mask": "", "edits": "", "generation_config": "", "input_ids": "", "inputs": "",
    "layers": "", "logits_processor": "", "prefix_allowed_tokens_fn": "", "prepend_bos": "",
    "progress": "", "return_cache": "", "return_type": "", "seed": "", "sites": "",
    "stopping_criteria": "", "streamer": "", "tokenizer": "", "use_cache": "",
    "output_attentions": ": return_cache=True keeps attention",
    "output_hidden_states": ": return_cache=True keeps every site",
    "output_logits": ": return_type='result' has log-probabilities",
    "output_scores": ": return_type='result' has log-probabilities",
    "return_dict_in_generate": ": return_type='result' returns more than the text",
}  # fmt: skip
"""What is not transformers' option, or has another name here: where to find it."""

FOREIGN = {
    "assistant_model": "every token is chosen by the model itself",
    "clean_up_tokenization_spaces": "text is returned as the model wrote it",
    "custom_generate": "no code of a checkpoint is run",
    "device": "the model is where neoscope.load(..., device=) put it",
    "device_map": "the model is where neoscope.load(..., device=) put it",
    "dtype": "neoscope.load(..., dtype=) says it",
    "negative_prompt_ids": "there is no guidance by a negative prompt",
    "skip_special_tokens": "text is without special tokens; return_type='tokens' has them",
    "stop": "stop_strings ends a text",
    "stop_sequence": "stop_strings ends a text",
    "synced_gpus": "the model is on one device",
    "torch_dtype": "neoscope.load(..., dtype=) says it",
    "truncation": "cut the prompt yourself; the pipeline takes truncation=True",
}
"""Arguments that others' generation takes, and why not here."""
