"""A packed layer gives the plain layer's bits, whatever its shape and whatever became of its weights."""

from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn.functional import linear

from tests.conftest import REAL
from workbench.models import open_model, packing
from workbench.models.packing import PackedLinear, can_pack, pack_linears

packs = pytest.mark.skipif(not can_pack(), reason="oneDNN multiplies no bfloat16 on this processor")
SIZES = st.integers(1, 300)


def _layer(width: int, height: int, bias: bool = True, seed: int = 0) -> nn.Sequential:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(width, height, bias)).bfloat16()


def test_a_processor_that_cannot_multiply_blocks_gets_plain_layers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.ops.mkldnn, "_is_mkldnn_bf16_supported", lambda: False)
    model, row = _layer(8, 8), torch.randn(1, 8).bfloat16()
    assert pack_linears(model) == 0
    with torch.inference_mode():
        assert torch.equal(model(row), linear(row, model[0].weight, model[0].bias))


@packs
@given(rows=st.integers(1, 80), width=SIZES, height=SIZES, bias=st.booleans(), seed=st.integers(0, 99))
@settings(max_examples=60, deadline=None)
def test_products_are_the_same_bit_for_bit(rows: int, width: int, height: int, bias: bool, seed: int) -> None:
    model = _layer(width, height, bias, seed)
    assert pack_linears(model) == 1
    one, many = torch.randn(1, width).bfloat16(), torch.randn(rows, width).bfloat16()
    with torch.inference_mode():
        for given_rows in (one, many, many[:, None]):
            assert torch.equal(model(given_rows), linear(given_rows, model[0].weight, model[0].bias))
    assert model[0]._packed is not None


@packs
def test_a_large_product_does_not_pack() -> None:
    model = _layer(8, 8)
    pack_linears(model)
    with torch.no_grad():
        model(torch.randn(packing.SMALL + 1, 8).bfloat16())
    assert model[0]._packed is None


@packs
def test_changed_weights_are_packed_again() -> None:
    model, rows = _layer(8, 8), torch.randn(1, 8).bfloat16()
    pack_linears(model)
    with torch.no_grad():
        before = model(rows)
        model[0].weight.mul_(2)
        model[0].bias.zero_()
        assert torch.equal(model(rows), linear(rows, model[0].weight))
        model[0].weight = nn.Parameter(torch.zeros(8, 8).bfloat16())
        assert model(rows).abs().sum() == 0 != before.abs().sum()


@packs
def test_gradients_go_the_plain_way() -> None:
    model, rows = _layer(8, 8), torch.randn(1, 8).bfloat16().requires_grad_()
    pack_linears(model)
    model(rows).sum().backward()
    assert rows.grad is not None
    assert model[0].weight.grad is not None
    assert model[0]._packed is None


@packs
@pytest.mark.parametrize("shape", [(3, 8), (2, 5, 8), (70, 8)])
def test_gradients_through_frozen_weights_are_the_plain_ones(shape: tuple[int, ...]) -> None:
    model = _layer(8, 16)
    model.requires_grad_(False)
    slopes = []
    for packed in (False, True):
        rows = torch.randn(shape, generator=torch.Generator().manual_seed(1)).bfloat16().requires_grad_()
        said = model(rows)
        (said.float() ** 2).sum().backward()
        assert rows.grad is not None
        slopes.append((said.detach(), rows.grad))
        pack_linears(model)
        assert packed or isinstance(model[0], PackedLinear)
    assert torch.equal(slopes[0][0], slopes[1][0])
    torch.testing.assert_close(slopes[0][1], slopes[1][1], atol=2e-2, rtol=2e-2)


@packs
def test_another_weight_at_the_same_address_is_packed_again() -> None:
    model, rows = _layer(8, 8, bias=False), torch.randn(1, 8).bfloat16()
    pack_linears(model)
    with torch.no_grad():
        model(rows)
        storage = model[0].weight.detach()
        storage.copy_(torch.zeros(8, 8))
        model[0]._packed.version = (storage.data_ptr(), nn.Parameter(storage)._version)
        model[0].weight = nn.Parameter(storage)
        assert model(rows).abs().sum() == 0


@packs
def test_a_layer_whose_products_would_differ_is_left_plain(monkeypatch: pytest.MonkeyPatch) -> None:
    model, rows = _layer(8, 8), torch.randn(1, 8).bfloat16()
    pack_linears(model)
    right = packing._product
    monkeypatch.setattr(packing, "_product", lambda *args: right(*args) + 1)
    with torch.no_grad():
        for _ in range(2):
            assert torch.equal(model(rows), linear(rows, model[0].weight, model[0].bias))


@packs
def test_other_layers_and_other_dtypes_are_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    assert pack_linears(nn.Linear(4, 4)) == 0
    mine = type("Mine", (nn.Linear,), {})
    assert pack_linears(mine(4, 4).bfloat16()) == 0
    monkeypatch.setattr(psutil, "virtual_memory", lambda: SimpleNamespace(available=100))
    assert pack_linears(_layer(8, 8)) == 0


@pytest.fixture(params=[pytest.param(name, marks=pytest.mark.real) for name in REAL] + ["qwen2", "gemma3", "mixtral"])
def name(request: pytest.FixtureRequest, tiny_folders: dict[str, Path]) -> str:
    return str(tiny_folders.get(request.param, request.param))


@packs
def test_a_model_says_the_same_with_and_without(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    packed = open_model(name, dtype="bfloat16")
    layers = [m for m in packed.bridge.original_model.modules() if isinstance(m, PackedLinear)]
    rows = [[5, 6, 7, 8], [9, 10]]
    with_it = packed.logits(packed.batch(rows))
    assert any(each._packed is not None for each in layers)
    monkeypatch.setattr(PackedLinear, "forward", nn.Linear.forward)
    assert torch.equal(with_it, packed.logits(packed.batch(rows)))
