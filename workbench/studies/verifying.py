"""Verify a run: its files are those that it recorded, and its scores come out of what it stored.

1. Every artefact has the recorded hash, and the manifest its seal.
2. Replies are judged again, and every score and difference is computed again, as each command does it. An experiment is
   the runs that it is made of: each is verified, and its scores are theirs.

Only where the files are whole is anything derived: a changed file is the fault, and not what follows from it.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence

from workbench.concepts import rederive_bottleneck
from workbench.errors import RunError
from workbench.evaluation import rederive
from workbench.runs import RunFolder, digest_json
from workbench.search import rederive_find
from workbench.search.cones import rederive_cone
from workbench.search.extracting import rederive_extraction
from workbench.statistics import Score
from workbench.studies.dosing import rederive_dose
from workbench.studies.identifiability import rederive_card
from workbench.studies.minimise import rederive_minimise
from workbench.studies.sweeping import rederive_sweep

Check = Callable[[RunFolder], list[str]]


CHECKS: Mapping[str, Sequence[Check]] = {
    "attacks": (rederive,),
    "card": (rederive_card,),
    "concepts train": (rederive_bottleneck,),
    "cone": (rederive_cone,),
    "demo": (rederive_find, rederive),
    "dose": (rederive_dose,),
    "evaluate": (rederive,),
    "experiment": (lambda folder: _of_parts(folder),),
    "extract": (rederive_extraction,),
    "find": (rederive_find,),
    "import": (),
    "judge": (rederive,),
    "minimise": (rederive_minimise,),
    "sweep": (rederive_sweep,),
}


def verify_run(folder: RunFolder) -> list[str]:
    """What is not as it was recorded, one sentence each; empty where all is.

    Raises RunError where the run is not finished, has the layout of an older workbench, or is of a command whose scores
    cannot be derived.
    """
    if not folder.done:
        raise RunError(f"{folder.path} is not finished; run its command again to finish it, then verify.")
    folder.require_readable()
    faults = [f"{name} is missing or was changed." for name in folder.changed_files()]
    if folder.manifest.seal != folder.manifest.sealed():
        faults.append("The manifest was changed.")
    if faults:
        return faults
    command = folder.manifest.command
    if command not in CHECKS:
        raise RunError(f"{folder.path} is a run of {command!r}, whose scores this workbench cannot derive.")
    return [fault for check in CHECKS[command] for fault in check(folder)]


def part_of(name: str, scores: Iterable[Score]) -> list[Score]:
    """The scores of a run that is part of another, named after it."""
    return [score.model_copy(update={"name": f"{name}/{score.name}"}) for score in scores]


def _of_parts(folder: RunFolder) -> list[str]:
    """What is wrong with the runs in a folder, and which scores of the whole are not theirs."""
    faults, theirs = [], set()
    for name, seal in folder.results()["parts"].items():
        part = RunFolder.open(folder.path / name)
        faults += [] if part.manifest.seal == seal else [f"{name} is another run than the one that was made."]
        faults += [f"{name}: {fault}" for fault in verify_run(part)]
        theirs |= {digest_json(score.model_dump()) for score in part_of(name, part.manifest.scores)}
    strange = [score.name for score in folder.manifest.scores if digest_json(score.model_dump()) not in theirs]
    return faults + [f"The score {name} is of none of its runs." for name in strange if theirs]
