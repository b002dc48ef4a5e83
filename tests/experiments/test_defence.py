"""Defences: nothing that was trained on is asked, the cost is a KL from the undefended model, a stop loses little."""

from pathlib import Path
from typing import Any

import pytest

from experiments import defence as experiment
from experiments.defence import CONDITIONS, KL, MEASURES, Settings, named
from experiments.experiment import run_experiment, settings_of
from tests.experiments.small import Bench, settings
from workbench.models import Subject, token_rows
from workbench.prompts import Prompts, builtin_prompts
from workbench.statistics import mean_score, rate_score

FEW = builtin_prompts("harmless", "val").sample(3, 0)


@pytest.fixture
def chosen(tiny_folders: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    found = settings_of("defence", changes=settings("defence", Bench(tiny_folders, tmp_path / "needed", monkeypatch)))
    assert isinstance(found, Settings)
    return found


def test_what_was_trained_on_is_not_asked(chosen: Settings) -> None:
    prompts = chosen.prompts()
    taught = prompts["train_harmful"]
    mixed = prompts | {"test_harmful": Prompts((*taught.sample(2, 0), *prompts["test_harmful"].sample(2, 0)))}
    held = experiment.held_out(chosen, mixed)
    assert not {each.digest for each in held["harmful"]} & {each.digest for each in taught}
    assert {name: len(side) for name, side in held.items()} == {"harmful": 2, "harmless": 3, "looks-harmful": 12}


def test_the_cost_is_the_kl_of_the_defended_model_from_the_undefended(tiny_subjects: dict[str, Subject]) -> None:
    base, other = tiny_subjects["qwen2"], tiny_subjects["llama"]
    assert experiment.distances(base, base, FEW) == [0.0] * 3
    for row, found in zip(token_rows(base, FEW), experiment.distances(base, other, FEW), strict=True):
        p, q = (each.last_logits([each.batch([row])])[0][0].double().log_softmax(-1) for each in (base, other))
        assert found == pytest.approx(float((p.exp() * (p - q)).sum()), abs=1e-4)


def test_a_stopped_run_neither_trains_nor_attacks_nor_asks_twice(
    chosen: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    called: list[str] = []
    kept = {name: getattr(experiment, name) for name in ("train_defence", "measure", "distances")}

    def watched(name: str) -> Any:
        def call(*arguments: Any, **options: Any) -> Any:
            called.append(name)
            if called.count("distances") == 2 and name == "distances":
                raise KeyboardInterrupt
            return kept[name](*arguments, **options)

        return call

    for name in kept:
        monkeypatch.setattr(experiment, name, watched(name))
    with pytest.raises(KeyboardInterrupt):
        run_experiment("defence", chosen, tmp_path / "r")
    assert called == ["measure", "distances", "train_defence", "measure", "distances"]
    before = (tmp_path / "r" / "replies.jsonl").read_bytes()
    folder = run_experiment("defence", chosen, tmp_path / "r")
    assert called[5:] == ["measure", "distances"]
    assert (tmp_path / "r" / "replies.jsonl").read_bytes() == before
    assert list(folder.results()["parts"]) == ["none-find", "none-minimise", "adversarial-find", "adversarial-minimise"]


def test_each_defence_is_told_beside_the_undefended_model() -> None:
    names = [
        f"{named(method, condition)}/{asked}/{measure}"
        for method in ("none", "wall")
        for condition in CONDITIONS
        for asked in ("harmful", "harmless", "looks-harmful")
        for measure in MEASURES
    ]
    scores = {name: rate_score(name, number, 100) for number, name in enumerate(names)}
    scores |= {f"{method}/{KL}": mean_score(method, [0.25, 0.75], "lower") for method in ("none", "wall")}
    line = experiment.told("wall", scores)
    place = {name: number for number, name in enumerate(names)}
    for condition in CONDITIONS:
        refused, complied = (place[f"wall, {condition}/harmful/{name}"] for name in ("refusal", "compliance"))
        assert f"{condition} {refused} % [" in line
        assert f" refused, {complied} % [" in line
    assert f"harmless refused {place['wall, as it is/harmless/refusal']} %" in line
    assert "KL 0.50 [0.25, 0.75] (n=100)" in line
    figure = experiment.drawn(("none", "wall"), scores)
    assert [len(trace.x) for trace in figure.data] == [6] * 4
    conditions = [named(method, condition) for method in ("none", "wall") for condition in CONDITIONS]
    assert list(figure.data[0].x) == pytest.approx([place[f"{each}/harmful/refusal"] for each in conditions])


def test_a_defence_is_held_against_the_undefended_model_prompt_by_prompt() -> None:
    plain = {f"p{number}": 0.0 for number in range(20)}
    better = plain | {f"p{number}": 1.0 for number in range(15)}
    items = {
        f"{named(method, condition)}/harmful/refusal": plain for method in ("none", "wall") for condition in CONDITIONS
    }
    items[f"{named('wall', 'ablated')}/harmful/refusal"] = {
        key: better[key] for key in list(better)[::-1] if key != "p19"
    }
    found = {each.name: each for each in experiment.differences(["wall"], items)}
    assert found["wall, ablated"].value == pytest.approx(15 / 19)
    assert found["wall, ablated"].adjusted == pytest.approx(3 * found["wall, ablated"].p_value)
    assert [found[f"wall, {condition}"].says for condition in CONDITIONS] == ["no difference shown", "more",
                                                                              "no difference shown"]  # fmt: skip
