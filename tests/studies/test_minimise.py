"""Least damage: planted refusal is removed, the budget is held, a stopped run goes on, and nothing sees a test part."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from tests.hardware import needs_bfloat16
from workbench.errors import PromptError, RecipeError, RunError, SearchError, UsageError
from workbench.interventions import Recipe
from workbench.models import Subject, open_model
from workbench.prompts import ContrastPairs, builtin_pairs
from workbench.runs import RunFolder
from workbench.studies import MinimiseSettings, minimise, record_minimise, rederive_minimise
from workbench.studies.minimise import gradient
from workbench.studies.minimise.dials import Dials
from workbench.studies.minimise.front import Front, Point, pareto
from workbench.studies.minimise.gradient import Descent
from workbench.studies.minimise.lessons import Lessons, prepare
from workbench.studies.minimise.tpe import second_opinion
from workbench.weights import compile_recipe

QUICK = MinimiseSettings(steps=12, every=4, batch=8, n_train=16, n_val=8, damage_weight=2.0, margin=8.0)


def sets() -> tuple[ContrastPairs, ContrastPairs]:
    train, val = builtin_pairs("train"), builtin_pairs("val")
    return train, val


def lessons(subject: Subject, settings: MinimiseSettings = QUICK) -> tuple[object, Lessons, Lessons]:
    from workbench.studies.minimise.recording import drawn

    train, val = drawn(*sets(), settings)
    return prepare(subject, train, val, settings)


@pytest.fixture
def refuses(monkeypatch: pytest.MonkeyPatch, llama: Subject) -> Subject:
    """A tiny model whose commonest first token after harmful prompts stands for a refusal."""
    from workbench.evaluation.refusal import RefusalTokens
    from workbench.models import token_rows
    from workbench.studies.minimise import lessons as module

    rows = token_rows(llama, sets()[0].positive.sample(16, 0))
    logits = module.last_logits(llama, rows, 8)
    token = int(logits.mean(dim=0).argmax())
    monkeypatch.setattr(module, "refusal_tokens", lambda *a, **k: RefusalTokens((token,), ("x",), "planted"))
    return llama


def test_the_loss_goes_down_and_the_recipe_is_one_of_weights(refuses: Subject) -> None:
    train, val = sets()
    found = minimise(refuses, train, val, settings=QUICK)
    first, last = found.front.points[0], found.front.points[-1]
    assert first.kl.value < 1e-6
    assert last.metric.value < first.metric.value - 0.2
    compiled = compile_recipe(refuses, found.recipe)
    assert compiled.rank == 1
    assert len(compiled.maps) == 2 * refuses.n_layers


def test_the_chosen_point_is_measured_of_the_recipe_that_is_given(refuses: Subject) -> None:
    _, _, held = lessons(refuses)
    found = minimise(refuses, *sets(), settings=QUICK)
    metrics, kls = held.measure(found.recipe, 8)
    torch.testing.assert_close(torch.tensor(metrics), torch.tensor(found.front.chosen.refusal), atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(torch.tensor(kls), torch.tensor(found.front.chosen.damage), atol=1e-4, rtol=1e-3)


def test_the_gradient_is_that_of_finite_differences(refuses: Subject) -> None:
    """The loss through shared beginnings and frozen weights, against the slow way: one strength moved at a time."""
    start, learned, held = lessons(refuses)
    descent = Descent(start, learned, held, replace(QUICK, learn_directions=False))  # type: ignore[arg-type]
    with torch.no_grad():
        descent.dials.strengths.add_(0.3)
    values = descent.dials.strengths.detach().clone()
    descent.optimiser.step = lambda: None  # type: ignore[method-assign,assignment]
    descent._take(1)
    slope = descent.dials.strengths.grad
    assert slope is not None
    for place in [(0, 0), (1, 1), (2, 0)]:
        moved = []
        for step in (-1e-2, 1e-2):
            strengths = values.clone()
            strengths[place] += step
            moved.append(_loss(descent, Dials(strengths, start.dials().directions)))  # type: ignore[attr-defined]
        assert float(slope[place]) == pytest.approx((moved[1] - moved[0]) / 2e-2, rel=0.05, abs=2e-3)


def _loss(descent: Descent, dials: Dials) -> float:
    learned, (harmful, harmless) = descent.learned, descent._drawn(1)
    batch = Lessons(
        learned.subject, learned.tokens, [learned.harmful[i] for i in harmful],
        [learned.harmless[i] for i in harmless], learned.base[list(harmless)],
    )  # fmt: skip
    metrics, kls = batch.measure(descent.start.recipe(learned.subject, dials), 8)
    refusal = torch.nn.functional.softplus(torch.tensor(metrics) + descent.settings.margin).mean()
    return float(refusal + descent.weight * torch.tensor(kls).mean())


def test_weights_ask_for_gradients_again_afterwards(refuses: Subject) -> None:
    model = refuses.bridge.original_model
    before = [each.requires_grad for each in model.parameters()]
    minimise(refuses, *sets(), settings=replace(QUICK, steps=1))
    assert [each.requires_grad for each in model.parameters()] == before
    assert all(each.grad is None for each in model.parameters())


def test_the_weight_of_damage_grows_only_above_the_budget(refuses: Subject) -> None:
    start, learned, held = lessons(refuses)
    tight = Descent(start, learned, held, replace(QUICK, budget=1e-6))  # type: ignore[arg-type]
    wide = Descent(start, learned, held, replace(QUICK, budget=1e6))  # type: ignore[arg-type]
    for each in (tight, wide):
        for step in (1, 2, 3):
            each._take(step)
    assert wide.weight == QUICK.damage_weight < tight.weight


class KilledError(Exception):
    """Stands for a kill."""


def test_a_stopped_run_goes_on_to_the_same_result(
    refuses: Subject, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = record_minimise(refuses, *sets(), settings=QUICK, out=tmp_path / "whole")
    take = Descent._take

    def dies(self: Descent, step: int) -> None:
        if step == 7:
            raise KilledError
        take(self, step)

    monkeypatch.setattr(gradient.Descent, "_take", dies)
    with pytest.raises(KilledError):
        record_minimise(refuses, *sets(), settings=QUICK, out=tmp_path / "cut")
    steps: list[int] = []

    def counted(self: Descent, step: int) -> None:
        steps.append(step)
        take(self, step)

    monkeypatch.setattr(gradient.Descent, "_take", counted)
    cut = record_minimise(refuses, *sets(), settings=QUICK, out=tmp_path / "cut")
    assert steps == list(range(5, 13))
    assert cut.results()["front"] == whole.results()["front"]
    assert rederive_minimise(cut) == []


def test_a_changed_point_or_recipe_is_told(refuses: Subject, tmp_path: Path) -> None:
    folder = record_minimise(refuses, *sets(), settings=QUICK, out=tmp_path / "run")
    assert rederive_minimise(RunFolder.open(folder.path)) == []
    file = folder.path / "front.jsonl"
    rows = [json.loads(line) for line in file.read_text().splitlines()]
    rows[1]["damage"][0] += 0.5
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert "The front does not follow from the stored points." in rederive_minimise(RunFolder.open(folder.path))
    Recipe().save(folder.path / "recipe.json")
    assert len(rederive_minimise(RunFolder.open(folder.path))) == 3


def test_damaged_dials_are_named(refuses: Subject, tmp_path: Path) -> None:
    folder = record_minimise(refuses, *sets(), settings=QUICK, out=tmp_path / "run")
    start, learned, held = lessons(refuses)
    (folder.path / "dials-004.safetensors").write_bytes(b"no")
    with pytest.raises(RunError, match=r"dials-004\.safetensors is missing or damaged"):
        Descent(start, learned, held, QUICK, RunFolder.open(folder.path)).run()  # type: ignore[arg-type]


def test_a_second_opinion_tries_the_same_strengths(refuses: Subject, tmp_path: Path) -> None:
    settings = replace(QUICK, steps=2, trials=6)
    folder = record_minimise(refuses, *sets(), settings=settings, out=tmp_path / "run")
    opinion = folder.results()["second_opinion"]
    assert opinion["trials"] == 6
    assert len((folder.path / "trials.jsonl").read_text().splitlines()) == 6
    again = minimise(refuses, *sets(), settings=settings, folder=RunFolder.open(folder.path))
    assert again.opinion is not None
    assert json.loads(json.dumps(again.opinion.to_json())) == opinion


def test_a_second_opinion_that_was_stopped_tries_what_it_would_have_tried(refuses: Subject, tmp_path: Path) -> None:
    settings = replace(QUICK, steps=2, trials=16)
    whole = record_minimise(refuses, *sets(), settings=settings, out=tmp_path / "whole")
    trials = [json.loads(line) for line in (whole.path / "trials.jsonl").read_text().splitlines()]
    start, learned, held = lessons(refuses)
    stopped = RunFolder.start(whole.manifest.model_copy(update={"status": "running"}), tmp_path / "stopped")
    for trial in trials[:7]:
        stopped.log("trials.jsonl", trial)
    found = second_opinion(start, learned, held, settings, stopped)  # type: ignore[arg-type]
    assert [trial.strengths for trial in found.trials] == [trial["strengths"] for trial in trials]


def test_a_model_that_refuses_nothing_has_nothing_to_remove(llama: Subject) -> None:
    with pytest.raises(SearchError, match="nothing to remove"):
        minimise(llama, *sets(), settings=replace(QUICK, margin=1.0))


def test_test_parts_are_locked(llama: Subject) -> None:
    train, val = sets()
    test = builtin_pairs("test")
    for pairs in ((test, val), (train, test)):
        with pytest.raises(PromptError, match="locked"):
            minimise(llama, *pairs)


def test_nothing_is_chosen_on_what_it_was_learned_from(llama: Subject) -> None:
    train, _ = sets()
    with pytest.raises(PromptError, match="Validation"):
        minimise(llama, train, train, settings=replace(QUICK, n_train=10_000))


def test_where_a_norm_follows_the_writers_there_is_nothing_to_minimise(tiny_subjects: dict[str, Subject]) -> None:
    with pytest.raises(RecipeError, match="normalised before it reaches the stream"):
        minimise(tiny_subjects["gemma3"], *sets(), settings=QUICK)


@pytest.mark.parametrize(
    "wrong", [{"budget": 0.0}, {"budget": float("nan")}, {"steps": 0}, {"trials": -1}, {"margin": float("nan")}]
)
def test_settings_that_mean_nothing_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(UsageError):
        MinimiseSettings(**wrong)  # type: ignore[arg-type]


def _point(step: int, metric: float, kl: float) -> Point:
    return Point(step=step, refusal=[metric] * 4, damage=[kl] * 4, strengths=[[0.0]])


def test_the_least_damage_is_chosen_among_points_without_refusal() -> None:
    points = [_point(0, 2.0, 0.0), _point(1, -4.0, 0.3), _point(2, -3.5, 0.1), _point(3, -1.0, 0.05)]
    front = Front(points, MinimiseSettings())
    assert front.chosen.step == 2
    assert not front.reached
    assert [points[i].step for i in front.best] == [1, 2, 3, 0]
    assert Front(points[:1], MinimiseSettings()).chosen.step == 0
    assert Front([points[0], points[3]], MinimiseSettings()).chosen.step == 3


def test_the_pareto_front_is_that_of_the_definition() -> None:
    generator = torch.Generator().manual_seed(0)
    pairs = [tuple(row) for row in torch.randint(0, 6, (40, 2), generator=generator).double().tolist()]
    slow = {p for p in pairs if not any(o != p and o[0] <= p[0] and o[1] <= p[1] for o in pairs)}
    assert {pairs[i] for i in pareto(pairs)} == slow


def test_the_front_is_drawn_with_its_budget(refuses: Subject) -> None:
    figure = minimise(refuses, *sets(), settings=replace(QUICK, steps=4)).front.plot()
    assert "nats" in figure.layout.xaxis.title.text
    assert any("chosen: step" in (trace.name or "") for trace in figure.data)


def test_prompts_that_chose_it_are_seen_by_its_directions(refuses: Subject) -> None:
    from workbench.studies.minimise.recording import drawn

    found = minimise(refuses, *sets(), settings=replace(QUICK, steps=2, every=1))
    sides = [side for pairs in drawn(*sets(), QUICK) for side in (pairs.positive, pairs.negative)]
    assert len(found.recipe) > 0
    assert found.recipe.seen == {prompt.digest for side in sides for prompt in side}


@needs_bfloat16
@pytest.mark.real
def test_the_embedded_model_is_edited_at_little_damage() -> None:
    """In a dozen steps: refusal is gone from validation prompts, at a fraction of what plain ablation costs."""
    subject = open_model("qwen2.5-coder-0.5b-instruct")
    settings = MinimiseSettings(steps=12, batch=12, n_train=64, n_val=24)
    found = minimise(subject, *sets(), settings=settings)
    first, chosen = found.front.points[0], found.front.chosen
    assert first.metric.value > -1.5
    assert chosen.metric.value < -2.5
    assert chosen.refused.value <= 0.05
    assert chosen.kl.value < 0.1
    assert compile_recipe(subject, found.recipe).rank == 1
