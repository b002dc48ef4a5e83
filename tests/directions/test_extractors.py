"""Law 10, planted truth: every registered extractor recovers a planted direction, and none from shuffled labels."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from workbench.activations import capture
from workbench.directions import extract_directions
from workbench.directions.extraction import extractors
from workbench.errors import DirectionError
from workbench.interventions import AddHeads, steered
from workbench.models import Site, Subject
from workbench.prompts import Prompts

CONTROL = "random-control"
EXTRACTORS = tuple(name for name in extractors if name != CONTROL)
# It sees the two groups whatever their labels are; its length alone says that the labels mean nothing.
SEES_GROUPS = ("principal-component",)
# It leaves out what the truth has in common with the negative mean, an eighth of it in 64 dimensions.
BY_DESIGN_A_PART = ("projected-difference",)


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
    least = 0.8 if name in BY_DESIGN_A_PART else 0.97
    assert float(torch.nn.functional.normalize(found.float(), dim=0) @ truth) > least


@pytest.mark.parametrize("name", EXTRACTORS)
@given(seed=st.integers(0, 2**31))
@settings(max_examples=15, deadline=None)
def test_finds_nothing_when_labels_are_shuffled(name: str, seed: int) -> None:
    positive, negative, truth = _planted(seed)
    both = torch.cat([positive, negative])[torch.randperm(800, generator=torch.Generator().manual_seed(seed))]
    found = extractors[name](both[:400], both[400:])
    assert float(found.norm()) < 2.0  # noise alone: sqrt(64 * 2 / 400), and what the shuffle leaves of the gap
    if name not in SEES_GROUPS:
        # Along the truth the rows vary by 1 + (gap / 2)^2, so what a shuffle leaves has this standard deviation; the
        # planted gap is 25 of them.
        spread = math.sqrt((1.0 + 4.0) * 2 / 400)
        assert abs(float(found.float() @ truth)) < 6 * spread


@pytest.mark.parametrize("name", tuple(extractors))
def test_directions_point_from_negative_to_positive_and_are_as_long_as_the_gap(name: str) -> None:
    are_as_long_as_the_gap(name)


def are_as_long_as_the_gap(name: str) -> None:
    positive, negative, _ = _planted(3)
    found, back = extractors[name](positive, negative), extractors[name](negative, positive)
    assert found.dtype == torch.float64
    gap = float((positive.double().mean(0) - negative.double().mean(0)) @ (found / found.norm()))
    if name == CONTROL:
        assert abs(gap) < 2.0
        assert float(found.norm()) == pytest.approx(4.0, rel=0.2)
    else:
        assert float(found.norm()) == pytest.approx(gap, rel=1e-6)
        assert float(found @ back) < 0


@pytest.mark.parametrize("name", tuple(extractors))
def test_the_same_activations_give_the_same_direction(name: str) -> None:
    positive, negative, _ = _planted(4)
    assert torch.equal(extractors[name](positive, negative), extractors[name](positive, negative))


@pytest.mark.parametrize("rows", [(1, 1), (1, 3), (3, 2)])
@pytest.mark.parametrize("name", tuple(extractors))
def test_few_rows_give_a_direction_or_say_that_they_are_too_few(name: str, rows: tuple[int, int]) -> None:
    positive, negative, _ = _planted(8)
    try:
        found = extractors[name](positive[: rows[0]], negative[: rows[1]])
    except DirectionError:
        return
    assert found.isfinite().all()
    assert float(found.norm()) > 0


@pytest.mark.parametrize("name", [name for name in extractors if name != CONTROL])
def test_classes_that_do_not_differ_have_no_direction(name: str) -> None:
    positive, _, _ = _planted(9, n=20)
    assert not float(extractors[name](positive, positive).norm()) > 1e-9  # 0, or not a number


def test_the_control_recovers_nothing() -> None:
    positive, negative, truth = _planted(5)
    found = extractors[CONTROL](positive, negative)
    assert abs(float(torch.nn.functional.normalize(found.float(), dim=0) @ truth)) < 0.5


def test_the_projected_difference_leaves_the_negative_mean_alone() -> None:
    positive, negative, _ = _planted(6)
    found = extractors["projected-difference"](positive, negative)
    mean = negative.double().mean(dim=0)
    assert abs(float(found @ mean)) < 1e-6 * float(found.norm() * mean.norm())


def test_the_principal_component_is_sklearns_without_centring() -> None:
    from sklearn.decomposition import TruncatedSVD

    positive, negative, _ = _planted(7, n=60)
    found = extractors["principal-component"](positive, negative)
    expected = TruncatedSVD(1, algorithm="arpack").fit((positive - negative).double().numpy()).components_[0]
    assert abs(float(found / found.norm() @ torch.from_numpy(expected))) == pytest.approx(1.0, abs=1e-9)


def test_difference_in_means_is_the_difference_of_the_means_in_float64() -> None:
    positive, negative = torch.full((3, 2), 1e8) + torch.tensor([[1.0, 0.0]]), torch.full((2, 2), 1e8)
    found = extractors["difference-in-means"](positive, negative)
    assert found.dtype == torch.float64
    torch.testing.assert_close(found, (positive.double().mean(0) - negative.double().mean(0)))


def test_a_direction_of_the_heads_is_found_where_the_heads_are_and_shifts_one_of_them(tiny: Subject) -> None:
    site = Site(1, "attn_heads")
    sides = [
        capture(tiny, Prompts.of(texts), sites=[site], positions=[-1]) for texts in (("Go!", "Run."), ("Why?", "So"))
    ]
    direction = extract_directions(tiny, *sides)[-1, site]
    gap = sides[0].at(site, -1).double().mean(0) - sides[1].at(site, -1).double().mean(0)
    torch.testing.assert_close(direction.unit * direction.scale, gap.float(), atol=1e-4, rtol=1e-3)
    heads = int(tiny.bridge.cfg.n_heads)
    width = tiny.width(site) // heads
    seen: dict[str, torch.Tensor] = {}

    def keep(name: str):  # type: ignore[no-untyped-def]
        return lambda acts, hook: seen.__setitem__(name, acts.flatten(2).clone())

    edited = steered(tiny, AddHeads(direction, 2, heads).at("1.attn_heads"))
    with tiny.hooked([(site, keep("before"))]), edited, tiny.hooked([(site, keep("after"))]):
        tiny.logits(tiny.batch([[7, 8, 9]]))
    change = (seen["after"] - seen["before"])[0]
    expected = torch.zeros_like(gap).float()
    expected[2 * width : 3 * width] = gap.float()[2 * width : 3 * width]
    torch.testing.assert_close(change, expected.expand_as(change), atol=1e-4, rtol=1e-3)
