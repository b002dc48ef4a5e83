"""Checkpoints with known changes, for the audit to find: copies of a folder whose tensors are changed."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.nn.functional import normalize

from workbench.interventions import LinearMap
from workbench.models import Writer, writers_of_folder
from workbench.weights import Orthogonalise, WeightEdit
from workbench.weights.applying import edited_tensor
from workbench.weights.audit import Audit

FILE = "model.safetensors"
Tensors = dict[str, Tensor]


def unit_of(d_model: int = 32, seed: int = 0) -> Tensor:
    return normalize(torch.randn(d_model, generator=torch.Generator().manual_seed(seed)), dim=0)


def copied(folder: Path, out: Path, change: Callable[[Tensors], None], **config: object) -> str:
    """A copy of a model's folder with its tensors changed in place."""
    shutil.copytree(folder, out)
    tensors = load_file(out / FILE)
    change(tensors)
    save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, out / FILE, metadata={"format": "pt"})
    if config:
        said = json.loads((out / "config.json").read_text())
        (out / "config.json").write_text(json.dumps(said | config))
    return str(out)


def edited(folder: Path, out: Path, maps: Callable[[Writer], LinearMap | None], how: WeightEdit | None = None) -> str:
    """A copy whose writers are edited by their maps; a tied embedding is untied."""
    writers = writers_of_folder(folder)

    def change(tensors: Tensors) -> None:
        if writers[0].tied:
            tensors["lm_head.weight"] = tensors[writers[0].names[0]].clone()
        for writer in writers:
            if (found := maps(writer)) is not None:
                for name in writer.names:
                    tensors[name] = edited_tensor(tensors[name], writer.axis, found, how or Orthogonalise(), None)

    return copied(folder, out, change, **({"tie_word_embeddings": False} if writers[0].tied else {}))


def ablated(unit: Tensor, dose: float) -> LinearMap:
    return LinearMap.removing(unit[None] if unit.ndim == 1 else unit, dose)


def in_bfloat16(folder: Path, out: Path) -> Path:
    return Path(copied(folder, out, lambda tensors: tensors.update({k: v.bfloat16() for k, v in tensors.items()})))


def cosine(audit: Audit, unit: Tensor) -> float:
    return float((audit.directions @ unit).norm())


def noise(scale: float, seed: int = 0) -> Callable[[Tensors], None]:
    def change(tensors: Tensors) -> None:
        generator = torch.Generator().manual_seed(seed)
        for name, tensor in tensors.items():
            drawn = torch.randn(tensor.shape, generator=generator)
            tensors[name] = (tensor.float() + scale * tensor.float().std() * drawn).to(tensor.dtype)

    return change


def adapter(rank: int, scale: float, seed: int = 0) -> Callable[[Tensors], None]:
    """A random change of low rank of every matrix but the embeddings."""

    def change(tensors: Tensors) -> None:
        generator = torch.Generator().manual_seed(seed)
        for name, tensor in tensors.items():
            if tensor.ndim == 2 and "embed" not in name and "lm_head" not in name:
                left, right = (torch.randn(side, rank, generator=generator) for side in tensor.shape)
                added = left @ right.T
                added = scale * tensor.float().norm() / added.norm() * added
                tensors[name] = (tensor.float() + added).to(tensor.dtype)

    return change


def shards(folder: Path, out: Path) -> Path:
    """The same checkpoint in two files and an index."""
    shutil.copytree(folder, out)
    tensors = load_file(out / FILE)
    (out / FILE).unlink()
    where = {name: f"model-{index % 2}.safetensors" for index, name in enumerate(sorted(tensors))}
    for file in set(where.values()):
        save_file({name: tensors[name] for name in tensors if where[name] == file}, out / file, {"format": "pt"})
    (out / f"{FILE}.index.json").write_text(json.dumps({"metadata": {}, "weight_map": where}))
    return out
