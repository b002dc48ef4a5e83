"""Truth: statements that give nothing away, a direction that is planted and found, and one that turns with polarity."""

import json
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
import torch

from probes.linear import ProbeSettings
from probes.linear.controls import WORDS, surface_baselines
from probes.linear.folds import topic_groups
from probes.linear.reading import auroc_draws
from probes.linear.surface import Surface
from probes.linear.validation import held_out
from probes.truth import (
    Statements,
    TruthDirection,
    builtin_statements,
    fitted_truth,
    mean_directions,
    polarity,
    self_report,
    truth_and_polarity,
    truth_direction,
)
from probes.truth.direction import LAST, LIKELIHOOD, log_probabilities, paired_accuracies
from probes.truth.direction import TRUTH as READ
from probes.truth.polarity import BOTH, DENIES, SAYS, SHUFFLED
from probes.truth.self_report import QUESTION, REPORT, reports
from probes.truth.statements import ASKED, builtin_topics
from tests.conftest import random_direction
from tests.laws.cases import logits_of, same_bits
from tests.probes.truthful import POLARITY, TOPICS, TRUTH, made_statements, planted, shown, slow_odds
from workbench.activations import Activations, capture
from workbench.errors import ProbeError
from workbench.interventions import Add
from workbench.models import Site, Subject, render
from workbench.models.chat import encode

EVERY, MADE = builtin_statements(), made_statements()
FEW = ProbeSettings(shuffles=4, inner_folds=2)


# What is said.


def test_there_are_as_many_true_as_false_statements_of_every_topic_said_and_denied() -> None:
    counts = Counter((each.topic, each.denies, each.true) for each in EVERY)
    assert set(counts.values()) == {12}
    assert len(counts) == 16 * 4
    assert len(set(EVERY.texts)) == len(EVERY) == 768
    assert all(text[0].isupper() and text.endswith(".") and "  " not in text for text in EVERY.texts)


def test_a_denied_statement_is_true_where_the_said_one_is_false() -> None:
    said, denied = ([each for each in EVERY if each.denies is kind] for kind in (False, True))
    assert [each.true for each in said] == [not each.true for each in denied]
    for one, other in zip(said, denied, strict=True):
        assert " not " in other.text
        assert set(one.text.rstrip(".").split()[-1:]) == set(other.text.rstrip(".").split()[-1:])


def test_every_word_is_said_as_often_truly_as_falsely() -> None:
    for topic in EVERY.topics:
        for denies in (False, True):
            kept = EVERY.of_topics([topic]).where(denies=denies)
            true, false = (
                Counter(word for each in kept if each.true is kind for word in each.text.rstrip(".").split())
                for kind in (True, False)
            )
            assert true == false, topic


def test_no_false_twin_is_a_fact() -> None:
    for topic in builtin_topics():
        facts = set(topic.facts)
        assert not facts & {twin for _, twin in topic.pairs()}, topic.name


def test_first_letters_that_agree_tell_nothing() -> None:
    alike = np.zeros(2)
    for topic in builtin_topics():
        for pair in topic.pairs():
            alike += [one[0].lower() == other[0].lower() for one, other in pair]
    assert abs(alike[0] - alike[1]) <= 0.04 * len(EVERY) / 4


def test_a_bag_of_words_is_at_chance_on_topics_left_out() -> None:
    true, plain = EVERY.true, EVERY.plain()
    groups = topic_groups(plain, true)
    assert len(set(groups.tolist())) == len(EVERY.topics) == 16
    surface = Surface(np.array(EVERY.texts, dtype=object), np.array([len(t) for t in EVERY.texts]), np.zeros(768, int))
    pipelines, texts = surface_baselines(surface)[WORDS]
    held = held_out(pipelines, texts, true, groups, ProbeSettings(folds=16))
    assert 0.45 <= auroc_draws(held.decisions, true, held.folds, np.ones((1, 768)))[0] <= 0.55


# What is read.


@pytest.fixture(scope="module")
def found() -> TruthDirection:
    likely = np.random.default_rng(1).normal(size=len(MADE)) + 0.5 * MADE.true
    return fitted_truth(planted(MADE, 3.0, 1.0), MADE, shown(MADE), likely, "planted", settings=FEW)


