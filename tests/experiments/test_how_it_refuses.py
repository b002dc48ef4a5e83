"""The page of how a model comes to refuse: parts are kept, taken up again, and written from their numbers."""

from collections.abc import Callable
from pathlib import Path

import pytest

from experiments import how_it_refuses
from experiments.experiment import run_experiment, settings_of
from experiments.how_it_refuses import HARM, LAYER, PAGE, PARTS, Settings, Study, written
from experiments.how_it_refuses.study import Part, means
from tests.experiments.small import Bench
from tests.experiments.small.how_it_refuses import settings as smallest
from workbench.errors import WorkbenchError
from workbench.plots.harm import leanings_figure
from workbench.statistics import Score

QUICK = (HARM, "What writes the refusal?", "Which heads carry it?")


@pytest.fixture
def small(tiny_folders: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    given = smallest(Bench(tiny_folders, tmp_path / "needed", monkeypatch))
    return settings_of("how-it-refuses", changes=given)  # type: ignore[return-value]


def test_the_page_tells_of_every_part_from_values_that_its_sentences_tell_of(small: Settings) -> None:
    study = Study.of(small, small.prompts())
    answered = {title: PARTS[title](study) for title in QUICK}
    text = written(study.subject.name, {title: part.row for title, part in answered.items()})
    assert all(title in text and len(part.says) >= 2 for title, part in answered.items())
    assert text.count('id="figure-') == 1 + 2 + 3
    assert "n=" in answered[HARM].says[0]
    scores = {each.name: each.score for part in answered.values() for each in part.values}
    said = " ".join(line for part in answered.values() for line in part.says)
    random = scores["random heads ablated/harmful/change of log-odds"]
    assert f"heads drawn at random {random.format('.2f')}" in said
    for group in ("all parts", "MLPs", "heads"):
        one, other = (scores[f"{group}/{side}/logits of refusal"].value for side in ("harmful", "harmless"))
        verb = "refusal gains" if group == "all parts" else f"{group} write"
        assert f"{verb} {one - other:+.2f} " in said


def test_the_same_command_goes_on_where_it_stopped(
    small: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []

    def finds(title: str) -> Callable[[Study], Part]:
        def part(study: Study) -> Part:
            asked.append(title)
            flat = [Score(name="", value=0.0, low=-1.0, high=1.0, n=2)]
            figure = leanings_figure({"a": {"b": flat}, "c": {"d": flat}}, [0.5])
            return Part([f"It is so (n=2): {len(asked)}."], [figure], means({f"{title}/x": [0.0, 1.0]}), {})

        return part

    def stops(study: Study) -> Part:
        raise WorkbenchError("stopped")

    parts = {title: finds(title) for title in (HARM, LAYER, QUICK[1])}
    monkeypatch.setattr(how_it_refuses, "PARTS", parts | {QUICK[1]: stops})
    with pytest.raises(WorkbenchError, match="stopped"):
        run_experiment("how-it-refuses", small, tmp_path / "r")
    page = (tmp_path / "r" / PAGE).read_text()
    assert (HARM in page, LAYER in page, QUICK[1] in page) == (True, True, False)
    monkeypatch.setattr(how_it_refuses, "PARTS", parts)
    folder = run_experiment("how-it-refuses", small, tmp_path / "r")
    assert asked == list(parts)
    page = (folder.path / PAGE).read_text()
    assert all(f"It is so (n=2): {number}." in page for number in (1, 2, 3))
    assert f"{HARM} It is so (n=2): 1. {LAYER} It is so (n=2): 2." in folder.results()["line"]
    assert [score.name for score in folder.manifest.scores] == [f"{title}/x" for title in parts]
