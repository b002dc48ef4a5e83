"""Geometry: planted clusters and manifolds have the numbers that they were planted with."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize
from scipy.spatial.distance import pdist, squareform
from scipy.stats import special_ortho_group
from sklearn.metrics import pairwise_distances, silhouette_score

from probes.geometry import GeometryTable, geometry, geometry_of, measures, project, projection_of, vocabulary_of
from probes.geometry.plane import faith, planes
from probes.geometry.projection import aligned
from tests.conftest import random_direction
from workbench.activations import Activations
from workbench.activations.activations import Chunk
from workbench.directions import Direction
from workbench.errors import CaptureError, DirectionError, PromptError, UsageError
from workbench.models import Site, Subject
from workbench.prompts import ContrastPairs, Prompts, builtin_prompts

N, LAYERS, D = 100, 3, 24
POSITIVE = np.arange(2 * N) < N
PAIRS = ContrastPairs(
    Prompts.of([f"Do the bad thing number {i}." for i in range(12)], "harmful"),
    Prompts.of([f"Do the <b>good</b> thing number {i}." for i in range(12)], "harmless"),
)


def clouds(gap: float, seed: int = 0) -> Activations:
    """Two round clouds of variance 1 in each layer, `gap` apart along the first axis, all of them 5 off the origin."""
    values = torch.randn(2 * N, 1, LAYERS, D, generator=torch.Generator().manual_seed(seed))
    values[..., 1] += 5.0
    values[:N, ..., 0] += gap
    return held(values)


def held(values: torch.Tensor) -> Activations:
    sites = tuple(Site(layer, "resid_post") for layer in range(values.shape[2]))
    rows = tuple(range(len(values)))
    names = tuple(map(str, rows))
    return Activations((Chunk(rows, values),), sites, (-1,), (None,) * len(rows), names, "none")


@pytest.fixture(scope="module")
def apart() -> GeometryTable:
    return geometry_of(clouds(6.0), POSITIVE)


@pytest.fixture(scope="module")
def nothing() -> GeometryTable:
    return geometry_of(clouds(0.0), POSITIVE)


def test_planted_clusters_have_the_numbers_they_were_planted_with(apart: GeometryTable) -> None:
    fisher = (36 + 2 * D / N) / (2 * D)  # the squared gap of two means of N, against both traces
    noise = np.sqrt(2 / N)  # the deviation of a difference of two means of N along one axis
    for row, shuffled in zip(apart.scores, apart.shuffled, strict=True):
        assert row["norm of the difference"].value == pytest.approx(6.0, abs=4 * noise)
        assert row["gap of the medians"].value == pytest.approx(6.0, abs=4 * noise)
        assert row["Fisher ratio"].value == pytest.approx(fisher, rel=4 * 2 * noise / 6)
        for name, control in shuffled.items():
            assert row[name].low > control.high  # type: ignore[operator]


def test_where_nothing_is_planted_no_measure_is_beyond_shuffled_labels(nothing: GeometryTable) -> None:
    """A difference of means has a length there all the same: sqrt(2 d / n), which is why the control stands beside."""
    for row, shuffled in zip(nothing.scores, nothing.shuffled, strict=True):
        assert row["norm of the difference"].value == pytest.approx(np.sqrt(2 * D / N), rel=0.4)
        for name, control in shuffled.items():
            assert row[name].low < control.high  # type: ignore[operator]
            assert control.low <= control.value <= control.high  # type: ignore[operator]


def test_silhouette_is_that_of_scikit_learn_on_the_points(apart: GeometryTable) -> None:
    for layer, site in enumerate(apart.sites):
        slow = silhouette_score(clouds(6.0).at(site, -1).double().numpy(), POSITIVE)
        assert apart.scores[layer]["silhouette"].value == pytest.approx(slow, abs=1e-9)


def test_the_interval_is_as_wide_as_other_prompts_would_make_it(apart: GeometryTable) -> None:
    """Half-samples tell from one set of prompts what a hundred sets show."""
    names = ("Fisher ratio", "silhouette", "norm of the difference")
    draws = {name: [] for name in names}  # type: ignore[var-annotated]
    for seed in range(1, 101):
        points = clouds(6.0, seed).at(Site(0, "resid_post"), -1).double().numpy()
        draws["Fisher ratio"].append(measures.fisher_ratio(points, POSITIVE))
        draws["silhouette"].append(silhouette_score(points, POSITIVE))
        draws["norm of the difference"].append(np.linalg.norm(points[POSITIVE].mean(0) - points[~POSITIVE].mean(0)))
    for name in names:
        score = apart.scores[0][name]
        assert (score.high - score.low) / 2 == pytest.approx(1.96 * np.std(draws[name]), rel=0.4)  # type: ignore[operator]


@pytest.mark.parametrize("dimension", [1, 2, 4, 8])
def test_the_dimension_of_a_planted_manifold_is_found(dimension: int) -> None:
    """A curved sheet in 24 dimensions: on it neighbours are as many as its own dimension says."""
    draws = np.random.default_rng(dimension)
    inner = draws.uniform(size=(2000, dimension))
    turn = np.linalg.qr(draws.normal(size=(D, 2 * dimension)))[0]
    points = np.concatenate([np.cos(inner), np.sin(inner)], axis=1) @ turn.T
    assert measures.two_nn(pairwise_distances(points)) == pytest.approx(dimension, rel=0.15)


def test_prompts_that_are_given_twice_do_not_change_the_dimension() -> None:
    """Also where one component is massive, as in the stream, and a copy could lie a rounding error away."""
    values = clouds(6.0).values
    values[..., 2] += 500.0
    twice = torch.cat([values[:N], values[:30], values[N:], values[N : N + 30]])
    tables = [geometry_of(held(each), np.arange(len(each)) < len(each) // 2) for each in (values, twice)]
    for once, again in zip(*(table.scores for table in tables), strict=True):
        assert again["TwoNN dimension"].value == pytest.approx(once["TwoNN dimension"].value, rel=1e-9)


def test_the_participation_ratio_counts_the_directions_that_share_the_variance() -> None:
    for wide in (5, 300):  # fewer and more axes than points, which are computed from either side
        points = np.random.default_rng(0).normal(size=(200, wide)) * (np.arange(wide) < 4)
        values = np.linalg.eigvalsh(np.cov(points.T))
        assert measures.participation_ratio(points) == pytest.approx(values.sum() ** 2 / (values**2).sum())
        assert measures.participation_ratio(points) == pytest.approx(4, rel=0.05)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10_000), st.integers(3, 30), st.integers(1, 5))
def test_the_geometric_median_is_the_least_sum_of_distances(seed: int, n: int, d: int) -> None:
    points = np.random.default_rng(seed).standard_t(2, size=(n, d))

    def total(middle: np.ndarray) -> float:
        return float(np.linalg.norm(points - middle, axis=1).sum())

    slow = min(minimize(total, start, method="Nelder-Mead", options={"maxiter": 4000}).fun
               for start in (points.mean(0), np.median(points, axis=0)))  # fmt: skip
    assert total(measures.geometric_median(points)) <= slow * (1 + 1e-4)


def test_a_median_that_is_one_of_the_points_is_found() -> None:
    """Weiszfeld's own step divides by 0 there."""
    cross = np.array([[0.0, 0.0], [1, 0], [-1, 0], [0, 1], [0, -1]])
    assert np.allclose(measures.geometric_median(cross), 0)
    corner = np.array([[0.0, 0.0], [0, 0], [0, 0], [5, 1], [3, 4]])
    assert np.allclose(measures.geometric_median(corner), 0, atol=1e-6)
    # The mean, where the steps begin, is the median too, and the others pull unevenly, by less than three points hold.
    uneven = np.array([[0.0], [0], [0], [-3], [1], [1], [1]])
    assert np.array_equal(measures.geometric_median(uneven), [0.0])


