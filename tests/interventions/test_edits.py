"""Each edit against its equation, drawn by hypothesis, in float32 and bfloat16."""

from dataclasses import replace
from math import cos, radians, sin
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.laws.cases import an_edit
from workbench.directions import Direction, StoredActivation
from workbench.errors import RecipeError
from workbench.interventions import (
    Ablate,
    AblateSubspace,
    Add,
    AddHeads,
    Affine,
    Cap,
    Clamp,
    Edit,
    MeanAblate,
    Placebo,
    Replace,
    Rotate,
)
from workbench.interventions.edit import edits
from workbench.models import Site

_WHERE: dict[str, Any] = {
    "site": Site(0, "resid_pre"), "position": -1, "method": "m", "model_name": "n", "model_digest": "d",
}  # fmt: skip


def _direction(seed: int, d: int = 16, origin: float = 0.0) -> Direction:
    raw = torch.randn(d, generator=torch.Generator().manual_seed(seed))
    return Direction.from_raw(raw, origin * raw / raw.norm(), **_WHERE)


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


class _Stand:
    """Stands in for a Subject where only names and widths are asked for."""

    name, digest, d_model = "n", "d", 16

    def width(self, site: Site) -> int:
        return 16


def _made(name: str, strength: float = 1.0, seed: int = 0) -> Edit:
    """Any registered edit, with random assets 16 wide; heads are four."""
    stand: Any = _Stand()
    stand.bridge = SimpleNamespace(cfg=SimpleNamespace(n_heads=4))
    return an_edit(name, stand, strength, seed)


