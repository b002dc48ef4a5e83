"""A LoRA adapter, as PEFT reads it: the change of every matrix as a product of two thin ones, beside an untouched base.

    W' = W + left^T (right W)        lora_B = left^T [d_model rank],  lora_A = right W [rank in],  alpha = rank

All adapters of a file have one rank; thinner ones are filled up with zeros. What a matrix adds is the bias of `lora_B`,
whether the base has one or not; what every token's embedding adds is one more rank, whose A is all ones. Targets are
whole names. Numbers are float32 beside a base of any dtype: PEFT multiplies them in float32 and rounds the sum once,
and a direction that was rounded to bfloat16 would no longer be the one that is taken away.

What has no such form: a change that is not of low rank (`keep` below 1, preserved norms), experts, which are no modules
in transformers 5, and a bias beside an embedding, which PEFT refuses (`lora_bias` holds for all targets or for none).
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any, ClassVar

import torch
from jaxtyping import Float
from safetensors.torch import save_file
from torch import Tensor, nn

from workbench.errors import ModelError, RecipeError, UsageError
from workbench.interventions import LinearMap, Recipe
from workbench.models import Subject, Writer, matrices
from workbench.runs import note, track, write_json
from workbench.weights.applying import embedded_shift
from workbench.weights.checkpoint import Checkpoint
from workbench.weights.compiling import Compiled, compile_recipe
from workbench.weights.edit import WeightEdit
from workbench.weights.export import Export, exports
from workbench.weights.naming import base_of

_AT_ONCE = 1 << 14  # columns of a large matrix that are read together
_EMBEDDINGS = ("embed", "pos_embed")
_PLAIN: dict[str, Any] = {
    "peft_type": "LORA", "task_type": "CAUSAL_LM", "auto_mapping": None, "inference_mode": True, "lora_dropout": 0.0,
    "bias": "none", "use_rslora": False, "use_dora": False, "init_lora_weights": True, "modules_to_save": None,
    "layers_to_transform": None, "layers_pattern": None, "rank_pattern": {}, "alpha_pattern": {},
}  # fmt: skip


@exports.register("lora")
@dataclass(frozen=True)
class Lora(Export):
    """The change alone, for the same base."""

    reloaded_by: ClassVar[str] = "peft"
    library: ClassVar[str] = "peft"
    relation: ClassVar[str] = "adapter"

    def check(self, subject: Subject, recipe: Recipe, edit: WeightEdit) -> None:
        if find_spec("peft") is None:
            raise UsageError(
                "An adapter is read again with peft, which is not installed: pip install 'alignment-workbench[train]'."
            )
        compiled = _compiled(subject, recipe, edit)
        Checkpoint.of(subject)
        _require_thin(subject, compiled, edit)
        if _has_biases(subject, compiled):
            _require_no_embedding(subject, compiled)
        _require_targets(subject, compiled)

    def size(self, subject: Subject, recipe: Recipe) -> int:
        compiled = compile_recipe(subject, recipe)
        return sum(4 * _rank(compiled) * sum(w.matrix(subject).shape) for w in compiled.maps)

    def write(self, subject: Subject, recipe: Recipe, edit: WeightEdit, folder: Path) -> None:
        compiled = _compiled(subject, recipe, edit)
        biases = _has_biases(subject, compiled)
        tensors: dict[str, Tensor] = {}
        with torch.no_grad():
            for writer, change in track(compiled.maps.items(), "Writing the adapter", len(compiled.maps)):
                tensors |= dict(_tensors(subject, writer, change, _rank(compiled), biases))
        save_file(tensors, folder / "adapter_model.safetensors", metadata={"format": "pt"})
        write_json(folder / "adapter_config.json", _config(subject, compiled, biases))
        if any(writer.tied for writer in compiled.maps):
            note("The embedding is tied: the adapter is right as it is, and would be wrong merged into the base.")

    def said(self, subject: Subject, recipe: Recipe, edit: WeightEdit) -> Sequence[str]:
        compiled = _compiled(subject, recipe, edit)
        known = [
            f"{len(compiled.maps)} modules have an adapter of rank {_rank(compiled)}, in float32.",
            f"It was made from the base whose digest is `{subject.digest}`; on any other it is another edit.",
        ]
        if base_of(subject).rounded:
            known.append("That base was read from a quantised file; the hub's weights differ from it by the rounding.")
        if any(writer.tied for writer in compiled.maps):
            known.append(
                "The base's embedding is also its unembedding. The adapter changes what a token writes and not what it "
                "scores; `merge_and_unload` would change both. For merged weights export `hf`."
            )
        return known

    def usage(self, subject: Subject) -> str:
        return (
            "from peft import PeftModel\n"
            "from transformers import AutoModelForCausalLM\n\n"
            f'base = AutoModelForCausalLM.from_pretrained({json.dumps(base_of(subject).name)}, dtype="auto")\n'
            'model = PeftModel.from_pretrained(base, "FOLDER")'
        )


def _compiled(subject: Subject, recipe: Recipe, edit: WeightEdit) -> Compiled:
    """What each writer's output becomes when it is written in this way."""
    found = compile_recipe(subject, recipe)
    return replace(found, maps={writer: edit.mapped(change) for writer, change in found.maps.items()})


