"""A PEFT adapter's files: what its configuration says, and its tensors by the module that they change.

    base_model.model.MODULE.lora_A.weight            [r in]        of a Linear or a Conv1D, and so the next two
    base_model.model.MODULE.lora_B.weight, .bias     [out r], [out]
    base_model.model.MODULE.lora_embedding_A, _B     [r tokens], [d_model r]
    base_model.model.MODULE.base_layer.weight        the embedding itself, as it was when the adapter was made

In all of them the change is B A, out first, times lora_alpha / r, or lora_alpha / sqrt(r) for rslora. `fan_in_fan_out`
says how the base keeps its matrix and changes neither factor. Of the mixture's experts, which one tensor holds, A has
the rows of one after the other and B the columns of all side by side.
"""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import torch
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from safetensors import SafetensorError, safe_open
from torch import Tensor

from workbench.errors import RecipeError, RunError, first_fault
from workbench.runs import read_json

CONFIG, TENSORS = "adapter_config.json", "adapter_model.safetensors"
MERGE = "merge it with peft and open the merged folder instead"
N = TypeVar("N", int, float)

_PREFIX = "base_model.model."
_KEY = re.compile(r"(.+)\.(lora_A\.weight|lora_B\.weight|lora_B\.bias|lora_embedding_[AB]|base_layer\.weight)")
_PARTS = {
    "lora_A.weight": "A", "lora_embedding_A": "A", "lora_B.weight": "B", "lora_embedding_B": "B",
    "lora_B.bias": "bias", "base_layer.weight": "base",
}  # fmt: skip
_OTHER_METHODS = {
    "use_dora": "scales whole columns (DoRA)",
    "modules_to_save": "replaces whole modules (modules_to_save)",
    "layer_replication": "repeats layers (layer_replication)",
    "alora_invocation_tokens": "acts after certain tokens alone (aLoRA)",
    "trainable_token_indices": "replaces the embeddings of some tokens (trainable_token_indices)",
    "ensure_weight_tying": "changes the unembedding too (ensure_weight_tying)",
    "use_qalora": "pools its inputs (QALoRA)",
    "use_bdlora": "is block-diagonal (BD-LoRA)",
    "arrow_config": "routes between adapters (Arrow)",
    "kasa_config": "changes the base's singular values (KaSA)",
    "monteclora_config": "is drawn anew (MonteCLoRA)",
}


class _Config(BaseModel):
    """Of adapter_config.json, what decides the change; the rest tells how it was trained."""

    model_config = ConfigDict(extra="allow", allow_inf_nan=False)

    peft_type: str
    base_model_name_or_path: str | None = None
    r: int = Field(8, ge=1)
    lora_alpha: float = 8.0
    use_rslora: bool = False
    rank_pattern: dict[str, int] | None = None
    alpha_pattern: dict[str, float] | None = None
    target_parameters: list[str] | None = None

    def scaling(self, module: str, rank: int) -> float:
        """By what B A is multiplied, in a module with factors of this rank."""
        expected = _of_module(self.rank_pattern or {}, module, self.r)
        if rank != expected:
            raise RecipeError(f"The adapter's {module} has rank {rank} and its configuration says {expected}.")
        alpha = _of_module(self.alpha_pattern or {}, module, self.lora_alpha)
        return float(alpha) / (math.sqrt(rank) if self.use_rslora else rank)


@dataclass(frozen=True, eq=False)
class Factors:
    """What an adapter says of one module: A, B, and perhaps a bias and the base's own embedding."""

    module: str
    tensors: dict[str, Tensor] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class Adapter:
    """An adapter as it was read; `base` names the model that it says it is of."""

    folder: Path
    config: _Config
    modules: Mapping[str, Factors]

    @property
    def base(self) -> str:
        return self.config.base_model_name_or_path or "a model that it does not name"


