"""A search as pages show it: every candidate with what is known of it, measured or guessed."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from pydantic import ValidationError

from workbench.dashboard.sources import Source, shipped
from workbench.errors import RunError, WorkbenchError
from workbench.plots.atlas import Place, name_of
from workbench.runs import RunFolder
from workbench.statistics import Score

KIND = "atlas"
SCORES = {"bypass": "refusal_score", "induce": "steering_score", "KL": "kl_div_score"}
UNITS = {"bypass": "log-odds", "induce": "log-odds", "KL": "nats", "AUROC": ""}
_GUESSED = {"bypass": "bypass", "induce": "induce", "KL": "divergence"}


@dataclass(frozen=True)
class Candidate:
    """A place, its measured scores, and the guesses at those that were not measured."""

    place: Place
    measured: Mapping[str, Score] = field(default_factory=dict)
    guessed: Mapping[str, float] = field(default_factory=dict)

    @property
    def name(self) -> str:
        return name_of(self.place)

    def said(self, score: str, screened_on: str) -> str:
        """A score in words, with its interval and its n."""
        unit = f" {UNITS[score]}" if UNITS[score] else ""
        if score in self.measured:
            found = self.measured[score]
            return f"{score} {found.format('.3f')}{unit}, n={found.n}, measured"
        return f"{score} about {self.guessed[score]:.2f}{unit}, a guess by gradients ({screened_on})"


@dataclass(frozen=True)
class Search:
    """All candidates of a search by their place, those that stand out, and what repeats it."""

    candidates: Mapping[Place, Candidate]
    chosen: Place
    front: tuple[Place, ...]
    passed_rule: bool
    n_layers: int
    kept: Mapping[str, str]
    settings: Mapping[str, Any]
    model: Mapping[str, str]
    data: Mapping[str, str]
    screened_on: str
    auroc: Mapping[str, Any] | None = None

    @property
    def too_late(self) -> int:
        """The first layer that the rule of choice calls too late (as `search.last_layer` does)."""
        return int(self.n_layers * (1.0 - self.settings["drop_last"]))

    def known(self, score: str) -> list[Candidate]:
        """The candidates of which a score is known, or guessed."""
        every = self.candidates.values()
        return [candidate for candidate in every if score in candidate.measured or score in candidate.guessed]


def read_search(source: Source) -> Search:
    """The search of a source. RunError where it is damaged, half-written or of a newer workbench."""
    try:
        return _search(**_held(source))
    except (KeyError, TypeError, ValueError, AttributeError, ValidationError) as error:
        raise RunError(
            f"The results of {source.name} are damaged ({type(error).__name__}: {error}); run it again."
        ) from error


def alone(source: Source) -> bool:
    """Whether a run searched one place only, as the extraction of a candidate does."""
    if source.folder is None:
        return False
    try:
        settings = RunFolder.open(source.folder).manifest.settings
    except WorkbenchError:
        return False
    layers, positions = settings.get("layers"), settings.get("positions")
    return isinstance(layers, list) and isinstance(positions, list) and len(layers) == len(positions) == 1


def _held(source: Source) -> dict[str, Any]:
    if source.folder is None:
        held = shipped(KIND)
        return {key: held[key] for key in ("find", "settings", "model", "data", "auroc")}
    run = RunFolder.open(source.folder)
    results, manifest = run.results(), run.manifest
    held = {"settings": manifest.settings, "model": manifest.model, "data": manifest.data}
    return held | {"find": results.get("find", results), "auroc": _shipped_auroc(manifest.model)}


def _shipped_auroc(model: Mapping[str, str]) -> Any:
    """What ships for the same model; a probe's reading does not depend on the search."""
    try:
        held = shipped(KIND)
    except RunError:
        return None
    return held["auroc"] if held["model"]["digest"] == model["digest"] else None


def _search(find: Any, settings: Any, model: Any, data: Any, auroc: Any) -> Search:
    report, made = find["search"], dict[Place, Candidate]()
    for row in report.get("estimates", []):
        guessed = {name: float(row[key]) for name, key in _GUESSED.items() if row[key] is not None}
        made[_place(row)] = Candidate(_place(row), {}, guessed)
    for row in find["evaluations"]:
        made[_place(row)] = Candidate(_place(row), _scores(row), {})
    for row in auroc["rows"] if auroc else []:
        if (before := made.get(_place(row))) is not None:
            score = Score(name="AUROC", value=row["auroc"], low=row["low"], high=row["high"], n=row["n"])
            made[before.place] = Candidate(before.place, {**before.measured, "AUROC": score}, before.guessed)
    return Search(
        candidates=made, chosen=_place(find["chosen"]), front=tuple(_place(row) for row in find["front"]),
        passed_rule=bool(find["passed_rule"]), n_layers=int(find["n_layers"]), kept=find["kept"], settings=settings,
        model=model, data=data, screened_on=_screened(report), auroc=auroc,
    )  # fmt: skip


def _place(row: Mapping[str, Any]) -> Place:
    position = row["position"]
    return None if position is None else int(position), int(row["layer"])


def _scores(row: Mapping[str, Any]) -> dict[str, Score]:
    """The measured scores; one that is not a number is left out, for the direction broke the model."""
    found = {}
    for name, key in SCORES.items():
        if row[key] is not None and row[key] == row[key]:
            low, high = row["intervals"][key]
            found[name] = Score(name=name, value=row[key], low=low, high=high, n=row["n"][key])
    return found


def _screened(report: Mapping[str, Any]) -> str:
    sides = report.get("screened_on")
    return (
        "on up to 8 prompts of each side" if sides is None else f"on {sides[0]} harmful and {sides[1]} harmless prompts"
    )