def test_alignment_removes_a_planted_rotation_and_keeps_distances() -> None:
    before = np.random.default_rng(0).normal(size=(40, 2))
    for seed, mirror in ((1, 1), (2, -1)):
        turned = before @ special_ortho_group.rvs(2, random_state=seed) * np.array([mirror, 1])
        assert np.allclose(aligned(turned, before), before)
    other = np.random.default_rng(3).normal(size=(40, 2))
    assert np.allclose(pdist(aligned(other, before)), pdist(other))


def test_planes_do_not_flip_from_layer_to_layer() -> None:
    values = clouds(6.0).values[:, :, :1].repeat(1, 1, 4, 1)
    values[:, :, 1] *= -1
    values[:, :, 3] = values[:, :, 3].flip(-1)
    found = projection_of(held(values), POSITIVE, ("a",) * (2 * N))
    assert np.allclose(found.points, found.points[:1], atol=1e-4)
    share = np.linalg.svd(values[:, 0, 0].numpy() - values[:, 0, 0].numpy().mean(0), compute_uv=False) ** 2
    assert found.held is not None
    assert found.held[0] == pytest.approx(share[:2].sum() / share.sum(), rel=1e-4)


@pytest.mark.parametrize("name", list(planes))
def test_every_plane_keeps_planted_clouds_apart_and_says_how_faithful_it_is(name: str) -> None:
    acts = held(clouds(12.0).values[:, :, :1])
    one, other = (projection_of(acts, POSITIVE, ("a",) * (2 * N), method=name) for _ in range(2))
    assert np.array_equal(one.points, other.points)
    gaps = squareform(pdist(one.points[0]))
    np.fill_diagonal(gaps, np.inf)
    assert (POSITIVE[gaps.argmin(axis=1)] == POSITIVE).mean() > 0.95
    plane = one.points[0]
    drawn = np.random.default_rng(0).permutation(plane)
    points = acts.at(acts.sites[0], -1).double().numpy()
    assert faith(points, drawn) < 0.6 < one.faith[0] <= 1.0
    assert (one.held is not None) == (name == "pca")
    assert one.method == name


