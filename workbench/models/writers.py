"""The matrices that write to the residual stream: which they are, and along which axis the stream lies in each.

    embed, pos_embed   what a token, and a position, write             [token d_model]
    attn_out           a layer's attention output projection           Linear [d_model in], Conv1D [in d_model]
    mlp_out            a layer's MLP output projection, or its experts' the same; experts [expert d_model in]

The axis is read from the kind of the module, and never guessed from a shape: an output projection may be square. Names
are those of the checkpoint, so that the same table serves an open model and a folder that nobody opens.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from workbench.errors import ModelError
from workbench.models.reading import reading
from workbench.models.subject import Subject

if TYPE_CHECKING:
    from transformers import PretrainedConfig

COMPONENTS = ("embed", "pos_embed", "attn_out", "mlp_out")
_OF_ALL = "experts"
_EXPERTS = "down_proj"  # transformers 5 keeps the output projections of all experts as one tensor of this name


@dataclass(frozen=True)
class Writer:
    """One component's matrix (or, of a mixture, its experts' matrices) that writes to the stream.

    `names` are the tensors of the checkpoint that hold it, `axis` is the stream's in each of them (in the open model's
    own tensor of experts it is the middle one). `bias` is the name of its bias, where it has one. `norm_follows` says
    that what it writes is normalised before it reaches the stream; `tied` that the unembedding is the same tensor;
    `scale` is what its output is multiplied by on its way to the stream (Gemma's embeddings; Granite).
    """

    component: str
    layer: int
    names: tuple[str, ...]
    axis: int
    bias: str | None = None
    norm_follows: bool = False
    tied: bool = False
    scale: float = 1.0

    def __str__(self) -> str:
        return self.component if self.component in ("embed", "pos_embed") else f"{self.layer}.{self.component}"

    def module(self, subject: Subject) -> nn.Module:
        """The module of the open model that holds it."""
        return _module_of(subject.bridge, self)

    def matrix(self, subject: Subject) -> nn.Parameter:
        """The open model's own parameter."""
        module = self.module(subject)
        found = getattr(module, _EXPERTS) if _is_experts(module) else module.weight
        assert isinstance(found, nn.Parameter)
        return found

    def live_axis(self, subject: Subject) -> int:
        """The stream's axis in the open model's parameter."""
        return 1 if self.matrix(subject).ndim == 3 else self.axis


def writers(subject: Subject) -> tuple[Writer, ...]:
    """All writers of an open model, in the order in which they write."""
    return _writers(subject.bridge.adapter.component_mapping, subject.bridge.original_model.config)


def writers_of_folder(folder: Path) -> tuple[Writer, ...]:
    """The same of a folder of safetensors: from its configuration, no weight is read. Raises ModelError."""
    from transformer_lens.factories.architecture_adapter_factory import ArchitectureAdapterFactory
    from transformer_lens.model_bridge.sources._bridge_builder import build_bridge_config_from_hf
    from transformers import AutoConfig

    with reading(folder):
        config = AutoConfig.from_pretrained(folder, trust_remote_code=False)
        kind = (config.architectures or [type(config).__name__])[0]
        built = build_bridge_config_from_hf(config, kind, str(folder), torch.float32)
        adapter = ArchitectureAdapterFactory.select_architecture_adapter(built)
        return _writers(adapter.component_mapping, config)


def _writers(mapping: Any, config: "PretrainedConfig") -> tuple[Writer, ...]:
    """From the bridge's names of the components, and a model of the same configuration without any weights."""
    model = _empty_model(config)
    tied = model.get_output_embeddings().weight is model.get_input_embeddings().weight
    found = [_writer(model, "embed", 0, mapping["embed"].name, "embed_ln" in mapping, tied)]
    if "pos_embed" in mapping:
        found.append(_writer(model, "pos_embed", 0, mapping["pos_embed"].name, False, False))
    blocks = mapping["blocks"]
    parts = blocks.submodules
    after = {"attn_out": "ln1_post" in parts, "mlp_out": "ln2_post" in parts}
    for layer in range(len(model.get_submodule(blocks.name))):
        for component, path in (("attn_out", _attention(parts["attn"])), ("mlp_out", _mlp(parts["mlp"]))):
            name = f"{blocks.name}.{layer}.{path}"
            found.append(_writer(model, component, layer, name, after[component], False))
    return tuple(found)


def _empty_model(config: "PretrainedConfig") -> Any:
    from transformers import AutoModelForCausalLM

    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(config, trust_remote_code=False)
    model.tie_weights()
    return model


def _attention(part: Any) -> str:
    return f"{part.name}.{part.submodules['o'].name}"


def _mlp(part: Any) -> str:
    """Where the MLP's output projection is; of a mixture, its experts."""
    return f"{part.name}.{part.submodules['out'].name}" if "out" in part.submodules else f"{part.name}.{_OF_ALL}"


def _writer(model: Any, component: str, layer: int, path: str, norm_follows: bool, tied: bool) -> Writer:
    try:
        module = model.get_submodule(path)
        _refuse_shared(model.get_submodule(path.rpartition(".")[0]))
        tensor = f"{path}.{_EXPERTS}" if _is_experts(module) else f"{path}.weight"
        axis = 0 if _is_experts(module) else _axis(module)
    except (AttributeError, TypeError) as error:
        where = f"what writes {component} of layer {layer}"
        raise ModelError(
            f"{type(model).__name__} keeps {where} in a way that is not known here ({error}); its weights cannot be "
            "edited, use hooks."
        ) from error
    bias = f"{path}.bias" if getattr(module, "bias", None) is not None else None
    stored, bias_stored = _stored(model, tensor), _stored(model, bias) if bias else ()
    scale = _scale(model.config, component, module)
    return Writer(component, layer, stored, axis, bias_stored[0] if bias else None, norm_follows, tied, scale)


def _scale(config: Any, component: str, module: nn.Module) -> float:
    """What the output is multiplied by: said by the module itself, or by the configuration."""
    if component in ("embed", "pos_embed"):
        named = getattr(module, "scalar_embed_scale", getattr(config, "embedding_multiplier", None))
        return 1.0 if component == "pos_embed" else float(named or 1.0)
    return float(getattr(config, "residual_multiplier", None) or 1.0)


def _axis(module: nn.Module) -> int:
    """Where the stream lies in a module's weight, by its kind."""
    from transformers.pytorch_utils import Conv1D

    kinds: tuple[tuple[type, int], ...] = ((nn.Embedding, 1), (Conv1D, 1), (nn.Linear, 0))
    for kind, axis in kinds:
        if isinstance(module, kind):
            return axis
    raise TypeError(f"it is a {type(module).__name__}")


def _refuse_shared(parent: nn.Module) -> None:
    """Experts that every token passes through write too, and are elsewhere in each architecture."""
    if shared := [name for name, _ in parent.named_children() if "shared" in name]:
        raise TypeError(f"it has {shared[0]} beside its experts")


def _is_experts(module: Any) -> bool:
    """Whether a module holds the projections of all experts as one tensor, each as a Linear would."""
    weight = getattr(module, _EXPERTS, None)
    return isinstance(weight, nn.Parameter) and weight.ndim == 3 and not getattr(module, "is_transposed", False)


def _stored(model: Any, name: str) -> tuple[str, ...]:
    """The names by which a checkpoint keeps the tensor `name`; experts are kept one by one."""
    from transformers.core_model_loading import revert_weight_conversion

    tensor = model.get_parameter(name)
    return tuple(revert_weight_conversion(model, {name: tensor}))


def _module_of(bridge: Any, writer: Writer) -> Any:
    if writer.component in ("embed", "pos_embed"):
        return getattr(bridge, writer.component).original_component
    block = bridge.blocks[writer.layer]
    if writer.component == "attn_out":
        return block.attn.o.original_component
    out = getattr(block.mlp, "out", None)
    return block.mlp.original_component.experts if out is None else out.original_component


def matrices(tensor: Tensor, axis: int) -> Iterator[Tensor]:
    """Views [d_model in] of a writer's tensor with the stream first: one, or one for each expert."""
    for each in tensor if tensor.ndim == 3 else [tensor]:
        yield each if (0 if tensor.ndim == 3 else axis) == 0 else each.T
