"""Train a bottleneck into a run folder: `workbench concepts train`, and the same from a script.

The folder holds the bottleneck, the losses of each epoch, and what was measured on the test texts, which were opened
once, after training; beside what is read of concepts stands the same with shuffled labels. Every score is derived from
`measured.safetensors`, and is so again when the run is verified.
"""

from collections.abc import Mapping
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from workbench.concepts.bottleneck import FILE, Bottleneck
from workbench.concepts.labels import ConceptSet
from workbench.concepts.measuring import measured_mass, measured_probes, measured_reading
from workbench.concepts.scoring import Rows, leakage_scores, mass_scores, reading_scores
from workbench.concepts.settings import ConceptSettings
from workbench.concepts.taught import Taught, taught
from workbench.concepts.training import last_site, train_bottleneck
from workbench.models import Head, Site, Subject
from workbench.runs import RunFolder, RunManifest, note, writing
from workbench.statistics import Score

MEASURED, CHECKPOINT = "measured.safetensors", ".course.safetensors"
_PARTS = ("reading", "control", "mass", "probes")


def record_bottleneck(
    subject: Subject,
    concepts: ConceptSet,
    *,
    site: Site | None = None,
    settings: ConceptSettings | None = None,
    out: Path | None = None,
) -> RunFolder:
    """Capture, train, measure. A run that was stopped goes on from the captured texts and the last epoch.

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
        found = train_bottleneck(subject, concepts, train, held, how, checkpoint=folder.path / CHECKPOINT)
    found.bottleneck.save(folder.path / FILE)
    with folder.timed("control"):
        control = measured_reading(_shuffled(subject, concepts, train, held, how), test.with_labels_dealt(how.seed))
    with folder.timed("measure"):
        measured = _measured(subject, found.bottleneck, train, test) | {"control": control}
    _store(folder.path / MEASURED, measured)
    scores, rows = _derived(measured, concepts.names)
    results = {
        "site": str(place), "texts": len(train), "tokens": len(train.corpus.acts), "concepts": rows,
        "history": list(found.history),
        "typical": dict(zip(concepts.names, found.bottleneck.typical.tolist(), strict=True)),
        "scores": [score.model_dump() for score in scores],
    }  # fmt: skip
    folder.finish(results, scores)
    (folder.path / CHECKPOINT).unlink(missing_ok=True)
    return folder


def rederive_bottleneck(folder: RunFolder) -> list[str]:
    """What does not come out as it is recorded, one sentence each; empty where all does."""
    made, recorded = Bottleneck.load(folder.path), folder.results()
    try:
        measured = _stored(folder.path / MEASURED)
        scores, rows = _derived(measured, made.names)
    except (SafetensorError, OSError, KeyError) as error:
        return [f"{MEASURED} cannot be read ({error})."]
    faults = [
        f"{score.name} comes out as {score.value:.6g} and is recorded as {was.value:.6g}."
        for score, was in zip(scores, folder.manifest.scores, strict=False)
        if score != was
    ]
    if len(scores) != len(folder.manifest.scores):
        faults.append(f"{len(scores)} scores come out and {len(folder.manifest.scores)} are recorded.")
    if [score.model_dump() for score in scores] != recorded["scores"] or rows != recorded["concepts"]:
        faults.append("The concepts' figures in the results are not what comes out of what was measured.")
    return faults


def _shuffled(
    subject: Subject, concepts: ConceptSet, train: Taught, held: Taught, settings: ConceptSettings
) -> Bottleneck:
    """The control: readers trained in the same way on labels that say nothing."""
    weights = settings.weights.model_copy(update={"next_token": 0.0})
    plain = settings.model_copy(update={"weights": weights, "discovered": 16, "k_discovered": 4})
    wrong, held_wrong = (part.with_labels_dealt(settings.seed + n) for n, part in enumerate((train, held), start=1))
    return train_bottleneck(subject, concepts, wrong, held_wrong, plain).bottleneck


def _measured(subject: Subject, made: Bottleneck, train: Taught, test: Taught) -> dict[str, dict[str, Tensor]]:
    found = {"reading": measured_reading(made, test), "probes": measured_probes(made, train, test)}
    if made.site == last_site(subject):
        found["mass"] = measured_mass(made, Head.of(subject), test)
    return found


def _derived(measured: Mapping[str, Mapping[str, Tensor]], names: tuple[str, ...]) -> tuple[list[Score], Rows]:
    scores, rows = reading_scores(measured["reading"], names)
    control, _ = reading_scores(measured["control"], names)
    scores += [score.model_copy(update={"name": f"{score.name}, shuffled labels"}) for score in control]
    if measured.get("mass"):
        scores += mass_scores(measured["mass"])
    return scores + leakage_scores(measured["probes"], measured["reading"]["labels"]), rows


def _store(path: Path, measured: Mapping[str, Mapping[str, Tensor]]) -> None:
    flat = {f"{part}/{name}": value.contiguous() for part, held in measured.items() for name, value in held.items()}
    with writing(path) as draft:
        save_file(flat, draft)


def _stored(path: Path) -> dict[str, dict[str, Tensor]]:
    found: dict[str, dict[str, Tensor]] = {part: {} for part in _PARTS}
    for key, value in load_file(path).items():
        part, _, name = key.partition("/")
        found[part][name] = value
    return found
