"""The linear form of an edit is the edit: over every registered edit that says it has one."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.laws.cases import EDITS, an_edit
from workbench.interventions import LinearMap
from workbench.models import Subject

LINEAR = {"ablate", "ablate-subspace", "add", "add-heads", "affine", "clamp", "mean-ablate", "replace"}


def drawn(seed: int, rank: int = 2, width: int = 12, keep: float = 1.0) -> LinearMap:
    generator = torch.Generator().manual_seed(seed)
    left, right = (torch.randn(rank, width, generator=generator) for _ in "ab")
    return LinearMap(left, right, torch.randn(width, generator=generator), keep)


@pytest.mark.parametrize("strength", [1.0, 0.4, -0.7])
@pytest.mark.parametrize("edit", EDITS)
def test_a_linear_form_makes_of_an_activation_what_the_edit_makes_of_it(
    llama: Subject, edit: str, strength: float
) -> None:
    made = an_edit(edit, llama, strength)
    change = made.linear()
    if change is None:
        assert edit not in LINEAR
        return
    acts = 3 * torch.randn(2, 5, change.d_model, generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(change(acts), made(acts), atol=2e-5, rtol=2e-5)


def test_the_edits_that_are_linear_say_so(llama: Subject) -> None:
    assert {edit for edit in EDITS if an_edit(edit, llama).linear() is not None} == LINEAR


@given(seeds=st.tuples(*[st.integers(0, 999)] * 3), keeps=st.tuples(*[st.sampled_from([1.0, 0.3])] * 3))
@settings(max_examples=40, deadline=None)
def test_composing_is_doing_one_after_the_other(seeds: tuple[int, ...], keeps: tuple[float, ...]) -> None:
    one, two, three = (drawn(seed, rank, keep=keep) for seed, rank, keep in zip(seeds, (1, 2, 3), keeps, strict=True))
    acts = torch.randn(4, 12)
    expected = three(two(one(acts)))
    tolerance = 1e-4 * float(expected.abs().max())
    torch.testing.assert_close(one.then(two).then(three)(acts), expected, atol=tolerance, rtol=1e-4)
    torch.testing.assert_close(one.then(two.then(three))(acts), expected, atol=tolerance, rtol=1e-4)


def test_what_is_cleared_is_what_an_ablation_takes_away_whole() -> None:
    basis = torch.linalg.qr(torch.randn(12, 3, generator=torch.Generator().manual_seed(0))).Q.T
    cleared = LinearMap.removing(basis, 1.0).cleared()
    torch.testing.assert_close(cleared.T @ cleared, basis.T @ basis, atol=1e-5, rtol=0)
    assert len(LinearMap.removing(basis, 0.99).cleared()) == 0
    some = LinearMap.removing(basis[:1], 1.0).then(LinearMap.removing(basis[1:], 0.5))
    torch.testing.assert_close((some.cleared() @ basis[0]).abs(), torch.ones(1), atol=1e-5, rtol=0)


def test_nothing_is_cleared_by_a_map_that_only_adds_or_shrinks() -> None:
    assert len(LinearMap.adding(torch.ones(4)).cleared()) == len(LinearMap.keeping(0.5, torch.ones(4)).cleared()) == 0
