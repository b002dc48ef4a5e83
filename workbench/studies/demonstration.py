"""The main job, end to end: find the refusal direction of a real model, ablate it, add it, and measure.

A small search, so that it fits into minutes on two cores: the last two positions and every second layer below
the late ones, on at most 8 + 8 validation prompts. Test prompts are the built-in test part, which the search never
sees.
"""

from pathlib import Path

from workbench.activations import ActivationStore
from workbench.evaluation import Evaluation, make_judge, measure
from workbench.interventions import Ablate, Add, Recipe, random_control
from workbench.models import Subject
from workbench.prompts import builtin_pairs
from workbench.runs import RunFolder, RunManifest, note, write_figure
from workbench.search import Found, SearchSettings, find_direction
from workbench.search.choosing import last_layer
from workbench.search.finding import draw
from workbench.search.recorded import digests_of, keep_found

N_TRAIN, N_VAL, N_TEST = 64, 8, 20


def demo_settings(subject: Subject) -> SearchSettings:
    """The small grid."""
    layers = tuple(range(2, last_layer(subject.n_layers), 2))
    return SearchSettings(n_train=N_TRAIN, n_val=30, most_val=N_VAL, positions=(-2, -1), layers=layers)


def demonstrate(subject: Subject, *, n_test: int = N_TEST, out: Path | None = None, fresh: bool = False) -> RunFolder:
    """Find, ablate, add, measure, into a run folder. A finished one is handed back unless `fresh`."""
    settings = demo_settings(subject)
    train, val, test = (builtin_pairs(part) for part in ("train", "val", "test"))
    test = type(test)(test.positive.sample(n_test), test.negative.sample(n_test))
    data = digests_of(draw(train, val, settings)) | {"test": test.digest}
    options = settings.to_json() | {"judge": make_judge("local").identity, "max_new_tokens": 64}
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
    with folder.timed("measure"):
        evaluation = measure(subject, conditions(subject, found), test, folder=folder)
    write_figure(folder.path / "refusals.html", evaluation.plot())
    folder.finish(_results(found, evaluation), evaluation.scores())
    return folder


def conditions(subject: Subject, found: Found) -> dict[str, Recipe]:
    """Baseline, the direction ablated and added, and a matched random control of each."""
    ablated = Ablate(found.direction).at("all")
    added = Add(found.direction).at(found.direction.site)
    seen = builtin_pairs("val").positive.sample(N_TEST)
    return {
        "baseline": Recipe(),
        "ablated": ablated,
        "random ablated": random_control(subject, ablated, seen),
        "added": added,
        "random added": random_control(subject, added, seen),
    }


def _results(found: Found, evaluation: Evaluation) -> dict[str, object]:
    return {"find": found.to_json(), "evaluation": evaluation.to_json()}