def _require_thin(subject: Subject, compiled: Compiled, edit: WeightEdit) -> None:
    """Raise RecipeError where a change is not of low rank."""
    if not edit.low_rank:
        raise RecipeError("This weight edit changes every column, which no adapter of low rank holds; export hf.")
    if not compiled.maps:
        raise RecipeError("The recipe changes no matrix, so that there is no adapter of it.")
    for writer, change in compiled.maps.items():
        if change.keep != 1.0:
            raise RecipeError(f"What {writer} writes shrinks as a whole, which has full rank; export hf, or use hooks.")
        if writer.matrix(subject).ndim == 3:
            raise RecipeError(
                f"{writer} of {subject.name} is written by experts, whose matrices are no modules, and PEFT puts an "
                "adapter beside modules; export hf."
            )


def _require_no_embedding(subject: Subject, compiled: Compiled) -> None:
    """Raise RecipeError where PEFT would have to put a bias beside an embedding."""
    if embedding := next((writer for writer in compiled.maps if writer.component in _EMBEDDINGS), None):
        adding = next(w for w, m in compiled.maps.items() if bool(_bias(subject, w, m).any()))
        raise RecipeError(
            f"{adding} of {subject.name} has to add a vector and {embedding} is edited too, and PEFT allows no bias in "
            "an adapter that has an embedding; export hf, or place what is taken away on attn_out and mlp_out alone."
        )


def _require_targets(subject: Subject, compiled: Compiled) -> None:
    """Raise ModelError where a target's name is no module of the plain model, or the end of another one's."""
    known = _module_names(subject)
    for name in map(_target, compiled.maps):
        same = [other for other in known if other == name or other.endswith(f".{name}")]
        if same != [name]:
            raise ModelError(f"{subject.name} has {len(same)} modules called {name}; an adapter cannot name it.")


def _module_names(subject: Subject) -> list[str]:
    """The names of the modules of the plain model, which the open one is wrapped in others."""
    from transformers import AutoModelForCausalLM

    with torch.device("meta"):
        plain = AutoModelForCausalLM.from_config(subject.bridge.original_model.config, trust_remote_code=False)
    return [name for name, _ in plain.named_modules()]


def _target(writer: Writer) -> str:
    return writer.names[0].removesuffix(".weight")


def _rank(compiled: Compiled) -> int:
    """The one rank of all: that of the thickest, an embedding's shift counted as one more."""
    ranks = [m.rank + (m.shifts and w.component in _EMBEDDINGS) for w, m in compiled.maps.items()]
    return max([1, *ranks])


def _has_biases(subject: Subject, compiled: Compiled) -> bool:
    return any(bool(_bias(subject, writer, change).any()) for writer, change in compiled.maps.items())


def _bias(subject: Subject, writer: Writer, change: LinearMap) -> Float[Tensor, " d_model"]:
    """What a matrix adds after the edit, beyond what its own bias adds; nothing for an embedding."""
    if writer.component in _EMBEDDINGS:
        return torch.zeros(change.d_model)
    old = getattr(writer.module(subject), "bias", None)
    if not isinstance(old, nn.Parameter):
        return change.shift
    return change(old.detach().cpu().float()) - old.detach().cpu().float()


def _tensors(
    subject: Subject, writer: Writer, change: LinearMap, rank: int, biases: bool
) -> Iterator[tuple[str, Tensor]]:
    """One writer's part of the adapter, under PEFT's names."""
    reads, writes = _read(subject, writer, change), change.left.T
    embedding = writer.component in _EMBEDDINGS
    if embedding and (added := embedded_shift(writer, change)) is not None:
        reads = torch.cat([reads, torch.ones(1, reads.shape[1])])
        writes = torch.cat([writes, added[:, None]], dim=1)
    place = f"base_model.model.{_target(writer)}"
    ends = ("lora_embedding_A", "lora_embedding_B") if embedding else ("lora_A.weight", "lora_B.weight")
    yield f"{place}.{ends[0]}", torch.cat([reads, torch.zeros(rank - len(reads), reads.shape[1])])
    filled = torch.zeros(len(writes), rank - writes.shape[1])
    yield f"{place}.{ends[1]}", torch.cat([writes, filled], dim=1).contiguous()
    if biases:
        yield f"{place}.lora_B.bias", _bias(subject, writer, change).clone()  # two may have one shift


def _read(subject: Subject, writer: Writer, change: LinearMap) -> Float[Tensor, "rank in"]:
    """What the change reads of each column, `right W`, a few columns at a time."""
    (matrix,) = matrices(writer.matrix(subject).detach(), writer.live_axis(subject))
    right = change.right.to(matrix.device)
    return torch.cat([right @ columns.float() for columns in matrix.split(_AT_ONCE, dim=1)], dim=1).cpu()


def _config(subject: Subject, compiled: Compiled, biases: bool) -> Mapping[str, Any]:
    base, rank = base_of(subject), _rank(compiled)
    transposed = any(writer.axis == 1 and writer.component not in _EMBEDDINGS for writer in compiled.maps)
    return _PLAIN | {
        "base_model_name_or_path": base.name, "revision": base.revision, "r": rank, "lora_alpha": rank,
        "lora_bias": biases, "fan_in_fan_out": transposed, "target_modules": sorted(map(_target, compiled.maps)),
    }  # fmt: skip
