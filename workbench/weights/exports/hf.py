"""A plain Hugging Face folder, which transformers, vLLM and others open without the workbench.

1. The folder that the model was opened from is read tensor by tensor, and each is cast to the open model's dtype.
2. The tensors that write to the stream, and their biases, are edited. Each is checked before it is written (law 9).
3. A tied embedding is untied: the old one is written as the unembedding, for an edit of what a token writes is not one
   of what it scores.
4. Shards of at most half a gigabyte; `config.json` comes last, so that a folder that is half there does not load.

Tokenizer, templates and licences are copied. Programs and pickles are not, nor is what refers to them.
"""

import json
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor

from workbench.errors import ModelError
from workbench.interventions import LinearMap, Recipe
from workbench.models import Subject, Writer
from workbench.runs import note, write_json
from workbench.weights.applying import (
    allowed_left,
    edited_bias,
    edited_tensor,
    embedded_shift,
    require_homes,
    write_side,
)
from workbench.weights.checkpoint import Checkpoint, Planned, write_shards
from workbench.weights.compiling import Compiled, compile_recipe
from workbench.weights.edit import WeightEdit
from workbench.weights.export import Export, exports
from workbench.weights.shards import INDEX

_KEPT = ("*.json", "*.jinja", "*.txt", "*.model", "LICENSE*", "NOTICE*")
_AT_ONCE = 1 << 23  # numbers of a large matrix that are edited together


@exports.register("hf")
@dataclass(frozen=True)
class HuggingFace(Export):
    """The edited model, whole."""

    reloaded_by: ClassVar[str] = "transformers"
    library: ClassVar[str] = "transformers"
    relation: ClassVar[str] = "finetune"
    shard_bytes: int = 512 << 20

    def check(self, subject: Subject, recipe: Recipe, edit: WeightEdit) -> None:
        compiled, checkpoint = compile_recipe(subject, recipe), Checkpoint.of(subject)
        require_homes(subject, compiled)
        _edits(subject, compiled, checkpoint, edit)
        for name in checkpoint.entries:
            checkpoint.size(name, subject.dtype)

    def size(self, subject: Subject, recipe: Recipe) -> int:
        checkpoint = Checkpoint.of(subject)
        embedding = sum(checkpoint.size(name, subject.dtype) for _, name in _untied(subject, recipe, checkpoint))
        return embedding + sum(checkpoint.size(name, subject.dtype) for name in checkpoint.entries)

    def write(self, subject: Subject, recipe: Recipe, edit: WeightEdit, folder: Path) -> None:
        checkpoint = Checkpoint.of(subject)
        untied = dict(_untied(subject, recipe, checkpoint))
        if untied:
            note(f"The embedding and the unembedding of {subject.name} are one tensor; they are written as two.")
        edits = _edits(subject, compile_recipe(subject, recipe), checkpoint, edit)
        write_shards(folder, _planned(subject, checkpoint, edits, untied), self.shard_bytes)
        _copy_files(checkpoint.folder, folder)
        write_json(folder / "config.json", _config(checkpoint.config, subject.dtype, bool(untied)))

    def said(self, subject: Subject, recipe: Recipe, edit: WeightEdit) -> Sequence[str]:
        compiled = compile_recipe(subject, recipe)
        known = [f"{_listed(compiled)}; what each writes is changed by a map of rank {compiled.rank} at most."]
        if dict(_untied(subject, recipe, Checkpoint.of(subject))):
            known.append(
                "The embedding and the unembedding were one tensor. They are two here (`tie_word_embeddings` is "
                "false), and the unembedding is the old one: what a token writes was edited, not what it scores."
            )
        return known

    def usage(self, subject: Subject) -> str:
        return (
            "from transformers import AutoModelForCausalLM, AutoTokenizer\n\n"
            'model = AutoModelForCausalLM.from_pretrained("FOLDER", dtype="auto")\n'
            'tokenizer = AutoTokenizer.from_pretrained("FOLDER")'
        )