def test_a_planted_direction_of_truth_is_found_where_it_is(found: TruthDirection) -> None:
    assert float(found.direction.unit.double().numpy() @ TRUTH) >= 0.98
    assert found.probe.site == Site(1, "resid_post")
    assert set(found.chosen) == {Site(1, "resid_post")}
    assert len(found.chosen) == found.probe.quality.topics == TOPICS
    assert found.probe.quality.auroc.value > 0.95
    assert found.probe.quality.auroc.n == len(MADE)
    assert min(found.said.value, found.denied.value, found.paired[READ].value) > 0.95
    assert (found.said.n, found.denied.n, found.paired[READ].n) == (len(MADE) // 2,) * 3
    assert found.paired[f"gain over {LIKELIHOOD}"].low > 0.1  # type: ignore[operator]
    assert list(found.paired) == [READ, LIKELIHOOD, f"gain over {LIKELIHOOD}"]
    assert found.direction.seen == {prompt.digest for prompt in MADE.said()}


def test_controls_that_know_nothing_stand_beside_it(found: TruthDirection) -> None:
    controls = found.probe.quality.controls
    assert 0.45 <= controls["shuffled labels"].value <= 0.55
    assert 0.4 <= controls["random features"].value <= 0.6
    assert 0.45 <= controls["words"].value <= 0.55
    assert 0.6 < controls[LIKELIHOOD].value < 0.7  # half a deviation apart: 0.638
    assert found.probe.quality.gains[LIKELIHOOD].low > 0.2  # type: ignore[operator]


def test_where_nothing_is_planted_nothing_is_found() -> None:
    x = planted(MADE, 0.0, seed=4)
    none = fitted_truth(x, MADE, shown(MADE), np.zeros(len(MADE)), "planted", settings=FEW)
    assert 0.4 <= none.probe.quality.auroc.value <= 0.6
    assert none.probe.quality.controls[LIKELIHOOD].value == 0.5


def an_axis_for_each_topic() -> Activations:
    acts = planted(MADE, 0.0, seed=5)
    values = acts.values.clone()
    for number, topic in enumerate(MADE.topics):
        rows = torch.from_numpy(np.array([each.topic == topic and each.true for each in MADE]))
        values[rows, 0, :, number] += 8.0
    return replace(acts, chunks=(replace(acts.chunks[0], held=values),))


def test_what_says_and_what_denies_are_measured_apart() -> None:
    acts = planted(MADE, 4.0)
    values, denies = acts.values.clone(), torch.from_numpy(MADE.denies)
    values[denies] = planted(MADE, 0.0).values[denies]
    half = replace(acts, chunks=(replace(acts.chunks[0], held=values),))
    read = fitted_truth(half, MADE, shown(MADE), np.zeros(len(MADE)), "planted", settings=FEW)
    assert read.said.value > 0.9
    assert 0.4 < read.denied.value < 0.6


def test_place_and_line_have_not_seen_the_topic_that_they_read() -> None:
    """Where each topic's truth has an axis of its own, a probe that had seen the topic would read it."""
    read = fitted_truth(an_axis_for_each_topic(), MADE, shown(MADE), np.zeros(len(MADE)), "planted", settings=FEW)
    assert read.probe.quality.auroc.value < 0.6


def test_pairs_count_by_which_of_both_lies_higher() -> None:
    some = np.where([each.topic in MADE.topics[:2] for each in MADE], MADE.true, ~MADE.true).astype(float)
    ways = {"all": MADE.true.astype(float), "none": np.zeros(len(MADE)), "some": some}
    found = {name: score.value for name, score in paired_accuracies(MADE, ways).items()}
    assert found == {"all": 1, "none": 0.5, "some": 2 / TOPICS, "gain over none": 0.5, "gain over some": 1 - 2 / TOPICS}
    assert all(MADE[int(one)].true > MADE[int(two)].true for one, two in MADE.pairs)
    assert all(MADE[int(one)].pair == MADE[int(two)].pair for one, two in MADE.pairs)
    assert len(MADE.pairs) == len(MADE) // 2


def test_too_few_topics_are_named() -> None:
    two = made_statements(2)
    with pytest.raises(ProbeError, match="3 topics at least, and there are 2"):
        fitted_truth(planted(two, 3.0), two, shown(two), np.zeros(len(two)), "planted")


def test_it_has_a_table_a_figure_and_plain_values(found: TruthDirection) -> None:
    assert repr(found).startswith("TruthDirection(mass-mean at 1.resid_post of planted, AUROC 0.9")
    assert list(found.to_pandas().coordinate) == pytest.approx(list(found.decisions))
    assert json.loads(json.dumps(found.to_json()))["quality"]["topics"] == TOPICS
    rows = {trace.y[0]: trace.x[0] for trace in found.plot().data}
    assert rows["truth direction (n=384)"] == found.probe.quality.auroc.value
    assert rows["of “is not” alone (n=192)"] == found.denied.value
    assert rows[f"{LIKELIHOOD} (n=384)"] == found.probe.quality.controls[LIKELIHOOD].value


# What turns with "not".


def test_a_direction_of_said_statements_alone_turns_where_polarity_is_the_longer() -> None:
    acts = planted(MADE, 2.0, 4.0)
    turned = polarity(acts, MADE)
    at = {way: scores[1].value for way, scores in turned.read.items()}
    assert at[SAYS, SAYS] > 0.9
    assert at[SAYS, DENIES] < 0.2
    assert at[BOTH, DENIES] > 0.85
    assert min(at[BOTH, SAYS], at[DENIES, DENIES]) > 0.85
    assert 0.4 < at[SHUFFLED, BOTH] < 0.6
    assert turned.cosines[1].high < -0.4  # type: ignore[operator]
    assert abs(turned.cosines[0].value) < 0.6


def test_where_truth_is_the_longer_it_does_not_turn() -> None:
    turned = polarity(planted(MADE, 4.0, 2.0), MADE)
    assert turned.read[SAYS, DENIES][1].low > 0.7  # type: ignore[operator]
    assert turned.cosines[1].low > 0.3  # type: ignore[operator]
    assert len(turned.to_pandas()) == 3 * 7
    assert "is → is not (n=192)" in [trace.name for trace in turned.plot().data]
    assert len(json.loads(json.dumps(turned.to_json()))["rows"]) == 21
    assert "is -> is not 0." in repr(turned)


def test_no_way_of_fitting_has_seen_the_topic_that_it_reads() -> None:
    read = polarity(an_axis_for_each_topic(), MADE).read
    assert max(scores[1].value for scores in read.values()) < 0.65


def test_truth_and_polarity_are_told_apart() -> None:
    x = planted(MADE, 4.0, 8.0).at(Site(1, "resid_post"), LAST).double().numpy()
    truth, turning = truth_and_polarity(x, MADE.true, MADE.denies)
    assert truth @ TRUTH / np.linalg.norm(truth) >= 0.98
    assert turning @ POLARITY / np.linalg.norm(turning) >= 0.98
    assert truth @ TRUTH == pytest.approx(2.0, abs=0.15)  # half of the gap that is planted
    assert turning @ POLARITY == pytest.approx(4.0, abs=0.15)


# What is said of it.


def test_what_is_known_and_not_said_is_counted() -> None:
    """Half of the pairs are reported wrongly, and of these every fourth is read wrongly."""
    n = len(MADE.pairs)
    wrong, missed = np.arange(n) % 2 == 0, np.arange(n) % 8 == 0
    odds, read = np.full(len(MADE), 3.0), np.zeros(len(MADE))
    for rows, bad, values in ((MADE.pairs, wrong, odds), (MADE.pairs, missed, read)):
        values[rows[~bad, 0]] += 1.0
        values[rows[bad, 1]] += 1.0
    report = self_report(MADE, odds, read)
    assert report.says_yes.value == 1.0
    assert report.right.value == 0.5
    known, told = report.known_unsaid, report.said_unknown
    assert known is not None
    assert told is not None
    assert (known.value, known.n) == (0.75, n // 2)
    assert (told.value, told.n) == (0.0, n // 8)
    assert report.paired[REPORT].value == 0.5
    assert report.paired[READ].value == report.auroc[READ].value == 0.875
    assert report.paired[f"gain over {REPORT}"].value == 0.375
    assert report.agreement.n == n
    assert "where the report is wrong the direction is right on 0.75 [" in repr(report)
    assert set(json.loads(json.dumps(report.to_json()))["auroc"]) == set(report.auroc)
    assert [trace.name for trace in report.plot().data] == [f"“is” (n={n // 2} pairs)", f"“is not” (n={n // 2} pairs)"]
    corners = {each.text for each in report.plot().layout.annotations}
    assert corners == {
        f"known and said: {n // 2}",
        "said, not known: 0",
        f"known, not said: {3 * n // 8}",
        f"neither: {n // 8}",
    }


def test_a_report_that_is_never_wrong_leaves_nothing_unsaid() -> None:
    report = self_report(MADE, MADE.true.astype(float), MADE.true.astype(float))
    assert report.known_unsaid is None
    assert "right on none" in repr(report)
    assert "known where the report is wrong" not in report.to_json()


def test_the_report_is_the_odds_of_yes_under_the_recipe(long_llama: Subject) -> None:
    before, texts = logits_of(long_llama), EVERY.texts[:5]
    found = reports(long_llama, texts, batch_size=2)
    for text, odds in zip(texts, found, strict=True):
        prompt = render(long_llama, [{"role": "user", "content": QUESTION.format(statement=text)}])
        assert odds == pytest.approx(slow_odds(long_llama, encode(long_llama, prompt)), abs=1e-4)
    edited = reports(long_llama, texts, Add(random_direction(long_llama), 4.0).at("all"))
    assert np.abs(edited - found).min() > 1e-3
    assert same_bits(logits_of(long_llama), before)


# On a model.


def test_it_runs_on_a_model(long_llama: Subject) -> None:
    three = EVERY.of_topics(EVERY.topics[:3])
    found = truth_direction(long_llama, three, method="ridge", settings=ProbeSettings(shuffles=1, inner_folds=2))
    assert found.probe.quality.topics == 3
    assert found.likelihood == pytest.approx(log_probabilities(long_llama, three.texts))
    prompt = encode(long_llama, render(long_llama, [{"role": "user", "content": ASKED}]))
    said = encode(long_llama, three[0].text)
    logits = (
        long_llama.logits(long_llama.batch([[*prompt, *said]]))[0, len(prompt) - 1 : -1].double().log_softmax(dim=-1)
    )
    assert found.likelihood[0] == pytest.approx(float(logits[range(len(said)), said].mean()), abs=1e-4)
    found.probe.check_fits(long_llama)


def test_a_direction_of_some_statements_has_seen_no_others(llama: Subject) -> None:
    acts, used = planted(MADE, 3.0), np.arange(len(MADE)) < 96
    (made,) = mean_directions(acts, MADE.true & used, ~MADE.true & used, llama, acts.sites[1:2])
    assert made.seen == set(acts.prompt_digests[:96])
    x = acts.at(acts.sites[1], LAST)[:96]
    gap = x[torch.from_numpy(MADE.true[:96])].mean(dim=0) - x[torch.from_numpy(~MADE.true[:96])].mean(dim=0)
    torch.testing.assert_close(made.unit * made.scale, gap)
    assert made.coordinate(x)[torch.from_numpy(~MADE.true[:96])].mean() == pytest.approx(0.0, abs=1e-4)


@pytest.mark.real
def test_in_the_embedded_model_truth_turns_with_polarity(real_subjects: dict[str, Subject]) -> None:
    """Topics that it knows, six facts of each, read on topics left out."""
    subject, site = real_subjects["qwen2.5-coder-0.5b-instruct"], Site(13, "resid_post")
    known = EVERY.of_topics(["cities", "continents", "Spanish", "professions"])
    kept = Statements(tuple(each for each in known if int(each.pair.split("/")[1]) < 6))
    acts = capture(subject, kept.said(), sites=[site], positions=[LAST])
    turned = polarity(acts, kept)
    read = {way: scores[0].value for way, scores in turned.read.items()}
    assert read[SAYS, SAYS] > 0.85
    assert read[SAYS, DENIES] < 0.2
    assert read[BOTH, DENIES] > 0.65
    assert 0.3 < read[SHUFFLED, BOTH] < 0.7
    assert turned.cosines[0].high < 0  # type: ignore[operator]
