"""How does a model come to refuse? One page: where harm is read, where refusal is written, which heads carry it.

1. What is read (`reading`): a probe at every place, the directions of harm and of refusal, the lenses layer by layer.
2. What acts (`writing`): direct logit attribution, exact activation patching, heads ablated one by one.

Every part is a question, answered by `probes` in its own way with its own controls, and kept as soon as it is answered;
`index.html` in the run's folder is written from all that are there. Sentences are made from the numbers, whatever these
are. Test prompts choose and fit nothing.
"""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from experiments.experiment import Answer
from experiments.how_it_refuses.reading import harm_read, means_to_refuse, same_line
from experiments.how_it_refuses.study import Part, Settings, Study
from experiments.how_it_refuses.writing import heads, where_from, written_by
from experiments.journal import journalled
from workbench.plots.kept import read_figure
from workbench.prompts import Prompts
from workbench.runs import RunFolder, write_text
from workbench.runs.pages import drawn_in, page, paragraph, section, table
from workbench.studies.parts import Valued

PAGE, ROWS = "index.html", "parts.jsonl"
HARM, LAYER = "Where is harm read?", "From which layer on does it mean to refuse?"
PARTS: Mapping[str, Callable[[Study], Part]] = {
    HARM: harm_read,
    "Is it the line that refuses?": same_line,
    LAYER: means_to_refuse,
    "What writes the refusal?": written_by,
    "Where does it come from?": where_from,
    "Which heads carry it?": heads,
}
Answered = Mapping[str, Mapping[str, Any]]

__all__ = ["Settings", "answer"]


def answer(settings: Settings, prompts: Mapping[str, Prompts], folder: RunFolder) -> Answer:
    """Answer what is not answered yet; write the page after every part."""
    study = Study.of(settings, prompts)
    answered: dict[str, Mapping[str, Any]] = {}
    for title, part in PARTS.items():
        answered |= journalled(folder.path / ROWS, {title: partial(row, part, study)}, title)
        write_text(folder.path / PAGE, written(study.subject.name, answered))
    return Answer(
        line=" ".join(f"{title} {answered[title]['says'][0]}" for title in (HARM, LAYER)),
        figure=read_figure(answered[LAYER]["figures"][0]),
        results={title: {"says": part["says"], "numbers": part["numbers"]} for title, part in answered.items()},
        values=tuple(Valued.model_validate(each) for part in answered.values() for each in part["values"]),
    )


def row(part: Callable[[Study], Part], study: Study) -> dict[str, Any]:
    """What a part finds, as it is kept."""
    return part(study).row


def written(name: str, answered: Answered) -> str:
    """The page: first the answers, then each part with its figures."""
    place, sections = 0, [table(("question", "answer"), [(title, part["says"][0]) for title, part in answered.items()])]
    for title, part in answered.items():
        body = [paragraph(line) for line in part["says"]]
        for figure in part["figures"]:
            body.append(drawn_in(read_figure(figure), place))
            place += 1
        sections.append(section(title, "".join(body)))
    return page(f"How {name} comes to refuse", sections)
