"""Each edit against its equation, drawn by hypothesis, in float32 and bfloat16."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from workbench.directions import Direction
from workbench.errors import RecipeError
from workbench.interventions import Ablate, Add
from workbench.interventions.edit import edits
from workbench.models import Site


def _direction(seed: int, d: int = 16) -> Direction:
    raw = torch.randn(d, generator=torch.Generator().manual_seed(seed))
    return Direction.from_raw(
        raw, torch.zeros(d), site=Site(0, "resid_pre"), position=-1, method="m", model_name="n", model_digest="d"
    )


def _acts(seed: int) -> torch.Tensor:
    return 5 * torch.randn(2, 3, 16, generator=torch.Generator().manual_seed(seed))


@given(seed=st.integers(0, 1000), strength=st.floats(0.0, 1.0))
@settings(max_examples=50, deadline=None)
def test_ablation_removes_its_share_along_and_nothing_across(seed: int, strength: float) -> None:
    direction, acts = _direction(seed), _acts(seed + 1)
    edited, unit = Ablate(direction, strength)(acts), direction.unit
    torch.testing.assert_close(edited @ unit, (1 - strength) * (acts @ unit), atol=1e-4, rtol=1e-4)
    across = torch.eye(16) - torch.outer(unit, unit)
    torch.testing.assert_close(edited @ across, acts @ across, atol=1e-4, rtol=1e-4)


@given(seed=st.integers(0, 1000), strength=st.floats(-4.0, 4.0))
@settings(max_examples=50, deadline=None)
def test_addition_shifts_by_class_gaps(seed: int, strength: float) -> None:
    direction, acts = _direction(seed), _acts(seed + 1)
    expected = acts + strength * direction.scale * direction.unit
    torch.testing.assert_close(Add(direction, strength)(acts), expected, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("name", list(edits))
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_an_edit_keeps_dtype_and_shape_and_leaves_its_argument_alone(name: str, dtype: torch.dtype) -> None:
    acts = _acts(0).to(dtype)
    kept = acts.clone()
    edited = edits[name](_direction(0))(acts)
    assert (edited.dtype, edited.shape) == (dtype, acts.shape)
    assert torch.equal(acts, kept)
    assert not torch.equal(edited, acts)


@pytest.mark.parametrize("name", list(edits))
@pytest.mark.parametrize("strength", [float("nan"), float("inf")])
def test_a_strength_that_is_no_number_is_refused(name: str, strength: float) -> None:
    with pytest.raises(RecipeError, match="strength is"):
        edits[name](_direction(0), strength)


@pytest.mark.parametrize("name", list(edits))
def test_every_edit_tells_front_ends_what_can_be_turned(name: str) -> None:
    controls = edits[name].controls()
    assert controls
    for item in controls:
        assert item.metadata["low"] <= item.default <= item.metadata["high"]
        assert item.metadata["help"]


def test_ablation_in_bfloat16_leaves_less_than_rounding() -> None:
    direction, acts = _direction(3), _acts(4)
    left = Ablate(direction)(acts.bfloat16()).float() @ direction.unit
    assert float(left.abs().max()) < 2**-7 * float(acts.abs().max())