@dataclass(frozen=True)
class _Edit:
    """What becomes of one tensor of the checkpoint."""

    writer: Writer
    change: LinearMap
    how: WeightEdit
    is_bias: bool = False

    def __call__(self, tensor: Tensor) -> Tensor:
        """The edited tensor. Raises ModelError where it still writes what was taken away (law 9)."""
        if self.is_bias:
            return edited_bias(tensor, self.change)
        added = embedded_shift(self.writer, self.change)
        new = torch.empty_like(tensor, memory_format=torch.contiguous_format)
        for old, place in self._parts(tensor, new):
            place.copy_(edited_tensor(old, self.writer.axis, self.change, self.how, added))
            self._check(place, added)
        return new

    def _parts(self, tensor: Tensor, new: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
        """A few columns at a time, where that is the same: float32 copies of a whole embedding are large."""
        along = 1 - self.writer.axis
        step = max(1, _AT_ONCE // self.change.d_model) if self.how.by_column else tensor.shape[along]
        return zip(tensor.split(step, along), new.split(step, along), strict=True)

    def _check(self, new: Tensor, added: Tensor | None) -> None:
        left = write_side(new, self.writer.axis, self.change, added) if self.how.clears else 0.0
        if not left <= allowed_left(new.dtype):
            raise ModelError(
                f"After the edit {self.writer} still writes {left:.2g} of what was taken away (rounding explains "
                f"{allowed_left(new.dtype):.2g}); nothing was exported."
            )


def _edits(subject: Subject, compiled: Compiled, checkpoint: Checkpoint, edit: WeightEdit) -> dict[str, _Edit]:
    """The tensors of the checkpoint that change. Raises ModelError where one is not there."""
    found: dict[str, _Edit] = {}
    for writer, change in compiled.maps.items():
        mapped = edit.mapped(change)
        found |= {checkpoint.find(name): _Edit(writer, mapped, edit) for name in writer.names}
        if writer.bias is not None:
            found[checkpoint.find(writer.bias)] = _Edit(writer, mapped, edit, is_bias=True)
    return found


def _untied(subject: Subject, recipe: Recipe, checkpoint: Checkpoint) -> Iterator[tuple[str, str]]:
    """The unembedding's name, and the tensor that it is written from, where the embedding is edited and tied."""
    embed = next((w for w in compile_recipe(subject, recipe).maps if w.component == "embed"), None)
    if embed is None or not embed.tied:
        return
    known = subject.bridge.original_model._tied_weights_keys
    if not isinstance(known, Mapping) or len(known) != 1:
        raise ModelError(f"How {subject.name} ties its embedding is not known here; export an adapter (lora).")
    yield next(iter(known)), checkpoint.find(embed.names[0])


def _planned(
    subject: Subject, checkpoint: Checkpoint, edits: Mapping[str, _Edit], untied: Mapping[str, str]
) -> list[Planned]:
    """Every tensor of the new folder, with what makes it."""
    origin = {name: name for name in checkpoint.entries} | dict(untied)
    return [
        Planned(
            name,
            checkpoint.size(source, subject.dtype),
            partial(_made, checkpoint, source, subject.dtype, None if name in untied else edits.get(name)),
        )
        for name, source in origin.items()
    ]


def _made(checkpoint: Checkpoint, name: str, dtype: torch.dtype, edit: _Edit | None) -> Tensor:
    tensor = checkpoint.tensor(name)
    if tensor.is_floating_point():
        tensor = tensor.to(dtype)
    return tensor.contiguous() if edit is None else edit(tensor)


def _config(old: Mapping[str, Any], dtype: torch.dtype, untied: bool) -> dict[str, Any]:
    """The configuration of the new folder; of a model within a model too (`text_config`)."""
    new = {key: value for key, value in old.items() if key not in ("auto_map", "torch_dtype", "_name_or_path")}
    new["dtype"] = str(dtype).removeprefix("torch.")
    if untied:
        new["tie_word_embeddings"] = False
    if isinstance(inner := old.get("text_config"), Mapping):
        new["text_config"] = _config(inner, dtype, untied)
    return new


def _copy_files(source: Path, target: Path) -> None:
    """Tokenizer, templates and licences."""
    for file in sorted({file for pattern in _KEPT for file in source.glob(pattern)}):
        if file.name in ("config.json", INDEX) or not file.is_file():
            continue
        said = _without_code(file) if file.suffix == ".json" else None
        if said is None:
            shutil.copyfile(file, target / file.name)
        else:
            write_json(target / file.name, said)


def _without_code(file: Path) -> Any:
    """What a JSON file says without its references to programs; None where it has none."""
    try:
        said = json.loads(file.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ModelError(f"{file} is not readable JSON ({error}); fetch it again.") from error
    if not isinstance(said, dict) or "auto_map" not in said:
        return None
    return {key: value for key, value in said.items() if key != "auto_map"}


def _listed(compiled: Compiled) -> str:
    """How many matrices change, by what they are."""
    counts: dict[str, int] = {}
    for writer in compiled.maps:
        counts[writer.component] = counts.get(writer.component, 0) + len(writer.names)
    total = sum(counts.values())
    return f"{total} matrices changed ({', '.join(f'{count} {name}' for name, count in counts.items())})"
