"""Linear probes recover what was planted, find nothing where nothing is, and say so themselves."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from probes.linear import Probe, ProbeSettings, fit_probe, train_probe
from probes.linear.method import fit_line, methods
from probes.linear.methods.mass_mean import MassMean
from probes.linear.methods.sparse import Sparse
from tests.probes.planted import GROUPS, LINE, POSITIVE, D, N, acts, planted, points, surface
from workbench.directions import Direction, load_asset
from workbench.directions.asset import Watchable
from workbench.errors import CaptureError, DirectionError, ProbeError, PromptError
from workbench.generation import stream
from workbench.models import Site, Subject
from workbench.prompts import ContrastPairs, Prompts, builtin_prompts

QUICK = ProbeSettings(shuffles=8)
THINGS = (
    "bridge",
    "garden",
    "engine",
    "recipe",
    "letter",
    "planet",
    "wallet",
    "guitar",
    "window",
    "camera",
    "island",
    "rocket",
)
PAIRS = ContrastPairs(
    Prompts.of([f"Smash {thing} {thing[::-1]}" for thing in THINGS], "harmful"),
    Prompts.of([f"Paint <b>{thing.upper()}x</b> {thing[1:]}" for thing in THINGS], "harmless"),
)
FEW = ProbeSettings(folds=3, inner_folds=2, shuffles=2)


@pytest.fixture(scope="module")
def apart() -> Probe:
    return fit_probe(planted(4.0), settings=QUICK)


@pytest.fixture(scope="module")
def nothing() -> Probe:
    return fit_probe(planted(0.0), settings=QUICK)


@pytest.mark.parametrize("method", list(methods))
def test_every_method_recovers_a_planted_line_and_nothing_in_shuffled_labels(method: str) -> None:
    probe = fit_probe(planted(3.0), method, QUICK)
    assert float(probe.unit.double() @ torch.from_numpy(LINE)) >= 0.98
    assert probe.quality.auroc.value > 0.97
    assert 0.45 <= probe.quality.controls["shuffled labels"].value <= 0.55
    assert probe.quality.selectivity.low > 0.4  # type: ignore[operator]
    assert probe.quality.as_good == ()
    assert "reads as much" not in repr(probe)
    assert probe.method == method


@pytest.mark.parametrize("method", list(methods))
def test_where_nothing_is_planted_every_method_says_that_its_control_reads_as_much(method: str) -> None:
    probe = fit_probe(planted(0.0, seed=3), method, QUICK)
    assert 0.42 <= probe.quality.auroc.value <= 0.58
    assert "shuffled labels" in probe.quality.as_good
    assert "its control reads as much, for all that n=1200 shows: " in repr(probe)


@pytest.mark.parametrize("method", list(methods))
def test_the_line_in_raw_activations_decides_as_the_pipeline_does(method: str) -> None:
    """Features of very different size, so that a forgotten mean or deviation shows."""
    x = points(3.0) * np.geomspace(0.01, 100, D) + np.linspace(-50, 50, D)
    for pipeline in methods[method]().candidates():
        line = fit_line(pipeline, x, POSITIVE)
        assert np.allclose(line(x), pipeline.fit(x, POSITIVE).decision_function(x), atol=1e-6)


def test_plain_mass_mean_is_the_difference_in_means() -> None:
    x = points(2.0)
    (pipeline,) = MassMean(tilted=False).candidates()
    gap = x[POSITIVE].mean(axis=0) - x[~POSITIVE].mean(axis=0)
    assert np.allclose(fit_line(pipeline, x, POSITIVE).weight, gap)


def test_mass_mean_tilts_away_from_what_varies_within_the_classes() -> None:
    """Two features part the classes equally; one is drowned in noise that a third one shows too."""
    random = np.random.default_rng(0)
    shared = 6 * random.normal(size=N)
    x = random.normal(size=(N, 3)) + np.stack([3.0 * POSITIVE + shared, 0 * shared, shared], axis=1)
    tilted, plain = (fit_line(MassMean(tilted=way).candidates()[0], x, POSITIVE) for way in (True, False))
    assert roc_auc_score(POSITIVE, plain(x)) < 0.75
    assert roc_auc_score(POSITIVE, tilted(x)) > 0.9
    assert tilted.weight[2] < -0.5 * tilted.weight[0]


def test_a_sparse_probe_weighs_few_features() -> None:
    line = np.eye(D)[4]
    probe = fit_probe(planted(4.0, x=points(4.0, line=line)), Sparse(strengths=(0.003,)), QUICK)
    assert int((probe.unit.abs() > 1e-6).sum()) <= 4
    assert int(probe.unit.abs().argmax()) == 4


def test_direction_readout_coordinate_and_scores_say_the_same(apart: Probe) -> None:
    x = acts(points(4.0, seed=8))
    scores = apart.scores(x)
    direction, readout = apart.direction(), apart.readout()
    assert torch.allclose(direction.coordinate(x), apart.coordinate(x))
    assert torch.equal(torch.stack(apart.coordinates([apart, apart], x))[1], apart.coordinate(x))
    assert torch.allclose(readout(x) * apart.scale, scores, atol=1e-4)
    assert torch.equal(readout(x) > readout.threshold, scores > apart.threshold)
    assert torch.equal(apart.coordinate(x) > apart.alarm, scores > apart.threshold)
    fitted = apart.coordinate(acts(points(4.0))).numpy()
    assert fitted[~POSITIVE].mean() == pytest.approx(0.0, abs=1e-4)
    assert fitted[POSITIVE].mean() == pytest.approx(1.0, abs=1e-4)


def test_the_threshold_keeps_its_false_alarms_on_fresh_prompts() -> None:
    how = ProbeSettings(false_alarms=0.05, shuffles=2)
    probe = fit_probe(planted(3.0), settings=how)
    rates = [
        float((probe.scores(acts(points(3.0, seed=seed)))[~POSITIVE] > probe.threshold).float().mean())
        for seed in range(50, 70)
    ]
    assert np.mean(rates) == pytest.approx(0.05, abs=0.025)
    assert probe.quality.false_alarms.value == pytest.approx(0.05, abs=0.04)
    assert probe.quality.detected.value > 0.8


def test_the_probability_is_calibrated_on_fresh_prompts() -> None:
    probe = fit_probe(planted(1.0), settings=ProbeSettings(shuffles=2))
    fresh = torch.cat([probe.probability(acts(points(1.0, seed=seed))) for seed in range(50, 80)]).numpy()
    labels = np.tile(POSITIVE, 30)
    for low in (0.1, 0.3, 0.5, 0.7):
        rows = (fresh >= low) & (fresh < low + 0.2)
        assert labels[rows].mean() == pytest.approx(fresh[rows].mean(), abs=0.1)
    assert probe.quality.calibration_error.value < 0.12


def test_a_probe_that_words_match_says_so() -> None:
    texts = [f"{'break' if positive else 'mend'} it {row}" for row, positive in enumerate(POSITIVE)]
    probe = fit_probe(planted(1.0, shown=surface(texts)), settings=QUICK)
    assert probe.quality.as_good == ("words",)
    assert "its control reads as much, for all that n=1200 shows: words (1.00)" in repr(probe)
    assert "its control reads as much" in probe._repr_html_()


def test_length_and_first_token_are_caught_as_giving_the_class_away() -> None:
    plain = surface()
    longer = replace(plain, lengths=plain.lengths + 60 * POSITIVE)
    opened = replace(plain, first=np.where(POSITIVE, 3, 4))
    for shown, name in ((longer, "length"), (opened, "first token")):
        quality = fit_probe(planted(1.0, shown=shown), settings=ProbeSettings(shuffles=2)).quality
        assert quality.controls[name].value > 0.99
        assert name in quality.as_good


def test_saved_and_loaded_bit_for_bit(apart: Probe, tmp_path: Path) -> None:
    for seed, probe in enumerate((apart, replace(apart, position=None))):
        file = probe.save(tmp_path / f"{seed}" / "probe.safetensors")
        for found in (load_asset(file), Probe.load(file), Probe.load(file.parent)):
            assert isinstance(found, Probe)
            assert torch.equal(found.unit, probe.unit)
            rest = {name: value for name, value in vars(found).items() if name not in ("unit", "digest")}
            assert rest == {name: value for name, value in vars(probe).items() if name not in ("unit", "digest")}
            assert found.digest == probe.digest


def test_a_file_that_is_no_probe_is_refused(apart: Probe, tmp_path: Path) -> None:
    other = apart.direction().save(tmp_path / "direction.safetensors")
    with pytest.raises(DirectionError, match="is not a probe file"):
        Probe.load(other)
    with pytest.raises(DirectionError, match="There is no probe at"):
        Probe.load(tmp_path / "none.safetensors")
    assert isinstance(load_asset(other), Direction)


def test_the_same_seed_gives_the_same_probe(apart: Probe) -> None:
    again = fit_probe(planted(4.0), settings=QUICK)
    assert (again.digest, again.quality) == (apart.digest, apart.quality)


def test_on_a_model_a_probe_is_trained_and_watched_and_the_model_is_as_before(llama: Subject) -> None:
    batch = llama.batch([[1, 2, 3, 4]])
    before = llama.logits(batch)
    probe = train_probe(llama, PAIRS, Site(1, "resid_post"), settings=FEW)
    assert torch.equal(llama.logits(batch), before)
    assert not llama.bridge.list_hooks()
    assert isinstance(probe, Watchable)
    assert probe.seen == {prompt.digest for side in (PAIRS.positive, PAIRS.negative) for prompt in side}
    with stream(llama, PAIRS.positive[:2], max_new_tokens=2, watch={"harm": probe}) as tokens:
        assert all(np.isfinite(token.watched["harm"]) for token in tokens)
    mean = train_probe(llama, PAIRS, Site(1, "mlp_out"), position=None, method="ridge", settings=FEW)
    assert (mean.position, mean.method) == (None, "ridge")


def test_a_probe_of_another_model_is_refused(llama: Subject, tiny_subjects: dict[str, Subject], apart: Probe) -> None:
    probe = train_probe(llama, PAIRS, Site(1, "resid_post"), method="mass-mean", settings=FEW)
    probe.check_fits(llama)
    with pytest.raises(DirectionError, match=r"The probe was found in .* find one in"):
        probe.check_fits(tiny_subjects["qwen2"])
    with pytest.raises(DirectionError, match=f"The probe is {D} wide"):
        apart.check_fits(llama)


def test_what_cannot_be_probed_is_refused_in_a_sentence(llama: Subject) -> None:
    good = planted(2.0)
    with pytest.raises(ProbeError, match=f"{N} positive and 0 negative prompts, one class only"):
        fit_probe(replace(good, positive=np.ones(N, dtype=bool)))
    with pytest.raises(ProbeError, match=f"5 folds need .* 3 positive and {N - 3} negative prompts"):
        fit_probe(replace(good, positive=np.arange(N) < 3))
    with pytest.raises(ProbeError, match="in 4 topics: give more, or ask for fewer folds"):
        fit_probe(replace(good, groups=GROUPS % 4))
    with pytest.raises(ProbeError, match="every feature is constant"):
        fit_probe(replace(good, x=np.ones((N, D))))
    broken = good.x.copy()
    broken[[3, 7], 1] = np.nan
    with pytest.raises(ProbeError, match=r"2 of 1200 vectors at 1.resid_post are not finite"):
        fit_probe(replace(good, x=broken))
    with pytest.raises(ProbeError, match="weight 0"):
        fit_probe(planted(0.0), Sparse(strengths=(1e-9,)))
    with pytest.raises(PromptError, match="locked"):
        train_probe(llama, ContrastPairs(builtin_prompts("harmful", "test"), PAIRS.negative), Site(1, "resid_post"))
    with pytest.raises(CaptureError, match="Position -400"):
        train_probe(llama, PAIRS, Site(1, "resid_post"), position=-400, settings=FEW)


def test_one_constant_feature_does_no_harm(apart: Probe) -> None:
    x = points(4.0)
    x[:, 5] = 3.0
    probe = fit_probe(planted(4.0, x=x), settings=ProbeSettings(shuffles=2))
    assert float(probe.unit[5]) == 0.0
    assert probe.quality.auroc.value > 0.95


def test_nested_folds_choose_and_measure_as_written_out_by_hand(apart: Probe) -> None:
    """The slow way: one candidate, a loop over folds, scikit-learn's AUROC of each, weighed by pairs."""
    from probes.linear.folds import grouped_folds

    x, folds = points(1.0), grouped_folds(POSITIVE, GROUPS, 5)
    won, pairs = 0.0, 0
    for fold in range(5):
        fit, test = folds != fold, folds == fold
        pipeline = make_pipeline(StandardScaler(), LogisticRegression(C=0.01)).fit(x[fit], POSITIVE[fit])
        n = int(POSITIVE[test].sum() * (~POSITIVE[test]).sum())
        won += n * roc_auc_score(POSITIVE[test], pipeline.decision_function(x[test]))
        pairs += n
    probe = fit_probe(planted(1.0, x=x), methods["logistic"](strengths=(0.01,)), ProbeSettings(shuffles=1))
    assert probe.quality.auroc.value == pytest.approx(won / pairs, abs=1e-9)
