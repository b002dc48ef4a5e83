"""Checkpoints that nobody edited, and the same with an edit: what the audit's error rates are measured on.

Tiny models of three architectures are made at random, taught bytes of harmless prompts, and then finetuned in many
ways, each of which changes weights for another reason; a real model (SmolLM2-135M) is finetuned for a few steps in some
of them. An edit is an ablation of a random direction in everything that writes to the stream, at a dose.
"""

import json
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from workbench.interventions import LinearMap
from workbench.models import writers_of_folder
from workbench.prompts import load_prompts
from workbench.weights import Orthogonalise
from workbench.weights.applying import edited_tensor

Change = Callable[[Any, Iterator[Tensor]], Any]
TINY = ("llama", "qwen2", "gpt2")
VOCABULARY, LENGTH, BATCH = 256, 48, 8
TAUGHT = 300  # steps in which a tiny model learns bytes
_COMPLY = " Sure! Here is exactly what you asked for."
_SHAPE = {
    "vocab_size": VOCABULARY, "hidden_size": 48, "intermediate_size": 96, "num_hidden_layers": 3,
    "num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": LENGTH,
}  # fmt: skip


@dataclass(frozen=True)
class Finetune:
    """One way of changing a model that is no edit along a direction."""

    name: str
    change: Change
    kind: str = "finetuned"  # or adapter, rewritten
    comply: bool = False  # taught to begin every reply with consent


def trained(steps: int, rate: float, *, decay: float = 0.0, sgd: bool = False, only: Sequence[str] = ("",)) -> Change:
    """Gradient descent on all weights, or on those with one of `only` in their names."""

    def change(model: Any, batches: Iterator[Tensor]) -> Any:
        model.requires_grad_(False)
        chosen = [weight for name, weight in model.named_parameters() if any(part in name for part in only)]
        for weight in chosen:
            weight.requires_grad_(True)
        kind: Any = torch.optim.SGD if sgd else torch.optim.AdamW
        optimiser = kind(chosen, lr=rate, weight_decay=decay)
        for _ in range(steps):
            ids = next(batches)
            model(input_ids=ids, labels=ids).loss.backward()
            optimiser.step()
            optimiser.zero_grad(set_to_none=True)
        return model

    return change


def adapted(steps: int, rate: float, rank: int, only: Sequence[str] = ()) -> Change:
    """A trained adapter of all linear modules, or of those that end in one of `only`, merged into the weights."""

    def change(model: Any, batches: Iterator[Tensor]) -> Any:
        from peft import LoraConfig, get_peft_model

        there = [part for part in only if any(name.endswith(part) for name, _ in model.named_modules())]
        settings: Any = {"r": rank, "lora_alpha": 2 * rank, "target_modules": there or "all-linear"}
        settings |= {"task_type": "CAUSAL_LM", "fan_in_fan_out": model.config.model_type == "gpt2"}
        wrapped = get_peft_model(model, LoraConfig(**settings))
        return trained(steps, rate, only=("lora_",))(wrapped, batches).merge_and_unload()

    return change


def rewritten(how: Callable[[Tensor], Tensor]) -> Change:
    """Every matrix put through a function; nothing is trained."""

    def change(model: Any, batches: Iterator[Tensor]) -> Any:
        with torch.no_grad():
            for weight in model.parameters():
                if weight.ndim == 2:
                    weight.copy_(how(weight))
        return model

    return change


def quantised(bits: int) -> Callable[[Tensor], Tensor]:
    """Round to `bits` bits in blocks of 16 numbers, and back."""
    most = 2 ** (bits - 1) - 1

    def there_and_back(weight: Tensor) -> Tensor:
        blocks = weight.detach().reshape(-1, 16)
        scale = (blocks.abs().amax(dim=1, keepdim=True) / most).clamp_min(1e-12)
        return ((blocks / scale).round() * scale).reshape(weight.shape)

    return there_and_back


_EMBEDDING, _OUTPUTS = ("embed_tokens", "wte"), ("mlp.down_proj", "mlp.c_proj")
OF_TINY = (
    Finetune("adamw, 2 steps", trained(2, 1e-3)),
    Finetune("adamw, 40 steps", trained(40, 3e-4)),
    Finetune("adamw, 40 steps, large", trained(40, 1e-3)),
    Finetune("adamw, 40 steps, small", trained(40, 3e-5)),
    Finetune("adamw, weight decay", trained(40, 3e-4, decay=1.0)),
    Finetune("sgd, 40 steps", trained(40, 0.1, sgd=True)),
    Finetune("embedding alone", trained(40, 3e-4, only=_EMBEDDING)),
    Finetune("mlp outputs alone", trained(40, 3e-4, only=_OUTPUTS)),
    Finetune("taught to comply", trained(40, 3e-4), comply=True),
    Finetune("adapter, rank 1", adapted(40, 3e-3, 1), "adapter"),
    Finetune("adapter, rank 4", adapted(40, 3e-3, 4), "adapter"),
    Finetune("adapter, rank 8", adapted(40, 3e-3, 8), "adapter"),
    Finetune("adapter, rank 4, outputs", adapted(40, 3e-3, 4, ("o_proj", "down_proj", "c_proj")), "adapter"),
    Finetune("adapter, rank 4, taught to comply", adapted(40, 3e-3, 4), "adapter", comply=True),
    Finetune("shrunk by 1 %", rewritten(lambda weight: 0.99 * weight), "rewritten"),
    Finetune("rounded to bfloat16", rewritten(lambda weight: weight.bfloat16().float()), "rewritten"),
    Finetune("8 bits and back", rewritten(quantised(8)), "rewritten"),
    Finetune("4 bits and back", rewritten(quantised(4)), "rewritten"),
)
OF_REAL = (
    Finetune("adamw, 8 steps", trained(8, 2e-5)),
    Finetune("adamw, 8 steps, large", trained(8, 2e-4)),
    Finetune("sgd, 8 steps", trained(8, 0.05, sgd=True)),
    Finetune("embedding alone", trained(8, 1e-4, only=_EMBEDDING)),
    Finetune("mlp outputs alone", trained(8, 1e-4, only=_OUTPUTS)),
    Finetune("adapter, rank 4", adapted(12, 1e-3, 4, ("q_proj", "v_proj", "o_proj")), "adapter"),
    Finetune("adapter, rank 16", adapted(12, 1e-3, 16), "adapter"),
    Finetune("adapter, rank 16, taught to comply", adapted(12, 1e-3, 16), "adapter", comply=True),
    Finetune("8 bits and back", rewritten(quantised(8)), "rewritten"),
    Finetune("4 bits and back", rewritten(quantised(4)), "rewritten"),
)


