"""The cases that are kept hold every pair of two axes, or every value of each."""

from itertools import combinations, product

import pytest

from tests.laws.thinning import kept, met


@pytest.mark.parametrize("lengths", [(16, 8, 6), (3, 6, 6), (16, 2, 6), (17, 9, 7)])
def test_every_pair_meets_and_few_cases_are_kept(lengths: tuple[int, int, int]) -> None:
    axes = [[f"{number:02}" for number in range(length)] for length in lengths]
    every = list(product(*axes))
    found = [place for place in every if kept(place, axes)]
    assert len(found) <= -(-len(every) // min(lengths)) + len(every) // 10
    for one, other in combinations(range(3), 2):
        assert {(place[one], place[other]) for place in found} == set(product(axes[one], axes[other]))


@pytest.mark.parametrize("lengths", [(16, 6), (6, 16), (3, 6, 6), (4, 4)])
def test_every_value_is_met_in_as_many_cases_as_the_longest_axis_has(lengths: tuple[int, ...]) -> None:
    axes = [[f"{axis}-{number:02}" for number in range(length)] for axis, length in enumerate(lengths)]
    found = [place for place in product(*axes) if met(place, axes)]
    assert len(found) == max(lengths)
    for place, axis in enumerate(axes):
        assert {each[place] for each in found} == set(axis)
