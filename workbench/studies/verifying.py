"""Verify a run: its files are those that it recorded, and its scores come out of what it stored.

1. Every artefact has the recorded hash, and the manifest its seal.
2. Replies are judged again, and every score and difference is computed again, as each command does it. An experiment is
   the runs that it is made of, which are verified each, and the values that it wrote down.

Only where the files are whole is anything derived: a changed file is the fault, and not what follows from it.
"""

from collections.abc import Callable, Mapping, Sequence

from workbench.concepts import rederive_bottleneck
from workbench.errors import RunError
from workbench.evaluation import rederive
from workbench.runs import RunFolder, digest_json
from workbench.search import rederive_find
from workbench.search.cones import rederive_cone
from workbench.search.extracting import rederive_extraction
from workbench.studies.dose import rederive_dose
from workbench.studies.identifiability import rederive_card
from workbench.studies.minimise import rederive_minimise
from workbench.studies.parts import VALUES, Valued, scores_of
from workbench.studies.sweep import rederive_sweep

Check = Callable[[RunFolder], list[str]]


def rederive_experiment(folder: RunFolder) -> list[str]:
    """What is wrong with the runs in an experiment's folder, and whether its scores are theirs and its values'."""
    faults, parts = [], []
    for name, seal in folder.results()["parts"].items():
        part = RunFolder.open(folder.path / name)
        faults += [] if part.manifest.seal == seal else [f"{name} is another run than the one that was made."]
        faults += [f"{name}: {fault}" for fault in verify_run(part)]
        parts.append(part)
    again = scores_of(parts, folder.journal(VALUES, Valued))
    if digest_json([s.model_dump() for s in again]) != digest_json([s.model_dump() for s in folder.manifest.scores]):
        faults.append("The scores in the manifest do not follow from the runs and the stored values.")
    return faults


CHECKS: Mapping[str, Sequence[Check]] = {
    "attacks": (rederive,),
    "card": (rederive_card,),
    "concepts train": (rederive_bottleneck,),
    "cone": (rederive_cone,),
    "demo": (rederive_find, rederive),
    "dose": (rederive_dose,),
    "evaluate": (rederive,),
    "experiment": (rederive_experiment,),
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
