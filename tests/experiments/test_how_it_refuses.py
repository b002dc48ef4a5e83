"""The page of how a model comes to refuse: parts are kept, taken up again, and written from their numbers."""

from pathlib import Path

import pytest

from experiments import how_it_refuses
from experiments.how_it_refuses import PARTS, Study, kept, written
from workbench.errors import WorkbenchError
from workbench.models import Subject
from workbench.prompts import ContrastPairs, builtin_prompts

QUICK = ("Where is harm read?", "What writes the refusal?", "Which heads carry it?")


@pytest.fixture
def study(llama: Subject, monkeypatch: pytest.MonkeyPatch) -> Study:
    for name, n in {"N_PROBED": 40, "N_PARTS": 8, "N_HEADS": 6}.items():
        monkeypatch.setattr(how_it_refuses, name, n)
    sides = {part: [builtin_prompts(side, part) for side in ("harmful", "harmless")] for part in ("train", "test")}
    return Study(llama, *(ContrastPairs(*each) for each in sides.values()))


def test_the_page_tells_of_every_part_and_goes_on_where_it_stopped(
    study: Study, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    answered = {title: kept(tmp_path, title, study) for title in QUICK}
    text = written(study, answered)
    assert all(title in text and len(answered[title]["says"]) >= 2 for title in QUICK)
    assert text.count('id="figure-') == 1 + 2 + 3
    assert "n=" in answered["Where is harm read?"]["says"][0]

    def fails(study: Study) -> how_it_refuses.Part:
        raise WorkbenchError("asked again")

    monkeypatch.setattr(how_it_refuses, "PARTS", dict.fromkeys(PARTS, fails))
    assert written(study, {title: kept(tmp_path, title, study) for title in QUICK}) == text
    other = Study(study.subject, study.test, study.train)
    with pytest.raises(WorkbenchError, match="asked again"):
        kept(tmp_path, QUICK[0], other)
