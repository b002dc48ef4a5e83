"""Linear layers whose weights are laid out once as the processor's matrix unit wants them.

oneDNN multiplies bfloat16 from blocks. Given plain rows it rearranges them in every call, which is half the time of a
small product: decoding is then bound by that and not by memory. A `PackedLinear` keeps the rearranged copy, made when
a small product is first asked for. The products are the same bit for bit, which each layer checks when it packs.

The copy is as large as the weights; a model that would take more than a quarter of the free memory is not packed.
Weights that change (an edit, a training step) are packed again. Gradients go the plain way.
"""

from dataclasses import dataclass
from typing import Any
from weakref import ref

import torch
from torch import Tensor, nn
from torch.nn.functional import linear

SMALL = 64  # rows; a large product does not wait for its weights to be rearranged
_SHARE = 0.25  # of the free memory


@dataclass
class _Packed:
    """The rearranged copy of a weight as it was at some version; no copy where the products would differ.

    The weight is known by itself too: another one may have come to lie at the same address.
    """

    of: "ref[Tensor]"
    version: tuple[int, int]
    weight: Tensor | None

    def is_of(self, weight: Tensor) -> bool:
        return self.of() is weight and self.version == _version(weight)


def _version(weight: Tensor) -> tuple[int, int]:
    return (weight.data_ptr(), weight._version)


class PackedLinear(nn.Linear):
    """`nn.Linear`, with the same weights, the same result, and less waiting."""

    _packed: _Packed | None = None

    def forward(self, input: Tensor) -> Tensor:
        if input.dtype != torch.bfloat16 or not input.numel():
            return linear(input, self.weight, self.bias)
        if torch.is_grad_enabled() and (input.requires_grad or self.weight.requires_grad):
            return linear(input, self.weight, self.bias) if self.weight.requires_grad else _Through.apply(input, self)
        return self._forward(input)

    def _forward(self, input: Tensor) -> Tensor:
        if self._packed is None or not self._packed.is_of(self.weight):
            if input.numel() // input.shape[-1] > SMALL:
                return linear(input, self.weight, self.bias)
            self._packed = self._pack(input)
        if self._packed.weight is None:
            return linear(input, self.weight, self.bias)
        return _product(input, self._packed.weight, self.bias)

    def _pack(self, input: Tensor) -> _Packed:
        weight = torch.ops.mkldnn._reorder_linear_weight(self.weight.detach(), None)
        same = torch.equal(_product(input, weight, self.bias), linear(input, self.weight, self.bias))
        return _Packed(ref(self.weight), _version(self.weight), weight if same else None)

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name != "_packed"}


class _Through(torch.autograd.Function):
    """The product with weights that do not learn: its gradient is one more product, and nothing is kept for it."""

    @staticmethod
    def forward(context: Any, input: Tensor, layer: PackedLinear) -> Tensor:
        context.layer = layer
        return layer._forward(input)

    @staticmethod
    def backward(context: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        (gradient,) = gradients
        # As a matrix: with more axes, torch would copy the weight for each row of the batch.
        return (gradient.flatten(0, -2) @ context.layer.weight).view(*gradient.shape[:-1], -1), None


def _product(input: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    found: Tensor = torch.ops.mkldnn._linear_pointwise(input, weight, bias, "none", [], "")
    return found


def can_pack() -> bool:
    """Whether oneDNN multiplies bfloat16 on this processor: it wants AVX-512 (or AVX-NE-CONVERT), which many lack."""
    return torch.backends.mkldnn.is_available() and bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())


def pack_linears(model: nn.Module) -> int:
    """Make every plain linear layer of a bfloat16 model on the CPU a PackedLinear; returns how many."""
    import psutil

    layers = [module for module in model.modules() if type(module) is nn.Linear]
    layers = [each for each in layers if each.weight.dtype == torch.bfloat16 and each.weight.device.type == "cpu"]
    size = sum(each.weight.nbytes for each in layers)
    if not can_pack() or size > _SHARE * psutil.virtual_memory().available:
        return 0
    for each in layers:
        each.__class__ = PackedLinear
    return len(layers)
