"""In which models of the catalog does one direction carry refusal?

Each model is asked the same: the small search of `workbench demo`, then the direction ablated and added beside random
directions, on test prompts. A model that does not refuse, or of which nothing can be found, has a row that says so.
"""

from collections.abc import Mapping

from experiments.experiment import Answer, ExperimentSettings
from experiments.refusal_direction import told
from workbench.errors import WorkbenchError
from workbench.evaluation.rederiving import rebuilt
from workbench.models import open_model
from workbench.plots import forest_figure
from workbench.prompts import Prompts
from workbench.runs import RunFolder, digest_json
from workbench.studies import demonstrate

ROWS = (("harmful", "ablated"), ("harmful", "random ablated"), ("harmless", "added"), ("harmless", "random added"))


class Settings(ExperimentSettings):
    """Which models, how many test prompts of each kind, and how long replies may be."""

    models: tuple[str, ...]
    n_test: int
    max_new_tokens: int

    def identity(self) -> dict[str, str]:
        """Each model's digest; they are opened in turn, and one is held at a time."""
        named = {name: digest_json(open_model(name, dtype=self.dtype).identity) for name in self.models}
        return {"name": f"{len(named)}-models"} | named


def answer(settings: Settings, prompts: Mapping[str, Prompts], folder: RunFolder) -> Answer:
    """One demonstration a model."""
    runs, failures = {}, {}
    for name in settings.models:
        try:
            subject = open_model(name, dtype=settings.dtype)
            runs[name] = demonstrate(
                subject, n_test=settings.n_test, max_new_tokens=settings.max_new_tokens, out=folder.path / subject.name
            )
        except WorkbenchError as error:
            failures[name] = str(error)
    tables = {name: {score.name: score for score in run.manifest.scores} for name, run in runs.items()}
    changes = {
        f"{name}: {condition}, {asked} refused": rebuilt(run).difference(condition, asked, "refusal")
        for name, run in runs.items()
        for asked, condition in ROWS
    }
    known = {label: change for label, change in changes.items() if change is not None}
    said = [f"{name}: {told(scores)}" for name, scores in tables.items()]
    return Answer(
        line="; ".join([*said, *(f"{name}: {why}" for name, why in failures.items())]),
        figure=forest_figure(
            [(f"{label} (n={d.n})", d) for label, d in known.items()], "Change of the share that is refused"
        ),
        results={"failures": failures, "changes": {label: change.model_dump() for label, change in known.items()}},
        parts=tuple(runs.values()),
    )