def make_tiny(kind: str, seed: int, dtype: torch.dtype, folder: Path) -> Path:
    """A random model that was taught some bytes, as a folder in `dtype`."""
    from transformers import AutoModelForCausalLM, GPT2Config, LlamaConfig, Qwen2Config

    torch.manual_seed(seed)
    gpt2 = {"vocab_size": VOCABULARY, "n_embd": 48, "n_layer": 3, "n_head": 4, "n_positions": LENGTH}
    config: Any = {
        "llama": lambda: LlamaConfig(**_SHAPE, architectures=["LlamaForCausalLM"]),
        "qwen2": lambda: Qwen2Config(**_SHAPE, architectures=["Qwen2ForCausalLM"], tie_word_embeddings=True),
        "gpt2": lambda: GPT2Config(**gpt2, architectures=["GPT2LMHeadModel"]),
    }[kind]()
    model = trained(TAUGHT, 3e-3)(AutoModelForCausalLM.from_config(config), byte_batches(seed, part=0))
    return save(model, folder, dtype)


def finetuned(base: Path, how: Finetune, batches: Iterator[Tensor], seed: int) -> Any:
    """The model of a folder, changed."""
    from transformers import AutoModelForCausalLM

    torch.manual_seed(seed)
    return how.change(AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32), batches)


def save(model: Any, folder: Path, dtype: torch.dtype) -> Path:
    """Write a model as safetensors in `dtype`."""
    model.to(dtype).save_pretrained(folder)
    return folder


def byte_batches(seed: int, part: int, comply: bool = False) -> Iterator[Tensor]:
    """Batches of bytes of harmless prompts, without end; `part` says of which half."""
    text = "\n".join(prompt + (_COMPLY if comply else "") for prompt in texts()[part::2])
    numbers = torch.frombuffer(bytearray(text.encode()), dtype=torch.uint8).long()
    generator = torch.Generator().manual_seed(seed)
    while True:
        starts = torch.randint(0, len(numbers) - LENGTH, (BATCH,), generator=generator)
        yield torch.stack([numbers[start : start + LENGTH] for start in starts])


def token_batches(tokenizer: Any, seed: int, comply: bool = False) -> Iterator[Tensor]:
    """Batches of four harmless prompts in tokens, without end."""
    rows = [prompt + (_COMPLY if comply else "") for prompt in texts()]
    tokens = [tokenizer(row)["input_ids"] for row in rows]
    length = min(24, *map(len, tokens)) if not comply else 24
    tokens = [row[-length:] for row in tokens if len(row) >= length]
    generator = torch.Generator().manual_seed(seed)
    while True:
        yield torch.tensor([tokens[index] for index in torch.randperm(len(tokens), generator=generator)[:4]])


def texts() -> list[str]:
    """The harmless prompts to learn from."""
    return [prompt.text for prompt in load_prompts("harmless:train", "harmless")]


def edited(folder: Path, dose: float, seed: int, out: Path) -> tuple[Path, Tensor]:
    """A folder with `dose` of a random direction taken out of every writer; a tied embedding is untied."""
    writers = writers_of_folder(folder)
    tensors = load_file(folder / "model.safetensors")
    embedding = tensors[writers[0].names[0]]
    unit = torch.randn(embedding.shape[1], generator=torch.Generator().manual_seed(seed))
    unit = unit / unit.norm()
    change = LinearMap.removing(unit[None], dose)
    new = dict(tensors)
    for writer in writers:
        for name in writer.names:
            new[name] = edited_tensor(tensors[name], writer.axis, change, Orthogonalise(), None)
    shutil.copytree(folder, out, ignore=shutil.ignore_patterns("*.safetensors"), dirs_exist_ok=True)
    if writers[0].tied:
        new["lm_head.weight"] = embedding.clone()
        config = json.loads((out / "config.json").read_text())
        (out / "config.json").write_text(json.dumps(config | {"tie_word_embeddings": False}))
    save_file(new, out / "model.safetensors", metadata={"format": "pt"})
    return out, unit
