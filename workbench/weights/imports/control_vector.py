"""A control vector in GGUF - of llama.cpp, repeng or our own - as additions to the outputs of blocks."""

import re
from dataclasses import dataclass
from pathlib import Path

from workbench.errors import DirectionError
from workbench.interventions import Add, Recipe
from workbench.models import Site, Subject
from workbench.runs import note
from workbench.weights.control_vector import MAGIC, ControlVector
from workbench.weights.imports import Imported, Importer, as_direction, begins_with, importers


@importers.register("control-vector")
@dataclass(frozen=True)
class ControlVectorFile(Importer):
    """A GGUF file; one that holds something else is refused when it is read."""

    def recognises(self, source: Path) -> bool:
        return begins_with(source, len(MAGIC)) == MAGIC

    def read(self, subject: Subject, source: Path, site: str | None) -> Imported:
        vector = ControlVector.read(source)
        recipe = additions(subject, vector)
        where = ", ".join(str(layer) for layer in sorted(vector.layers))
        made = f" made for {vector.model_hint!r}" if vector.model_hint else ""
        return Imported(f"a control vector{made}, at the outputs of the blocks {where}", recipe)


def additions(subject: Subject, vector: ControlVector) -> Recipe:
    """The recipe that adds what the control vector adds. Raises DirectionError where it is of another model."""
    if vector.width != subject.d_model:
        raise DirectionError(
            f"The control vector is {vector.width} wide and {subject.name} is {subject.d_model}; it is another model's."
        )
    if (deepest := max(vector.layers)) >= subject.n_layers:
        raise DirectionError(
            f"The control vector has a layer {deepest} and {subject.name} has layers 0-{subject.n_layers - 1}; it is "
            "another model's."
        )
    if not _alike(vector.model_hint, subject.model_type):
        note(f"The control vector was made for {vector.model_hint!r}, and {subject.name} is a {subject.model_type}.")
    recipe = Recipe()
    for layer, values in sorted(vector.layers.items()):
        site = Site(layer, "resid_post")
        if values.any():  # nothing is added where all is zero
            recipe += Add(as_direction(subject, values, site, "control vector")).at(site)
    return recipe


def _alike(hint: str, model_type: str) -> bool:
    """Whether two names may be of one architecture; llama.cpp's gemma3 is transformers' gemma3_text."""
    first, second = (re.sub(r"[^a-z0-9]", "", name.lower()) for name in (hint, model_type))
    return not first or first.startswith(second) or second.startswith(first)
