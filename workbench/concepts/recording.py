"""Train a bottleneck into a run folder: `workbench concepts train`, and the same from a script.

The folder holds the bottleneck, the losses of each epoch, and what was measured on the test texts, which were opened
once, after training; beside what is read of concepts stands the same with shuffled labels.
"""

from pathlib import Path
from typing import Any

from workbench.concepts.bottleneck import FILE, Bottleneck
from workbench.concepts.labels import ConceptSet
from workbench.concepts.measuring import leakage_scores, mass_scores, reading_scores
from workbench.concepts.settings import ConceptSettings
from workbench.concepts.training import Taught, Trained, last_site, taught, train_bottleneck
from workbench.models import Head, Site, Subject
from workbench.runs import RunFolder, RunManifest, note
from workbench.statistics import Score


def record_bottleneck(
    subject: Subject,
    concepts: ConceptSet,
    *,
    site: Site | None = None,
    settings: ConceptSettings | None = None,
    out: Path | None = None,
) -> RunFolder:
    """Capture, train, measure. A run that was stopped goes on from the captured texts.

    Raises ConceptError where the concepts cannot be learned, UsageError where the model has no such site.
    """
    how, place = settings or ConceptSettings(), site or last_site(subject)
    subject.check_site(place)
    said = how.model_dump() | {"site": str(place), "concepts": concepts.name}
    manifest = RunManifest(
        command="concepts train", settings=said, model=subject.identity, data={"concepts": concepts.digest}
    )
    folder = RunFolder.start(manifest, out)
    if folder.done:
        note(f"This bottleneck was trained before; it is in {folder.path}.")
        return folder
    with folder.timed("capture"):
        train, held, test = (taught(subject, concepts, part, place) for part in ("train", "val", "test"))
    with folder.timed("train"):
        found = train_bottleneck(subject, concepts, train, held, how)
    found.bottleneck.save(folder.path / FILE)
    with folder.timed("control"):
        shuffled = _shuffled(subject, concepts, train, held, how), test.with_labels_dealt(how.seed)
    with folder.timed("measure"):
        results, scores = _measured(subject, found, shuffled, train, test)
    folder.finish(results | {"tokens": len(train.corpus.acts), "texts": len(train)}, scores)
    return folder


def _shuffled(
    subject: Subject, concepts: ConceptSet, train: Taught, held: Taught, settings: ConceptSettings
) -> Bottleneck:
    """The control: readers trained in the same way on labels that say nothing."""
    weights = settings.weights.model_copy(update={"next_token": 0.0})
    plain = settings.model_copy(update={"weights": weights, "discovered": 16, "k_discovered": 4})
    dealt = (part.with_labels_dealt(settings.seed + number) for number, part in enumerate((train, held), start=1))
    taught_wrong, held_wrong = dealt
    return train_bottleneck(subject, concepts, taught_wrong, held_wrong, plain).bottleneck


def _measured(
    subject: Subject, found: Trained, control: tuple[Bottleneck, Taught], train: Taught, test: Taught
) -> tuple[dict[str, Any], list[Score]]:
    made = found.bottleneck
    scores, rows = reading_scores(made, test)
    scores += [
        score.model_copy(update={"name": f"{score.name}, shuffled labels"}) for score in reading_scores(*control)[0]
    ]
    if made.site == last_site(subject):
        scores += mass_scores(made, Head.of(subject), test)
    scores += leakage_scores(made, train, test)
    results = {
        "site": str(made.site),
        "concepts": rows,
        "history": list(found.history),
        "typical": dict(zip(made.names, made.typical.tolist(), strict=True)),
        "scores": [score.model_dump() for score in scores],
    }
    return results, scores