def read_adapter(folder: Path) -> Adapter:
    """Read an adapter's folder. Raises RecipeError where it is damaged, no LoRA, or more than one."""
    config = _config(folder)
    if not (folder / TENSORS).is_file():
        pickled = next((name for name in ("adapter_model.bin", "adapter_model.pt") if (folder / name).exists()), None)
        if pickled:
            raise RecipeError(f"{folder / pickled} is a pickle, which runs code; convert it to safetensors.")
        raise RecipeError(f"{folder} has no {TENSORS}; give the folder that peft saved.")
    modules: dict[str, Factors] = {}
    for key, tensor in _tensors(folder / TENSORS).items():
        module, part = _named(folder, key)
        modules.setdefault(module, Factors(module)).tensors[part] = tensor
    for module, factors in modules.items():
        _require_pair(folder, module, factors.tensors)
    if not modules:
        raise RecipeError(f"{folder / TENSORS} holds no tensor; the adapter was saved without its weights.")
    return Adapter(folder, config, modules)


def split(factors: Factors, experts: int) -> list[tuple[Tensor, Tensor]]:
    """The pairs (B, A) of a module: one, or one for each expert."""
    left, right = factors.tensors["B"], factors.tensors["A"]
    if experts == 1:
        return [(left, right)]
    rank = len(right) // experts
    columns = left.reshape(len(left), rank, experts)
    return [(columns[:, :, e], right[e * rank : (e + 1) * rank]) for e in range(experts)]


def _config(folder: Path) -> _Config:
    try:
        config = _Config.model_validate(read_json(folder / CONFIG))
    except ValidationError as error:
        raise RecipeError(f"{folder / CONFIG} is not an adapter's configuration ({first_fault(error)}).") from None
    except RunError as error:
        raise RecipeError(str(error)) from None
    if config.peft_type != "LORA":
        raise RecipeError(f"{folder} is an adapter of the kind {config.peft_type!r}, and LoRA is read; {MERGE}.")
    said: Mapping[str, Any] = config.model_extra or {}
    for name, does in _OTHER_METHODS.items():
        if said.get(name):
            raise RecipeError(f"The adapter in {folder} {does}, and no recipe does that; {MERGE}.")
    return config


def _of_module(pattern: Mapping[str, N], module: str, default: N) -> N:
    """The pattern's value for a module. peft takes its keys for regular expressions; here they are ends of names."""
    for key, value in pattern.items():
        if not re.fullmatch(r"\^?[\w.]+", key, re.ASCII):
            raise RecipeError(f"The adapter's pattern {key!r} is a regular expression, and names are read; {MERGE}.")
        if module == key.removeprefix("^") or (not key.startswith("^") and module.endswith(f".{key}")):
            return value
    return default


def _tensors(file: Path) -> dict[str, Tensor]:
    try:
        with safe_open(file, framework="pt") as tensors:
            found = {key: tensors.get_tensor(key) for key in tensors.keys()}  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise RecipeError(f"{file} is not a safetensors file, or is damaged ({error}).") from error
    for key, tensor in found.items():
        if not tensor.is_floating_point() or not bool(torch.isfinite(tensor.float()).all()):
            raise RecipeError(f"{file}: {key} is not of finite numbers.")
    return found


def _named(folder: Path, key: str) -> tuple[str, str]:
    """The module and the part that a tensor's name says."""
    if ".lora_magnitude_vector" in key:
        raise RecipeError(f"The adapter in {folder} {_OTHER_METHODS['use_dora']}, and no recipe does that; {MERGE}.")
    found = _KEY.fullmatch(key.removeprefix(_PREFIX)) if key.startswith(_PREFIX) else None
    if found is None:
        raise RecipeError(f"The adapter in {folder} holds {key!r}, which is no part of a LoRA; {MERGE}.")
    return found[1], _PARTS[found[2]]


def _require_pair(folder: Path, module: str, tensors: Mapping[str, Tensor]) -> None:
    shapes = {part: tuple(tensor.shape) for part, tensor in tensors.items()}
    left, right = shapes.get("B", ()), shapes.get("A", ())
    if len(left) != 2 or len(right) != 2 or left[1] != right[0] or not right[0]:
        raise RecipeError(f"The adapter in {folder} is damaged: the factors of {module} are {left} and {right}.")
    if "bias" in shapes and shapes["bias"] != left[:1]:
        raise RecipeError(f"The adapter in {folder} is damaged: the bias of {module} is {shapes['bias']}.")
