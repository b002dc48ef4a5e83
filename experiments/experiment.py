"""An experiment: one question to a real model, from settings in a file to a line for the log.

`NAME.py` stands beside `NAME.toml`. The TOML file says the question, where it comes from, how long it takes, and the
settings; the module holds their shape, `Settings`, and how the question is answered, `answer`. `workbench experiment
run NAME` reads the settings, opens the model, and writes a run folder: manifest, results, the figure, the runs that it
is made of, and one line in words. The same command goes on with what was stopped.
"""

import importlib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Protocol

from pydantic import BaseModel, ConfigDict, ValidationError

from experiments.listing import about, experiments
from workbench.errors import UsageError, first_fault
from workbench.models import Subject, open_model
from workbench.prompts import ContrastPairs, Prompts, load_prompts
from workbench.runs import RunFolder, RunManifest, note, write_figure, write_text
from workbench.studies.parts import VALUES, Valued, scores_of

if TYPE_CHECKING:
    from workbench.plots import Figure

COMMAND, FIGURE, LINE = "experiment", "figure.html", "line.md"


@dataclass(frozen=True)
class Labelled:
    """Marks a setting that names prompts, and says what they are."""

    label: str


Harmful = Annotated[str, Labelled("harmful")]
Harmless = Annotated[str, Labelled("harmless")]


class ExperimentSettings(BaseModel):
    """The settings of an experiment; each default is written in its TOML file."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    dtype: str | None = None

    def identity(self) -> dict[str, str]:
        """Which model is asked, or models, as a manifest names them."""
        raise NotImplementedError

    def digests(self) -> dict[str, str]:
        """Of what the settings name beside prompts: files, runs."""
        return {}

    def prompts(self) -> dict[str, Prompts]:
        """The sets that the settings name, by setting."""
        labels = {
            name: mark.label
            for name, info in type(self).model_fields.items()
            for mark in info.metadata
            if isinstance(mark, Labelled)
        }
        return {name: load_prompts(getattr(self, name), label) for name, label in labels.items()}


class OneModel(ExperimentSettings):
    """The settings of an experiment on one model."""

    model: str

    @cached_property
    def subject(self) -> Subject:
        """The model, opened once."""
        return open_model(self.model, dtype=self.dtype)

    def identity(self) -> dict[str, str]:
        return self.subject.identity


class FoundAndChosen(OneModel):
    """The settings of one that finds a direction on train prompts, and chooses on validation prompts."""

    train_harmful: Harmful
    train_harmless: Harmless
    val_harmful: Harmful
    val_harmless: Harmless
    n_train: int
    n_val: int
    filtered: bool = True

    def pairs(self, part: str, prompts: Mapping[str, Prompts]) -> ContrastPairs:
        """Both sides of a part: train, val or test."""
        return ContrastPairs(prompts[f"{part}_harmful"], prompts[f"{part}_harmless"])


class Reported(FoundAndChosen):
    """The settings of one that reports on test prompts, which neither saw."""

    test_harmful: Harmful
    test_harmless: Harmless
    n_test: int
    max_new_tokens: int


@dataclass(frozen=True)
class Answer:
    """What came out: a line in words, its figure, results beside, and what the scores come from (`studies.parts`)."""

    line: str
    figure: "Figure"
    results: Mapping[str, Any]
    parts: tuple[RunFolder, ...] = ()
    values: tuple[Valued, ...] = ()


class Answering(Protocol):
    """The module of an experiment."""

    Settings: type[ExperimentSettings]

    @staticmethod
    def answer(settings: Any, prompts: Mapping[str, Prompts], folder: RunFolder) -> Answer: ...


def settings_of(name: str, file: Path | None = None, changes: Mapping[str, Any] | None = None) -> ExperimentSettings:
    """The settings of an experiment: its own, those of `file` over them, and `changes` over both.

    Raises UsageError where there is no such experiment, or a setting is not one of its.
    """
    known = experiments()
    if name not in known:
        file_too = f" A file of settings is given beside the name, with --settings {name}." if ".toml" in name else ""
        raise UsageError(f"There is no experiment called {name!r}; there are: {', '.join(known)}.{file_too}")
    given = known[name].settings | (about(file).settings if file else {}) | dict(changes or {})
    for setting, what in known[name].needs.items():
        if setting not in given:
            raise UsageError(f"{name} needs {what}; give it with --set {setting}=PATH.")
    shape = _module(name).Settings
    try:
        return shape(**given)
    except ValidationError as error:
        raise UsageError(
            f"The settings of {name} cannot be read ({first_fault(error)}); it has {', '.join(shape.model_fields)}."
        ) from error


def run_experiment(name: str, settings: ExperimentSettings, out: Path | None = None) -> RunFolder:
    """Answer the question into a run folder; a finished run of the same settings is handed back as it is."""
    prompts, model = settings.prompts(), settings.identity()
    said = settings.model_dump(mode="json") | {"experiment": name}
    data = {key: each.digest for key, each in prompts.items()} | settings.digests()
    folder = RunFolder.start(RunManifest(command=COMMAND, settings=said, model=model, data=data), out)
    if folder.done:
        note(f"This experiment was run before; its result is in {folder.path}.")
        return folder
    with folder.timed(name):
        found = _module(name).answer(settings, prompts, folder)
    line = f"- {datetime.now(UTC):%Y-%m-%d} `workbench experiment run {name}` on {model['name']}: {found.line}"
    write_figure(folder.path / FIGURE, found.figure)
    write_text(folder.path / LINE, f"{line}\n")
    write_text(folder.path / VALUES, "".join(f"{each.model_dump_json()}\n" for each in found.values))
    parts = {part.path.name: part.manifest.seal for part in found.parts}
    results = {**found.results, "experiment": name, "line": line, "parts": parts}
    folder.finish(results, scores_of(found.parts, found.values))
    return folder


def _module(name: str) -> Answering:
    found: Any = importlib.import_module(f"experiments.{name.replace('-', '_')}")
    return found
