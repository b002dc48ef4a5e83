"""The sweep finds the planted place, in closed form as scikit-learn does fold by fold, and reports on other prompts."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.linear_model import Ridge

from probes.linear import ProbeSettings, sweep_probes
from probes.linear.closed_form import STRENGTHS, penalty_of, ridge_held_out, ridge_line
from probes.linear.folds import grouped_folds
from probes.linear.sweep import Parts, ProbeSweep, all_sites, sweep_of
from tests.probes.planted import GROUPS, POSITIVE, D, N, points, surface
from tests.probes.test_linear_probes import PAIRS
from workbench.activations import Activations
from workbench.activations.activations import Chunk
from workbench.errors import ProbeError, PromptError
from workbench.models import Site, Subject
from workbench.prompts import ContrastPairs, Prompts, builtin_prompts

SITES = tuple(Site(layer, stream) for layer in range(3) for stream in ("resid_post", "mlp_out"))
SOME = np.arange(N) % 3 == 0  # of every topic
PARTS = Parts(POSITIVE[SOME], GROUPS[SOME], GROUPS[SOME] >= 5, surface())
PLANTED = (Site(1, "mlp_out"), -2)
FEW = ProbeSettings(folds=3, inner_folds=2, shuffles=2)
QUICK = ProbeSettings(shuffles=3)


def held(gap: float, values: torch.Tensor | None = None) -> Activations:
    """Noise everywhere but at one place."""
    made = torch.randn(int(SOME.sum()), 2, len(SITES), D, generator=torch.Generator().manual_seed(0))
    made[:, 0, SITES.index(PLANTED[0])] = torch.from_numpy(points(gap)[SOME]).float()
    rows = tuple(range(len(made)))
    chunk = Chunk(rows, made if values is None else values)
    return Activations((chunk,), SITES, (-2, -1), (None,) * len(rows), tuple(map(str, rows)), "none")


def parts() -> Parts:
    shown = PARTS.surface
    return replace(
        PARTS, surface=replace(shown, texts=shown.texts[SOME], lengths=shown.lengths[SOME], first=shown.first[SOME])
    )


@pytest.fixture(scope="module")
def apart() -> ProbeSweep:
    return sweep_of(held(3.0), parts(), QUICK, "planted")


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10_000), st.sampled_from([5, 60]))
def test_the_closed_form_is_scikit_learns_ridge_fitted_without_each_fold(seed: int, width: int) -> None:
    """Fewer features than rows, and more."""
    random = np.random.default_rng(seed)
    x = random.normal(size=(40, width)) * np.geomspace(0.1, 10, width) + 3
    y = random.normal(size=(40, 2)) + 5
    folds = random.permutation(np.arange(40) % 4)
    found = ridge_held_out(x, y, folds)
    for number, strength in enumerate(STRENGTHS):
        alpha = penalty_of(x, strength)
        for fold in range(4):
            slow = Ridge(alpha=alpha, solver="cholesky").fit(x[folds != fold], y[folds != fold])
            assert np.allclose(found[number, folds == fold], slow.predict(x[folds == fold]), atol=1e-7)
        whole = Ridge(alpha=alpha, solver="cholesky").fit(x, y)
        weight, bias = ridge_line(x, y, strength)
        assert np.allclose(weight, whole.coef_.T, atol=1e-7)
        assert np.allclose(bias, whole.intercept_, atol=1e-6)


def test_the_planted_place_is_found_and_reported_on_prompts_apart(apart: ProbeSweep) -> None:
    place, score = apart.best()
    assert place == PLANTED
    assert score.value > 0.95
    assert apart.reported.value > 0.95
    assert (score.n, apart.reported.n) == (int(PARTS.inside.sum()), int((~PARTS.inside).sum()))
    others = [each.value for where, each in zip(apart.places, apart.scores, strict=True) if where != PLANTED]
    assert max(others) < 0.65
    assert 0.45 <= apart.shuffled[apart.places.index(PLANTED)].value <= 0.58  # each shuffle may choose its penalty
    assert max(each.value for each in apart.shuffled) <= apart.shuffled_best < 0.7
    assert apart.controls["words"].value < 0.65
    assert "reads as much" not in repr(apart)


def test_where_nothing_is_planted_the_report_is_not_what_choosing_gives() -> None:
    """The best of twelve places looks like something on the folds; on prompts apart it is gone."""
    found = sweep_of(held(0.0), parts(), QUICK, "nothing")
    assert found.reported.low < 0.5 < found.reported.high  # type: ignore[operator]
    assert found.best()[1].value < found.shuffled_best + 0.05
    assert "its control reads as much" in repr(found)


def test_what_is_reported_on_chooses_and_fits_nothing(apart: ProbeSweep) -> None:
    """Other activations of the prompts apart, however well they part the classes, change no choice and no table."""
    values = held(3.0).values.clone()
    values[torch.from_numpy(~PARTS.inside), 1, 0] += 50 * torch.from_numpy(PARTS.positive[~PARTS.inside])[:, None]
    other = sweep_of(held(3.0, values), parts(), QUICK, "planted")
    assert other.scores == apart.scores
    assert other.reported == apart.reported
    values[torch.from_numpy(~PARTS.inside)] = 0.0
    blind = sweep_of(held(3.0, values), parts(), QUICK, "planted")
    assert blind.best() == apart.best()
    assert blind.reported.value == 0.5


def test_a_place_in_the_table_is_what_a_loop_over_folds_gives(apart: ProbeSweep) -> None:
    from sklearn.metrics import roc_auc_score

    inside, number = PARTS.inside, apart.places.index(PLANTED)
    x, positive = points(3.0)[SOME][inside].astype(np.float32).astype(float), PARTS.positive[inside]
    folds = grouped_folds(positive, PARTS.groups[inside], 5)
    model = Ridge(alpha=penalty_of(x, apart.strengths[number]))
    won, pairs = 0.0, 0
    for fold in range(5):
        fit, test = folds != fold, folds == fold
        read = model.fit(x[fit], 2.0 * positive[fit] - 1).predict(x[test])
        n = int(positive[test].sum() * (~positive[test]).sum())
        won, pairs = won + n * roc_auc_score(positive[test], read), pairs + n
    assert apart.scores[number].value == pytest.approx(won / pairs, abs=1e-9)


def test_on_a_model_the_table_has_every_place_and_the_figure_every_stream(llama: Subject) -> None:
    batch = llama.batch([[1, 2, 3, 4]])
    before = llama.logits(batch)
    found = sweep_probes(llama, PAIRS, positions=(-2, -1), settings=FEW)
    assert torch.equal(llama.logits(batch), before)
    assert not llama.bridge.list_hooks()
    assert len(found.to_pandas()) == llama.n_layers * 3 * 2 == len(all_sites(llama)) * 2
    figure = found.plot()
    maps = [trace for trace in figure.data if trace.type == "heatmap"]
    (ring,) = [trace for trace in figure.data if trace.type == "scatter"]
    assert [note.text for note in figure.layout.annotations] == ["resid_post", "attn_out", "mlp_out"]
    assert maps[0].z.shape == (llama.n_layers, 2)
    assert ring.y[0] == found.best()[0][0].layer
    assert figure.data[-1] is ring
    mean = sweep_probes(llama, PAIRS, sites=[Site(0, "resid_post")], positions="mean", settings=FEW)
    assert mean.best()[0] == (Site(0, "resid_post"), None)
    assert list(mean.plot().data[0].x) == ["mean"]


def test_other_prompts_may_be_reported_on_and_may_be_locked(llama: Subject) -> None:
    locked = ContrastPairs(builtin_prompts("harmful", "test"), builtin_prompts("harmless", "test"))
    found = sweep_probes(llama, PAIRS, report=locked, sites=[Site(1, "resid_post")], positions=[-1], settings=FEW)
    assert found.reported.n == len(locked.positive) + len(locked.negative)
    assert found.best()[1].n == len(PAIRS.positive) + len(PAIRS.negative)


def test_what_cannot_be_swept_is_refused_in_a_sentence(llama: Subject) -> None:
    locked = ContrastPairs(builtin_prompts("harmful", "test"), PAIRS.negative)
    with pytest.raises(PromptError, match="locked"):
        sweep_probes(llama, locked)
    with pytest.raises(PromptError, match="24 prompts are probed and reported on"):
        sweep_probes(llama, PAIRS, report=PAIRS)
    few = ContrastPairs(Prompts.of(["one bad", "two worse"]), Prompts.of(["three good", "four fine"]))
    with pytest.raises(ProbeError, match="4 folds need as many prompts of a class and as many topics"):
        sweep_probes(llama, few)
    values = held(3.0).values.clone()
    values[3, 0, 2, 1] = float("inf")
    with pytest.raises(ProbeError, match=r"1 of 400 vectors at 1.resid_post, position -2 are not finite"):
        sweep_of(held(3.0, values), parts(), QUICK)


def test_a_place_where_all_prompts_are_the_same_reads_nothing() -> None:
    values = held(3.0).values.clone()
    values[:, 1, 0] = 1.0
    found = sweep_of(held(3.0, values), parts(), QUICK)
    assert found.scores[found.places.index((SITES[0], -1))].value == 0.5
