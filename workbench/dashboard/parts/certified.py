"""Exports and their certificates: what stands below the runs folder, and what ships.

An export's folder is named by us, and only names that are found there are opened.
"""

import io
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import pandas as pd
import streamlit as st
from pydantic import BaseModel, ValidationError

from workbench.dashboard.parts.present import shown
from workbench.dashboard.sources import SHIPPED, shipped
from workbench.errors import RunError, first_fault
from workbench.runs.files import read_json, runs_root

KIND = "export"
CERTIFICATE = "certificate.json"
LARGEST_MB = 50  # of a folder that is downloaded
Allowed = Literal["max_difference", "mean_difference", "mean_kl", "equal_argmax", "same_token"]
_AGAINST = {"export": "the export", "rounded": "rounded once more", "unedited": "unedited model"}


class Distances(BaseModel):
    """The figures of one set of logits against those of the live edit."""

    positions: int
    max_difference: float
    mean_difference: float
    equal_argmax: float
    same_token: float
    mean_kl: float

    def values(self) -> dict[str, float]:
        return {name: float(getattr(self, name)) for name in MEASURES}


class Named(BaseModel):
    """What has a name."""

    name: str


class Asked(Named):
    """The prompts that were compared on."""

    n: int


class Written(BaseModel):
    """The recipe."""

    written: str


class Held(BaseModel):
    """A certificate, as far as the page shows it."""

    format: str
    weight_edit: str
    dtype: str
    reference: str
    reloaded_by: str
    model: Named
    recipe: Written
    prompts: Asked
    export: Distances
    unedited: Distances
    rounded: Distances
    tolerance: dict[Allowed, float]


@dataclass(frozen=True)
class Measure:
    """A figure of a certificate, as a distance: 0 where two sets of logits are the same."""

    title: str
    share: bool = False  # a share of positions that agree, so that the distance is what is left

    def distance(self, value: float) -> float:
        return 1.0 - value if self.share else value


MEASURES: dict[str, Measure] = {
    "max_difference": Measure("largest difference, logits"),
    "mean_difference": Measure("mean difference, logits"),
    "mean_kl": Measure("mean KL, nats"),
    "equal_argmax": Measure("another top token, share", True),
    "same_token": Measure("another by more than a rounding, share", True),
}


def place_for(form: str, digest: str) -> Path:
    """A folder below the runs folder that is not there yet."""
    name, number = f"{KIND}-{form}-{digest[:8]}", 1
    while (place := runs_root() / (name if number == 1 else f"{name}-{number}")).exists():
        number += 1
    return place


def exported() -> list[str]:
    """The exports below the runs folder, newest first, and the one that ships."""
    found = sorted(
        runs_root().glob(f"{KIND}-*/{CERTIFICATE}"), key=lambda file: file.stat().st_mtime_ns, reverse=True
    )  # fmt: skip
    try:
        held = [SHIPPED] if shipped(KIND) else []
    except RunError:
        held = []
    return [file.parent.name for file in found] + held


def certificate_of(name: str) -> Held:
    """The certificate of a name that `exported` says. RunError where it is damaged."""
    found = shipped(KIND)["certificate"] if name == SHIPPED else read_json(runs_root() / name / CERTIFICATE)
    try:
        return Held.model_validate(found)
    except ValidationError as error:
        raise RunError(f"The certificate of {name} is damaged ({first_fault(error)}); export it again.") from error


def files_of(name: str) -> list[tuple[str, int]]:
    """The files of an export, with their sizes in bytes."""
    if name == SHIPPED:
        return [(str(each["name"]), int(each["bytes"])) for each in shipped(KIND)["files"]]
    folder = runs_root() / name
    return [(file.relative_to(folder).as_posix(), file.stat().st_size) for file in _files(folder)]


def zipped(name: str) -> bytes:
    """An export as one archive. It is made when it is asked for."""
    folder, out = runs_root() / name, io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_STORED) as made:
        for file in _files(folder):
            made.write(file, f"{name}/{file.relative_to(folder).as_posix()}")
    return out.getvalue()


def show_certificate(found: Held, command: str, python: str) -> None:
    """What was compared and allowed, whether it passed, and by how much."""
    from workbench.plots.certificate import certificate_figure

    faults, titles = beyond(found), [each.title for each in MEASURES.values()]
    if faults:
        st.error(f"Not passed: {'; '.join(faults)}.", icon=":material/gpp_bad:")
    else:
        st.success("Passed: the export is the live edit, within what rounding may do.", icon=":material/verified:")
    st.text(_said(found))
    distances = {title: _distances(getattr(found, key)) for key, title in _AGAINST.items()}
    allowed = {MEASURES[name].title: MEASURES[name].distance(limit) for name, limit in found.tolerance.items()}
    where = f"{found.export.positions} positions of {found.prompts.n} prompts"
    figure = certificate_figure(distances, titles, allowed, f"distance from the live edit<br>({where})")
    alt = (
        f"Distances from the live edit at {where}: of the export, of the edit rounded once more, of the unedited "
        "model; "
        + "; ".join(f"{title}: {value:.2g}" for title, value in zip(titles, distances["the export"], strict=True))
    )
    shown(figure, _table(found), "certificate", alt, command=command, python=python)
    st.caption(
        "The largest and the mean are over all of these positions, so that they have no interval. What is allowed is "
        "made from what one more rounding does to the live edit itself; the unedited model has to be further away."
    )


def beyond(found: Held) -> list[str]:
    """What is further apart than allowed, in words."""
    faults, values = [], found.export.values()
    for name, limit in found.tolerance.items():
        value, measure = values[name], MEASURES[name]
        if not (value >= limit if measure.share else value <= limit):
            faults.append(f"{measure.title} {measure.distance(value):.3g}, allowed {measure.distance(limit):.3g}")
    return faults


def _distances(figures: Distances) -> list[float]:
    return [MEASURES[name].distance(value) for name, value in figures.values().items()]


def _said(found: Held) -> str:
    return (
        f"{found.recipe.written}\n"
        f"of {found.model.name}, written as {found.format} ({found.weight_edit}), {found.dtype}.\n"
        f"Read again by {found.reloaded_by}, against {found.reference}, on {found.prompts.n} prompts "
        f"({found.prompts.name})."
    )


def _table(found: Held) -> pd.DataFrame:
    sets = {title: getattr(found, key).values() for key, title in _AGAINST.items()}
    return pd.DataFrame(
        [
            {"distance": measure.title}
            | {title: measure.distance(values[name]) for title, values in sets.items()}
            | {"allowed": measure.distance(found.tolerance[name]) if name in found.tolerance else None}
            | {"positions": found.export.positions, "prompts": found.prompts.n}
            for name, measure in MEASURES.items()
        ]
    )


def _files(folder: Path) -> list[Path]:
    return sorted(file for file in folder.rglob("*") if file.is_file() and not file.is_symlink())
