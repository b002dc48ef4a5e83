"""Tiny random models of real architectures, built from configs: no download, a second each.

Weights are larger than at initialisation, so that edits move tokens and a law that is broken shows.
"""

from pathlib import Path

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import (
    AutoModelForCausalLM,
    BloomConfig,
    CohereConfig,
    Gemma3TextConfig,
    GPT2Config,
    GPTNeoConfig,
    GraniteConfig,
    Lfm2Config,
    LlamaConfig,
    MixtralConfig,
    MptConfig,
    Phi3Config,
    PretrainedConfig,
    PreTrainedTokenizerFast,
    Qwen2Config,
)

TEMPLATE = (
    "{% for m in messages %}<|{{ m.role }}|>{{ m.content }}<|end|>{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>\n{% endif %}"
)
SPECIAL = ["<|pad|>", "<|end|>", "<|system|>", "<|user|>", "<|assistant|>"]
VOCABULARY = 256 + len(SPECIAL)

_SHAPE = {
    "vocab_size": VOCABULARY,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 256,
    "pad_token_id": 0,
    "bos_token_id": None,
    "eos_token_id": 1,
}
CONFIGS: dict[str, tuple[type[PretrainedConfig], dict[str, object]]] = {
    "llama": (LlamaConfig, _SHAPE | {"architectures": ["LlamaForCausalLM"]}),
    "qwen2": (Qwen2Config, _SHAPE | {"architectures": ["Qwen2ForCausalLM"], "tie_word_embeddings": True}),
    "gemma3": (
        Gemma3TextConfig,
        _SHAPE
        | {
            "architectures": ["Gemma3ForCausalLM"], "head_dim": 8, "sliding_window": 16,
            "layer_types": ["sliding_attention", "sliding_attention", "full_attention"],
        },
    ),
    "gpt2": (
        GPT2Config,
        {
            "architectures": ["GPT2LMHeadModel"], "vocab_size": VOCABULARY, "n_embd": 32, "n_layer": 3, "n_head": 4,
            "n_positions": 256, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 1,
        },
    ),
    "phi3": (Phi3Config, _SHAPE | {"architectures": ["Phi3ForCausalLM"]}),
    "mixtral": (
        MixtralConfig,
        _SHAPE | {"architectures": ["MixtralForCausalLM"], "num_local_experts": 4, "num_experts_per_tok": 2},
    ),
}  # fmt: skip


# Architectures with a trait that the others have not; laws do not go over them.
OTHERS: dict[str, tuple[type[PretrainedConfig], dict[str, object]]] = {
    "bloom": (BloomConfig, {"vocab_size": VOCABULARY, "hidden_size": 32, "n_layer": 2, "n_head": 4}),
    "mpt": (MptConfig, {"vocab_size": VOCABULARY, "d_model": 32, "n_layers": 2, "n_heads": 4, "expansion_ratio": 2}),
    "gpt_neo": (
        GPTNeoConfig,
        {
            "vocab_size": VOCABULARY, "hidden_size": 32, "num_layers": 2, "num_heads": 4, "window_size": 10,
            "attention_types": [[["global", "local"], 1]], "max_position_embeddings": 256,
        },
    ),
    "granite": (GraniteConfig, _SHAPE | {"logits_scaling": 8.0}),
    "cohere": (CohereConfig, _SHAPE | {"logit_scale": 0.0625}),
    "lfm2": (Lfm2Config, _SHAPE | {"layer_types": ["conv", "full_attention", "conv"]}),
}  # fmt: skip


def tokenizer(template: str | None = TEMPLATE) -> PreTrainedTokenizerFast:
    """A byte-level tokenizer: every byte a token, and the template's special tokens."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {token: index for index, token in enumerate([*SPECIAL, *alphabet])}
    base = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    base.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    base.decoder = decoders.ByteLevel()
    made = PreTrainedTokenizerFast(tokenizer_object=base, pad_token="<|pad|>", eos_token="<|end|>")
    made.add_special_tokens({"additional_special_tokens": SPECIAL[2:]})
    made.chat_template = template
    return made


def save_model(architecture: str, folder: Path, *, seed: int = 0, template: str | None = TEMPLATE) -> Path:
    """Write a tiny random model and its tokenizer as a folder of safetensors."""
    kind, options = (CONFIGS | OTHERS)[architecture]
    torch.manual_seed(seed)
    model = AutoModelForCausalLM.from_config(kind(**options))
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if weight.ndim > 1:
                weight.mul_(4.0)
            elif "norm" in name or "ln" in name:
                weight.add_(0.1 * torch.randn_like(weight))
    model.save_pretrained(folder)
    tokenizer(template).save_pretrained(folder)
    return folder
