"""Adapters as peft keeps them, written by hand from what a recipe compiles to."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor

from tests.conftest import random_direction
from workbench.directions import Direction
from workbench.interventions import Ablate, AblateSubspace, LinearMap, Recipe
from workbench.models import Subject, Writer, matrices
from workbench.weights import compile_recipe
from workbench.weights.compiling import Compiled

CONFIG = {"peft_type": "LORA", "r": 1, "lora_alpha": 1, "base_model_name_or_path": "someone/base"}


def module_of(subject: Subject, writer: Writer) -> str:
    """As peft names it: by the module of the open model."""
    if subject.model_type == "mixtral" and writer.component == "mlp_out":
        return f"model.layers.{writer.layer}.mlp.experts"
    return writer.names[0].removesuffix(".weight")


def factors(subject: Subject, writer: Writer, change: LinearMap) -> list[tuple[Tensor, Tensor]]:
    """B and A of each matrix: W' = W + left^T (right W). What an embedding adds is a column for every token."""
    found = []
    for matrix in matrices(writer.matrix(subject).detach(), writer.live_axis(subject)):
        left, right = change.left.T, change.right @ matrix.float()
        if writer.component == "embed" and change.shifts:
            left = torch.cat([left, change.shift[:, None]], dim=1)
            right = torch.cat([right, torch.ones(1, matrix.shape[1])])
        if not right.shape[0]:  # peft knows no adapter without factors
            left, right = torch.zeros(len(matrix), 1), torch.zeros(1, matrix.shape[1])
        found.append((left, right))
    return found


def with_bias(subject: Subject, writer: Writer, change: LinearMap) -> Tensor | None:
    """What the map does beyond the matrix: to the module's own bias, and by its shift."""
    if writer.component in ("embed", "pos_embed"):
        return None
    bias = getattr(writer.module(subject), "bias", None)
    own = torch.zeros(subject.d_model) if bias is None else bias.detach()
    added = change(own) - own
    return added if added.any() else None


def adapter(subject: Subject, recipe: Recipe | Compiled, folder: Path, **config: Any) -> Path:
    """Write an adapter by hand, as peft keeps them."""
    compiled = recipe if isinstance(recipe, Compiled) else compile_recipe(subject, recipe)
    tensors: dict[str, Tensor] = {}
    rank = max(compiled.rank, 1)
    said = CONFIG | {"r": rank, "lora_alpha": rank, "rank_pattern": {}} | config
    for writer, change in compiled.maps.items():
        name = f"base_model.model.{module_of(subject, writer)}"
        pairs = factors(subject, writer, change)
        left = torch.stack([left for left, _ in pairs], dim=2).flatten(1)
        right = torch.cat([right for _, right in pairs])
        kind = (
            ("lora_embedding_A", "lora_embedding_B")
            if "embed" in writer.component
            else ("lora_A.weight", "lora_B.weight")
        )
        tensors |= {f"{name}.{kind[0]}": right, f"{name}.{kind[1]}": left}
        rank = pairs[0][0].shape[1]
        if rank != said["r"]:
            said["rank_pattern"] |= {module_of(subject, writer): rank}
            said["alpha_pattern"] = said["rank_pattern"]
        added = with_bias(subject, writer, change)
        if added is not None:
            tensors[f"{name}.lora_B.bias"] = added
            said["lora_bias"] = True
    return save(folder, tensors, said)


def save(folder: Path, tensors: dict[str, Tensor], config: dict[str, Any]) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    save_file(
        {name: tensor.contiguous().clone() for name, tensor in tensors.items()}, folder / "adapter_model.safetensors"
    )
    (folder / "adapter_config.json").write_text(json.dumps(config))
    return folder


def parts(recipe: Recipe) -> Iterator[tuple[Ablate | AblateSubspace, tuple[str, ...]]]:
    for placement in recipe.placements:
        if isinstance(placement.edit, Ablate | AblateSubspace):
            yield placement.edit, placement.sites


def cosine(one: Direction, other: Direction) -> float:
    return abs(float(one.unit @ other.unit))


def everywhere(subject: Subject) -> tuple[str, ...]:
    """The writers, as a recipe names them; Gemma normalises what two of them write."""
    return ("embed",) if subject.model_type.startswith("gemma3") else ("0.resid_pre", "attn_out", "mlp_out")


def read(folder: Path) -> dict[str, Tensor]:
    from safetensors.torch import load_file

    return load_file(folder / "adapter_model.safetensors")


def simple(subject: Subject, folder: Path, **config: Any) -> Path:
    return adapter(subject, Ablate(random_direction(subject)).at("attn_out"), folder, **config)


def orthogonal(one: Direction, other: Direction) -> Direction:
    rest = other.unit - (other.unit @ one.unit) * one.unit
    return Direction.from_raw(
        rest, torch.zeros_like(rest), site=other.site, position=None, method="random", model_name=other.model_name,
        model_digest=other.model_digest,
    )  # fmt: skip
