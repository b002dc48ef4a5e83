"""Law 10, planted truth: every registered extractor recovers a planted direction, and none from shuffled labels."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from workbench.directions.extraction import extractors

EXTRACTORS = tuple(extractors)


def _planted(seed: int, n: int = 400, d: int = 64, gap: float = 4.0) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    truth = torch.nn.functional.normalize(torch.randn(d, generator=generator), dim=0)
    noise = torch.randn(2 * n, d, generator=generator) + 10.0 * torch.randn(d, generator=generator)
    return noise[:n] + gap * truth, noise[n:], truth


@pytest.mark.parametrize("name", EXTRACTORS)
@given(seed=st.integers(0, 2**31))
@settings(max_examples=15, deadline=None)
def test_recovers_a_planted_direction_up_to_noise(name: str, seed: int) -> None:
    positive, negative, truth = _planted(seed)
    found = extractors[name](positive, negative)
    assert float(torch.nn.functional.normalize(found.float(), dim=0) @ truth) > 0.97


@pytest.mark.parametrize("name", EXTRACTORS)
@given(seed=st.integers(0, 2**31))
@settings(max_examples=15, deadline=None)
def test_finds_nothing_when_labels_are_shuffled(name: str, seed: int) -> None:
    positive, negative, truth = _planted(seed)
    both = torch.cat([positive, negative])[torch.randperm(800, generator=torch.Generator().manual_seed(seed))]
    found = extractors[name](both[:400], both[400:])
    assert float(found.norm()) < 2.0  # noise alone: sqrt(64 * 2 / 400), and what the shuffle leaves of the gap
    assert abs(float(torch.nn.functional.normalize(found.float(), dim=0) @ truth)) < 0.7


def test_difference_in_means_is_the_difference_of_the_means_in_float64() -> None:
    positive, negative = torch.full((3, 2), 1e8) + torch.tensor([[1.0, 0.0]]), torch.full((2, 2), 1e8)
    found = extractors["difference-in-means"](positive, negative)
    assert found.dtype == torch.float64
    torch.testing.assert_close(found, (positive.double().mean(0) - negative.double().mean(0)))