@given(seed=st.integers(0, 1000), strength=st.floats(0.0, 1.0))
@settings(max_examples=50, deadline=None)
def test_subspace_ablation_removes_its_share_of_the_span_and_nothing_across(seed: int, strength: float) -> None:
    one, two, acts = _direction(seed), _direction(seed + 1), _acts(seed + 2)
    edited = AblateSubspace((one, two), strength)(acts)
    span = torch.linalg.qr(torch.stack([one.unit, two.unit]).double().T).Q  # independent of the edit's own way
    inside = (span @ span.T).float()
    torch.testing.assert_close(edited @ inside, (1 - strength) * acts @ inside, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(edited - edited @ inside, acts - acts @ inside, atol=1e-4, rtol=1e-4)


def test_a_subspace_of_one_direction_twice_is_that_direction() -> None:
    direction, acts = _direction(1), _acts(2)
    torch.testing.assert_close(AblateSubspace((direction, direction))(acts), Ablate(direction)(acts))
    with pytest.raises(RecipeError, match="at least one direction"):
        AblateSubspace(())


@given(seed=st.integers(0, 1000), value=st.floats(-4.0, 4.0), strength=st.floats(0.0, 1.0))
@settings(max_examples=50, deadline=None)
def test_clamp_goes_its_share_of_the_way_to_the_value_and_nowhere_else(
    seed: int, value: float, strength: float
) -> None:
    direction, acts = _direction(seed, origin=1.5), _acts(seed + 1)
    edited = Clamp(direction, value, strength)(acts)
    before, after = direction.coordinate(acts), direction.coordinate(edited)
    torch.testing.assert_close(after, before + strength * (value - before), atol=1e-4, rtol=1e-4)
    across = torch.eye(16) - torch.outer(direction.unit, direction.unit)
    torch.testing.assert_close(edited @ across, acts @ across, atol=1e-4, rtol=1e-4)


@given(seed=st.integers(0, 1000), value=st.floats(-4.0, 4.0))
@settings(max_examples=50, deadline=None)
def test_affine_editing_is_the_papers_formula(seed: int, value: float) -> None:
    negatives, positives, acts = _acts(seed)[0], _acts(seed + 1)[0] + 1, _acts(seed + 2)
    raw, mean = positives.mean(0) - negatives.mean(0), negatives.mean(0)
    direction = Direction.from_raw(raw, mean, **_WHERE)

    def projected(vector: torch.Tensor) -> torch.Tensor:
        return (vector @ raw)[..., None] / (raw @ raw) * raw

    expected = acts - projected(acts) + projected(mean) + value * raw
    torch.testing.assert_close(Affine(direction, value)(acts), expected, atol=1e-3, rtol=1e-3)


@given(seed=st.integers(0, 1000), value=st.floats(-2.0, 2.0), least=st.booleans())
@settings(max_examples=50, deadline=None)
def test_a_cap_bounds_what_is_beyond_it_and_leaves_the_rest_to_the_bit(seed: int, value: float, least: bool) -> None:
    direction, acts = _direction(seed, origin=-0.5), _acts(seed + 1)
    edited = Cap(direction, value, least=least)(acts)
    before, after = direction.coordinate(acts), direction.coordinate(edited)
    bounded = before.clamp(min=value) if least else before.clamp(max=value)
    torch.testing.assert_close(after, bounded, atol=1e-4, rtol=1e-4)
    within = before >= value if least else before <= value
    assert torch.equal(edited[within], acts[within])


@given(seed=st.integers(0, 1000), degrees=st.floats(-180.0, 180.0), share=st.floats(0.0, 1.0))
@settings(max_examples=50, deadline=None)
def test_rotation_keeps_the_length_and_reaches_the_angle(seed: int, degrees: float, share: float) -> None:
    one, two, acts = _direction(seed), _direction(seed + 1), _acts(seed + 2)
    edit = Rotate(one, two, degrees)
    across = two.unit - (two.unit @ one.unit) * one.unit
    plane = torch.stack([one.unit, across / across.norm()])
    for edited in (edit(acts), edit.partly(acts, torch.full((2, 3, 1), share))):
        torch.testing.assert_close(edited.norm(dim=-1), acts.norm(dim=-1), atol=1e-3, rtol=1e-4)
        outside = acts - acts @ plane.T @ plane
        torch.testing.assert_close(edited - edited @ plane.T @ plane, outside, atol=1e-3, rtol=1e-3)
    turned = edit(acts) @ plane.T
    wanted = torch.tensor([cos(radians(degrees)), sin(radians(degrees))]) * turned.norm(dim=-1, keepdim=True)
    torch.testing.assert_close(turned, wanted, atol=2e-3, rtol=2e-3)


def test_an_adaptive_rotation_turns_only_what_leans_towards_the_direction() -> None:
    one, two, acts = _direction(1), _direction(2), _acts(3)
    edited = Rotate(one, two, 120.0, adaptive=True)(acts)
    leans = acts @ one.unit > 0
    assert leans.any()
    assert not leans.all()
    assert torch.equal(edited[~leans], acts[~leans])
    torch.testing.assert_close(edited[leans], Rotate(one, two, 120.0)(acts)[leans])


def test_a_rotation_with_parallel_axes_is_refused() -> None:
    one = _direction(1)
    for other in (one, replace(one, unit=-one.unit)):
        with pytest.raises(RecipeError, match="axes are parallel"):
            Rotate(one, other)


def test_head_addition_shifts_its_head_alone() -> None:
    direction, acts = _direction(1), _acts(2)
    edited = AddHeads(direction, head=2, heads=4, strength=0.5)(acts)
    expected = acts.clone()
    expected[..., 8:12] += 0.5 * direction.scale * direction.unit[8:12]
    torch.testing.assert_close(edited, expected)
    assert torch.equal(AddHeads(direction, head=0, heads=1)(acts), Add(direction)(acts))  # one head is all of it
    for head, heads, says in [(4, 4, "no head 4"), (-1, 4, "no head -1"), (0, 5, "do not divide"), (0, 0, "do not")]:
        with pytest.raises(RecipeError, match=says):
            AddHeads(direction, head, heads)


def test_replacing_puts_the_stored_activation_there_to_the_bit() -> None:
    stored = StoredActivation(torch.randn(16), Site(0, "resid_pre"), "x", "n", "d")
    for kind in (Replace, MeanAblate):
        assert torch.equal(kind(stored)(_acts(1)), stored.values.expand(2, 3, 16))
        torch.testing.assert_close(kind(stored, 0.25)(_acts(1)), 0.75 * _acts(1) + 0.25 * stored.values)


@given(seed=st.integers(0, 1000), strength=st.floats(0.0, 1.0), name=st.sampled_from(sorted(set(edits) - {"placebo"})))
@settings(max_examples=60, deadline=None)
def test_a_placebo_changes_as_much_at_every_token_another_way(seed: int, strength: float, name: str) -> None:
    edit, acts = _made(name, 1.0, seed), _acts(seed + 1)
    change, other = edit(acts) - acts, Placebo(edit, strength, seed)(acts) - acts
    torch.testing.assert_close(other.norm(dim=-1), strength * change.norm(dim=-1), atol=1e-3, rtol=1e-3)


def test_a_placebo_points_where_chance_would_have_it() -> None:
    direction = _direction(0, 512)
    acts = 5 * torch.randn(2, 3, 512, generator=torch.Generator().manual_seed(1))
    change = Ablate(direction)(acts) - acts
    cosines = [
        torch.cosine_similarity(Placebo(Ablate(direction), seed=s)(acts) - acts, change, dim=-1) for s in range(9)
    ]
    assert float(torch.stack(cosines).abs().mean()) < 3 / 512**0.5


@pytest.mark.parametrize("name", list(edits))
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_an_edit_keeps_dtype_and_shape_and_leaves_its_argument_alone(name: str, dtype: torch.dtype) -> None:
    acts = _acts(0).to(dtype)
    kept = acts.clone()
    edited = _made(name)(acts)
    assert (edited.dtype, edited.shape) == (dtype, acts.shape)
    assert torch.equal(acts, kept)
    assert not torch.equal(edited, acts)


@pytest.mark.parametrize("name", list(edits))
def test_a_share_of_an_edit_is_nothing_at_0_and_the_edit_itself_at_1(name: str) -> None:
    edit, acts = _made(name), _acts(0)
    share = torch.tensor([[[0.0], [1.0], [0.5]]]).expand(2, 3, 1)
    partly = edit.partly(acts, share)
    torch.testing.assert_close(partly[:, 0], acts[:, 0])
    torch.testing.assert_close(partly[:, 1], edit(acts)[:, 1])


@pytest.mark.parametrize("name", list(edits))
@pytest.mark.parametrize("strength", [float("nan"), float("inf")])
def test_a_strength_that_is_no_number_is_refused(name: str, strength: float) -> None:
    with pytest.raises(RecipeError, match="strength is"):
        _made(name, strength)


@pytest.mark.parametrize("name", list(edits))
def test_every_edit_tells_front_ends_what_can_be_turned(name: str) -> None:
    controls = edits[name].controls()
    assert "strength" in [item.name for item in controls]
    for item in controls:
        assert item.metadata["low"] <= item.default <= item.metadata["high"]
        assert item.metadata["help"]


@pytest.mark.parametrize("name", list(edits))
def test_mapping_reaches_every_direction(name: str) -> None:
    edit = _made(name)
    turned = edit.mapped(lambda direction: replace(direction, unit=-direction.unit))
    assert len(turned.directions) == len(edit.directions)
    for one, other in zip(edit.directions, turned.directions, strict=True):
        assert torch.equal(one.unit, -other.unit)


def test_ablation_in_bfloat16_leaves_less_than_rounding() -> None:
    direction, acts = _direction(3), _acts(4)
    left = Ablate(direction)(acts.bfloat16()).float() @ direction.unit
    assert float(left.abs().max()) < 2**-7 * float(acts.abs().max())
