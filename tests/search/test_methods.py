"""Every method makes candidates from train prompts alone; the optimised direction is better than its start."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from tests.conftest import random_direction
from tests.search.test_finding import PAIRS, SETTINGS
from workbench.errors import UsageError
from workbench.models import Site, Subject
from workbench.runs import RunFolder, RunManifest
from workbench.search import descent, lessons, record_find, rederive_find
from workbench.search.lessons import Answered, Lessons
from workbench.search.methods import Task, make_candidates, methods
from workbench.search.methods import refusal_direction_optimisation as rdo


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(descent, "STEPS", 8)
    monkeypatch.setattr(descent, "CHECK", 2)
    monkeypatch.setattr(descent, "BATCH", 4)
    monkeypatch.setattr(lessons, "NEW_TOKENS", 3)


def _task(subject: Subject, method: str, folder: RunFolder | None = None) -> Task:
    return Task(subject, PAIRS, (40, 50), replace(SETTINGS, method=method), folder=folder)


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize("name", tuple(methods))
def test_every_method_goes_through_the_same_search(llama: Subject, tmp_path: Path, name: str) -> None:
    folder = record_find(llama, PAIRS, settings=replace(SETTINGS, method=name), out=tmp_path / "r")
    results = folder.results()
    assert results["direction"]["scale"] > 0
    assert results["chosen"]["n"]["refusal_score"] == 4
    assert rederive_find(folder) == []


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize("name", tuple(methods))
def test_a_method_repeats_itself(llama: Subject, name: str) -> None:
    one, two = (make_candidates(_task(llama, name)) for _ in range(2))
    assert [found.digest for found in one.values()] == [found.digest for found in two.values()]


def test_paired_answers_read_the_last_token_of_the_answer(llama: Subject) -> None:
    found = make_candidates(_task(llama, "paired-answers"))
    assert set(found) <= {(-1, Site(layer, "resid_pre")) for layer in range(llama.n_layers)}
    assert len(found) >= llama.n_layers - 1


def test_a_method_that_is_not_there_is_named_with_those_that_are(llama: Subject) -> None:
    with pytest.raises(UsageError, match=r"logistic-normal.*refusal-direction-optimisation"):
        make_candidates(_task(llama, "magic"))


def _lessons(seed: int = 0) -> Lessons:
    generator = torch.Generator().manual_seed(seed)

    def some(n: int) -> list[Answered]:
        lengths = torch.randint(2, 7, (n, 2), generator=generator).tolist()
        return [Answered(*(torch.randint(5, 90, (k,), generator=generator).tolist() for k in pair)) for pair in lengths]

    return Lessons(some(5), some(4), some(3))


def test_the_loss_equals_a_slow_version_a_prompt_at_a_time(tiny: Subject) -> None:
    from workbench.interventions import Ablate, Add, Recipe, steered

    start = random_direction(tiny, scale=2.0, layer=1)
    given = _lessons()

    def logits(each: Answered, recipe: Recipe) -> torch.Tensor:
        with steered(tiny, recipe):
            whole = tiny.logits(tiny.batch([each.prompt + each.answer]))[0].double()
        return whole[len(each.prompt) - 1 : -1].log_softmax(-1)

    def mean(kind: list[Answered], term) -> float:  # type: ignore[no-untyped-def]
        return float(torch.cat([term(each) for each in kind]).mean())

    ablate, add = Ablate(start).at("all"), Add(start).at(start.site)
    said = [
        mean(list(kind), lambda each, r=recipe: -logits(each, r).gather(1, torch.tensor(each.answer)[:, None])[:, 0])
        for kind, recipe in ((given.ablated, ablate), (given.added, add))
    ]

    def diverged(each: Answered) -> torch.Tensor:
        base = logits(each, Recipe())
        return (base.exp() * (base - logits(each, ablate))).sum(-1)

    expected = said[0] + 0.2 * said[1] + mean(list(given.unedited), diverged)
    assert given.loss(tiny, start, start.unit, batch=2) == pytest.approx(expected, rel=1e-4)


def test_the_slope_is_the_losss(tiny: Subject) -> None:
    start = random_direction(tiny, scale=2.0, layer=1)
    given, vector = _lessons(1), torch.nn.Parameter(start.unit.clone())
    loss, gradient = given.slope(tiny, start, vector, batch=3)
    assert loss == pytest.approx(given.loss(tiny, start, vector, batch=3), rel=1e-5)
    assert abs(float(gradient @ start.unit)) < 1e-3 * float(gradient.norm())  # a unit vector cannot grow
    way, step = gradient / gradient.norm(), 1e-2
    up, down = (given.loss(tiny, start, start.unit + sign * step * way, batch=3) for sign in (1, -1))
    assert (up - down) / (2 * step) == pytest.approx(float(gradient.norm()), rel=0.15)  # Mixtral's routing jumps


@pytest.mark.usefixtures("quick")
def test_optimising_lowers_the_loss_on_the_lessons_kept_apart(llama: Subject, tmp_path: Path) -> None:
    folder = record_find(llama, PAIRS, settings=replace(SETTINGS, method=rdo.NAME), out=tmp_path / "r")
    apart = [row.apart for row in folder.journal(descent.JOURNAL, descent.Step)]
    assert [value is not None for value in apart] == [False, True] * 4
    losses = [row.loss for row in folder.journal(descent.JOURNAL, descent.Step)]
    assert sum(losses[-2:]) < sum(losses[:2])


@pytest.mark.usefixtures("quick")
def test_an_optimisation_that_was_stopped_goes_on_and_gives_the_same_bits(llama: Subject, tmp_path: Path) -> None:
    def begun(name: str) -> RunFolder:
        return RunFolder.start(RunManifest(command="find", model=llama.identity, settings={}, data={}), tmp_path / name)

    whole = begun("whole")
    expected = make_candidates(_task(llama, rdo.NAME, whole))
    half = begun("half")
    lines = (whole.path / descent.JOURNAL).read_text().splitlines()[:3]
    (half.path / descent.JOURNAL).write_text("\n".join(lines) + "\n")
    found = make_candidates(_task(llama, rdo.NAME, half))
    assert [d.digest for d in found.values()] == [d.digest for d in expected.values()]
    assert (half.path / descent.JOURNAL).read_bytes() == (whole.path / descent.JOURNAL).read_bytes()
    assert len(json.loads(lines[0])["gradient"]) == llama.d_model
