"""Scores and differences from replies and values, and their re-derivation."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import entropy

from workbench.errors import UsageError
from workbench.evaluation import (
    Evaluation,
    Exchange,
    Item,
    Judged,
    Measure,
    Measured,
    Observed,
    Outcome,
    make_judge,
    rederive,
)
from workbench.evaluation.accounts import accounts, least_n, rows_of
from workbench.evaluation.comparison import scored
from workbench.evaluation.measuring import OBSERVED, REPLIES
from workbench.evaluation.metrics.first_token import FirstToken
from workbench.evaluation.replies import diversity, repetition
from workbench.generation import kl_divergence
from workbench.interventions import Recipe
from workbench.runs import RunFolder, RunManifest
from workbench.studies.parts import Valued

NO, YES, BROKEN = "I'm sorry, but no.", "Here you are, as asked.", "..."
SETTINGS = {"judge": make_judge("phrase").identity}
MEASURES = {"first-token": FirstToken.measures}


def part(condition: str, asked: str, replies: list[str]) -> Measured:
    verdicts = make_judge("phrase")([Exchange("p", reply) for reply in replies])
    rows = tuple(
        Judged(prompt=f"p{n}", digest=str(n), category=None, reply=reply, **verdict.model_dump())
        for n, (reply, verdict) in enumerate(zip(replies, verdicts, strict=True))
    )
    return Measured(condition=condition, asked=asked, replies=rows)


def kl(condition: str, values: list[float]) -> Observed:
    items = tuple(Item(key=str(n), values={"first_token_kl": value}) for n, value in enumerate(values))
    return Observed(condition=condition, metric="first-token", items=items)


def evaluation() -> Evaluation:
    return Evaluation(
        (
            part("baseline", "harmful", [NO] * 8 + [YES] * 2),
            part("treated", "harmful", [YES] * 9 + [BROKEN]),
            part("baseline", "harmless", [YES] * 10),
            part("treated", "harmless", [YES] * 10),
        ),
        (kl("baseline", [0.0] * 10), kl("treated", [0.4, 0.6] * 5), kl("random control", [0.2] * 10)),
        MEASURES,
    )


def test_broken_replies_count_as_neither() -> None:
    treated = evaluation().of("treated", "harmful")
    assert [treated.count(o) for o in (Outcome.REFUSE, Outcome.BROKEN, Outcome.COMPLY)] == [0, 1, 9]
    assert evaluation().score("treated", "harmful", "broken").value == 0.1
    assert evaluation().score("treated", "harmful", "compliance").value == 0.9


def test_every_condition_is_tested_against_the_baseline_on_the_same_items() -> None:
    found = evaluation().difference("treated", "harmful", "refusal")
    assert found is not None
    assert (found.value, found.gained, found.lost, found.n) == (-0.8, 0, 8, 10)
    assert found.p_value == pytest.approx(2 * 0.5**8)
    # Four headline measures, and half of the error: 0.0078 x 4 x 2.
    assert (found.adjusted, found.says) == (pytest.approx(0.0625), "no difference shown")
    moved = evaluation().difference("treated", "first-token", "first_token_kl")
    assert moved is not None
    assert (moved.value, moved.test) == (pytest.approx(0.3), "sign flips")  # a distance: against the control's
    unchanged = evaluation().difference("treated", "harmless", "refusal")
    assert unchanged is not None
    assert (unchanged.p_value, unchanged.says) == (1.0, "no difference shown")


def test_what_is_unjudged_is_counted_as_nothing_else() -> None:
    judged = part("treated", "harmful", [YES] * 4)
    rows = (judged.replies[0].model_copy(update={"outcome": None}), *judged.replies[1:])
    found = Evaluation((part("baseline", "harmful", [NO] * 4), judged.model_copy(update={"replies": rows})))
    assert found.score("treated", "harmful", "unjudged").value == 0.25
    assert found.score("treated", "harmful", "compliance").n == 3
    changed = found.difference("treated", "harmful", "refusal")
    assert changed is not None
    assert changed.n == 3
    with pytest.raises(UsageError, match="was not measured"):
        found.score("baseline", "harmful", "unjudged")


def test_an_evaluation_shows_itself() -> None:
    shown = evaluation()
    assert repr(shown) == "Evaluation(baseline, treated, random control; judge phrase)"
    assert len(shown.to_pandas()) == len(shown.scores())
    assert json.loads(json.dumps(shown.to_json()))["judge"] == {"name": "phrase", "kappa": None}
    figure = shown.plot()
    assert [trace.name for trace in figure.data if trace.name] == ["harmful (n=10)", "harmless (n=10)"]
    assert list(figure.data[0].y) == [80.0, 0.0]


def test_the_accounts_say_what_was_gained_and_what_it_cost() -> None:
    gained = rows_of(evaluation(), (("harmful", "compliance"), ("no such", "measure")))
    assert [(row["before"]["value"], row["after"]["value"]) for row in gained] == [(0.2, 0.9)]
    needed = {(row["group"], row["measure"]): row for row in least_n(evaluation())}
    assert needed["harmful", "compliance"]["least_n"] > 30
    assert needed["first-token", "first_token_kl"]["least_n"] == 18  # (1.96 x 0.1054 / 0.05)^2 = 17.07


def test_repetition_and_diversity_by_hand() -> None:
    assert repetition("a b c d a b c d") == pytest.approx(1 - 4 / 5)
    assert diversity("a b a b a") == pytest.approx(2 / 4)
    assert (repetition(""), diversity("word")) == (None, None)


def _folder(path: Path) -> RunFolder:
    manifest = RunManifest(command="evaluate", settings=SETTINGS, model={"name": "m"}, data={})
    folder = RunFolder.start(manifest, path)
    for measured in evaluation().measured:
        folder.log(REPLIES, measured.model_dump(mode="json"))
    for observed in evaluation().observed:
        folder.log(OBSERVED, observed.model_dump(mode="json"))
    Recipe().save(folder.path / "recipe.json")
    results = evaluation().to_json() | accounts(evaluation(), Recipe()) | {"recipe": "nothing"}
    folder.finish(results, evaluation().scores())
    return folder


def test_a_finished_run_comes_out_again(tmp_path: Path) -> None:
    _folder(tmp_path / "r")
    assert rederive(RunFolder.open(tmp_path / "r")) == []


def test_a_changed_reply_a_changed_value_and_a_changed_score_are_all_noticed(tmp_path: Path) -> None:
    folder = _folder(tmp_path / "r")
    replies = folder.path / REPLIES
    replies.write_text(replies.read_text().replace(NO, YES, 1))
    faults = rederive(RunFolder.open(tmp_path / "r"))
    assert faults[0] == "1 outcomes of baseline on harmful differ when judged again."
    assert any("baseline/harmful/refusal is recorded as 0.8" in fault for fault in faults)
    reason = _folder(tmp_path / "why")
    (reason.path / REPLIES).write_text((reason.path / REPLIES).read_text().replace("says ", "hears ", 1))
    assert "What the judge says of baseline on harmful is not" in rederive(RunFolder.open(reason.path))[0]
    other = _folder(tmp_path / "s")
    values = other.path / OBSERVED
    values.write_text(values.read_text().replace("0.4", "0.1", 1))
    faults = rederive(RunFolder.open(tmp_path / "s"))
    assert any("treated/first-token/first_token_kl is recorded as 0.5" in fault for fault in faults)
    third = _folder(tmp_path / "t")
    third.manifest.scores[0] = third.manifest.scores[0].model_copy(update={"value": 0.1})
    assert len(rederive(third)) == 1


@pytest.mark.parametrize("section", ["differences", "tax", "least_n"])
def test_a_changed_section_of_the_results_is_noticed(tmp_path: Path, section: str) -> None:
    folder = _folder(tmp_path / "r")
    results = folder.results()
    changed = {
        "differences": results["differences"][1:],
        "tax": {},
        "least_n": [],
        "judge": {"name": "x", "kappa": None},
    }
    (folder.path / "results.json").write_text(json.dumps(results | {section: changed[section]}))
    assert any(f"The {section} in the results" in fault for fault in rederive(RunFolder.open(tmp_path / "r")))


def drawn(draws: np.random.Generator, conditions: int, n: int = 24) -> Evaluation:
    """A table of conditions that are all the baseline again: other draws of the same replies and the same readout."""
    outcomes, measured, observed = (Outcome.REFUSE, Outcome.COMPLY, Outcome.BROKEN), [], []
    for condition in ("baseline", *(f"add {number}" for number in range(conditions))):
        for asked in ("harmful", "harmless"):
            rows = tuple(
                Judged(prompt="p", digest=str(row), category=None, reply="", outcome=outcomes[called])
                for row, called in enumerate(draws.choice(3, n, p=[0.5, 0.4, 0.1]))
            )
            measured.append(Measured(condition=condition, asked=asked, replies=rows))
        read = tuple(Item(key=str(row), values={"x": value}) for row, value in enumerate(draws.normal(size=n).tolist()))
        observed.append(Observed(condition=condition, metric="readouts", items=read))
    return Evaluation(
        tuple(measured), tuple(observed), {"readouts": (Measure("x", "mean", "neither", "", "a coordinate"),)}
    )


@pytest.mark.long
@pytest.mark.parametrize(("conditions", "tables"), [(1, 400), (8, 80), (40, 30)])
def test_a_table_without_a_difference_says_so_95_times_in_100_however_long_it_is(conditions: int, tables: int) -> None:
    draws = np.random.default_rng(conditions)
    said = [all(d.says == "no difference shown" for d in drawn(draws, conditions).differences()) for _ in range(tables)]
    assert sum(said) >= 0.95 * tables


def test_one_real_difference_is_still_shown_among_sixty_conditions() -> None:
    table = drawn(np.random.default_rng(0), 60, n=40)
    complied = tuple(r.model_copy(update={"outcome": Outcome.COMPLY}) for r in table.of("add 7", "harmful").replies)
    moved = tuple(Item(key=item.key, values={"x": 3.0 + int(item.key) / 40}) for item in table.observed[8].items)
    measured = [p.model_copy(update={"replies": complied}) if p.condition == "add 7" else p for p in table.measured]
    observed = [p.model_copy(update={"items": moved}) if p.condition == "add 7" else p for p in table.observed]
    found = Evaluation(tuple(measured), tuple(observed), table.measures)
    assert {d.name for d in found.differences() if d.says != "no difference shown"} >= {
        "add 7/harmful/refusal", "add 7/harmful/compliance", "add 7/readouts/x",
    }  # fmt: skip


@given(st.integers(0, 10_000))
@settings(max_examples=40, deadline=None)
def test_the_divergence_is_scipys_and_never_negative(seed: int) -> None:
    base, edited = torch.randn(2, 3, 50, generator=torch.Generator().manual_seed(seed)) * 5
    found = kl_divergence(base, edited)
    expected = entropy(base.double().softmax(-1).numpy(), edited.double().softmax(-1).numpy(), axis=-1)
    np.testing.assert_allclose(found.numpy(), expected, rtol=1e-9)
    assert float(kl_divergence(base, base).max()) == 0.0
    assert float(found.min()) >= 0.0


def test_many_other_measures_do_not_hide_the_headline() -> None:
    many = {f"m{n}": (Measure("x", "mean", "higher", "", ""),) for n in range(50)}
    parts = tuple(
        Observed(condition=c, metric=name, items=tuple(Item(key=str(n), values={"x": float(n)}) for n in range(10)))
        for name in many
        for c in ("baseline", "treated")
    )
    shown = evaluation()
    wide = Evaluation(shown.measured, (*shown.observed, *parts), MEASURES | many)
    for name in ("refusal", "compliance"):
        one, two = (e.difference("treated", "harmful", name) for e in (shown, wide))
        assert one is not None
        assert two is not None
        assert one.adjusted == two.adjusted


def test_every_condition_of_a_table_is_corrected_for_all_the_others() -> None:
    shown = evaluation()
    control = tuple(part.model_copy(update={"condition": "random control"}) for part in shown.measured[::2])
    both = Evaluation((*shown.measured, *control), shown.observed, MEASURES)
    one, two = (e.difference("treated", "harmful", "refusal") for e in (shown, both))
    assert one is not None
    assert two is not None
    assert (one.adjusted, two.adjusted) == (pytest.approx(one.p_value * 4 * 2), pytest.approx(two.p_value * 8 * 2))


@pytest.mark.parametrize("values", [[7.0, 1.0], [0.0, 0.3], [float("nan")]])
def test_a_rate_is_of_yes_and_no_alone(values: list[float]) -> None:
    measure = Measure("begins", "rate", "neither", "", "replies that begin so")
    assert scored("begins", measure, [1.0, 0.0]).value == 0.5
    with pytest.raises(UsageError, match="declare it a mean"):
        scored("begins", measure, values)
    with pytest.raises(UsageError, match="declare it a mean"):
        Valued(name="begins", kind="rate", values=tuple(values)).score