def test_on_a_model_there_are_tables_and_figures_and_the_model_is_as_before(llama: Subject) -> None:
    batch = llama.batch([[1, 2, 3, 4]])
    before = llama.logits(batch)
    table, laid = geometry(llama, PAIRS), project(llama, PAIRS)
    found = vocabulary_of(llama, random_direction(llama))
    assert torch.equal(llama.logits(batch), before)
    assert not llama.bridge.list_hooks()
    assert len(table.to_pandas()) == llama.n_layers * 10 - 1  # the first layer has none before it
    assert repr(table).startswith(f"GeometryTable({llama.n_layers} layers at position -1, 12 positive and 12 negative")
    assert "shuffled labels (n=24), 95 %" in [trace.name for trace in table.plot().data]
    figure = laid.plot()
    assert len(figure.frames) == llama.n_layers == len(figure.layout.sliders[0].steps)
    assert figure.data[1].text[0] == "Do the &lt;b&gt;good&lt;/b&gt; thing number 0."
    assert len(laid.to_pandas()) == llama.n_layers * 24
    assert len(found.to_pandas()) == 40


def test_the_same_seed_gives_the_same_table(llama: Subject) -> None:
    one, other = (geometry(llama, PAIRS, seed=3).rows() for _ in range(2))
    assert one == other


def test_a_direction_that_is_a_token_s_own_names_that_token(tiny: Subject) -> None:
    token = 70
    for matrix, rows in (("embedding", tiny.bridge.W_E), ("unembedding", tiny.bridge.W_U.T)):
        found = vocabulary_of(tiny, along(tiny, rows[token].detach().float()))
        name, cosine = found.tokens[matrix, "top"][0]
        assert (name, cosine) == (tiny.tokenizer.decode([token]), pytest.approx(1.0, abs=1e-5))
        assert name in found.beyond(matrix, "top")
        back = vocabulary_of(tiny, along(tiny, -rows[token].detach().float()))
        assert back.tokens[matrix, "bottom"][0][0] == name


def test_a_random_direction_reaches_no_further_than_random_ones(llama: Subject) -> None:
    for seed in range(5):
        found = vocabulary_of(llama, random_direction(llama, seed=1000 + seed), seed=seed)
        values = [abs(found.tokens[matrix, "top"][0][1] - found.random[matrix, "top"].value)
                  for matrix in ("embedding", "unembedding")]  # fmt: skip
        assert max(values) < 0.25
        assert len(found.beyond("embedding", "top")) <= 2


def along(subject: Subject, vector: torch.Tensor) -> Direction:
    return Direction.from_raw(
        vector, torch.zeros(subject.d_model), scale=1.0, site=Site(1, "resid_pre"), position=-1, method="given",
        model_name=subject.name, model_digest=subject.digest,
    )  # fmt: skip


def test_what_has_no_geometry_is_refused_in_a_sentence(llama: Subject, tiny_subjects: dict[str, Subject]) -> None:
    good = clouds(1.0)
    with pytest.raises(CaptureError, match="200 positive and 0 negative prompts, one class only"):
        geometry_of(good, np.ones(2 * N, dtype=bool))
    with pytest.raises(CaptureError, match="3 positive and 197 negative prompts, too few"):
        geometry_of(good, np.arange(2 * N) < 3)
    with pytest.raises(CaptureError, match="one class only"):
        projection_of(good, np.zeros(2 * N, dtype=bool), ("a",) * (2 * N))
    broken = good.values
    broken[7, 0, 1, 3] = float("nan")
    with pytest.raises(CaptureError, match=r"1 of 200 vectors at 1.resid_post are not finite"):
        geometry_of(held(broken), POSITIVE)
    with pytest.raises(CaptureError, match=r"All 200 vectors at 0.resid_post, position -1, are the same"):
        geometry_of(held(torch.ones(2 * N, 1, 1, D)), POSITIVE)
    with pytest.raises(CaptureError, match="at least 4 points that differ; there are 3"):
        measures.two_nn(pairwise_distances(np.eye(3)))
    with pytest.raises(PromptError, match="locked"):
        geometry(llama, ContrastPairs(builtin_prompts("harmful", "test"), PAIRS.negative))
    with pytest.raises(UsageError, match="261 tokens, so 300"):
        vocabulary_of(llama, random_direction(llama), top=300)
    with pytest.raises(DirectionError, match="find one in"):
        vocabulary_of(llama, random_direction(tiny_subjects["qwen2"]))
