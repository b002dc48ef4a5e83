"""The main job, end to end: find the refusal direction of a real model, ablate it, add it, and measure.

A small search, so that it fits into minutes on two cores: the last two positions and every second layer below
the late ones, on at most 8 + 8 validation prompts. Test prompts are the built-in test part, which the search never
sees.
"""

from pathlib import Path
from typing import NamedTuple

from workbench.activations import ActivationStore
from workbench.evaluation import Evaluation, Settings, make_judge, measure
from workbench.interventions import Ablate, Add, Recipe, random_control
from workbench.models import Subject
from workbench.prompts import ContrastPairs, Prompts, builtin_pairs
from workbench.runs import RunFolder, RunManifest, note, write_figure
from workbench.search import Found, SearchSettings, find_direction
from workbench.search.choosing import last_layer
from workbench.search.finding import draw
from workbench.search.recorded import digests_of, keep_found

N_TRAIN, N_VAL, N_TEST, TOKENS = 64, 8, 20, 64
FIGURE = "refusals.html"


def demo_settings(subject: Subject) -> SearchSettings:
    """The small grid."""
    layers = tuple(range(2, last_layer(subject.n_layers), 2))
    return SearchSettings(n_train=N_TRAIN, n_val=30, most_val=N_VAL, positions=(-2, -1), layers=layers)


class Parts(NamedTuple):
    """What finds a direction, what chooses it, and what neither sees."""

    train: ContrastPairs
    val: ContrastPairs
    test: ContrastPairs

    @classmethod
    def builtin(cls) -> "Parts":
        return cls(*(builtin_pairs(part) for part in ("train", "val", "test")))


def demonstrate(
    subject: Subject,
    parts: Parts | None = None,
    *,
    n_test: int = N_TEST,
    max_new_tokens: int = TOKENS,
    search: SearchSettings | None = None,
    out: Path | None = None,
    fresh: bool = False,
) -> RunFolder:
    """Find, ablate, add, measure, into a run folder. A finished one is handed back unless `fresh`.

    `search` is the small grid unless it is given.
    """
    settings, (train, val, whole) = search or demo_settings(subject), parts or Parts.builtin()
    test = whole.sample(n_test)
    data = digests_of(draw(train, val, settings)) | {"test": test.digest}
    options = settings.to_json() | {"judge": make_judge("local").identity, "max_new_tokens": max_new_tokens}
    manifest = RunManifest(command="demo", settings=options, model=subject.identity, data=data)
    folder = RunFolder.start(manifest, out, fresh=fresh)
    if folder.done:
        note(f"This was run before; its results are in {folder.path} (--fresh runs it again).")
        return folder
    with folder.timed("find"):
        found = find_direction(
            subject, train, validation=val, settings=settings, store=ActivationStore.default(), folder=folder
        )
    keep_found(folder, found)
    asked = conditions(subject, found, val.positive.sample(N_TEST))
    with folder.timed("measure"):
        evaluation = measure(subject, asked, test, settings=Settings(max_new_tokens), folder=folder)
    write_figure(folder.path / FIGURE, evaluation.plot())
    folder.finish(_results(found, evaluation), evaluation.scores())
    return folder


def conditions(subject: Subject, found: Found, seen: Prompts) -> dict[str, Recipe]:
    """Baseline, the direction ablated and added, and a random control of each, matched on prompts that were seen."""
    ablated = Ablate(found.direction).at("all")
    added = Add(found.direction).at(found.direction.site)
    return {
        "baseline": Recipe(),
        "ablated": ablated,
        "random ablated": random_control(subject, ablated, seen),
        "added": added,
        "random added": random_control(subject, added, seen),
    }


def _results(found: Found, evaluation: Evaluation) -> dict[str, object]:
    return {"find": found.to_json(), "evaluation": evaluation.to_json()}
