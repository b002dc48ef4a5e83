"""A PEFT adapter that takes directions away from what matrices write, as the recipe that it is.

    every module       a matrix that writes to the stream, of this model: else the adapter is trained, or of another
    its change B A     a removal of that matrix's own output, recovered by least squares (`recovering`)
    its bias           what the removal makes of the module's own bias, and beyond that an addition
    the same removal   in several modules is one placement, on their places

A trained adapter reads its inputs in its own way and is refused: no recipe does what it does.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from workbench.directions import Direction
from workbench.errors import ModelError, RecipeError
from workbench.interventions import Ablate, AblateSubspace, Add, Recipe
from workbench.models import Site, Subject, Writer, matrices, writers
from workbench.weights.imports import Imported, Importer, as_direction, importers
from workbench.weights.imports.adapter_files import CONFIG, MERGE, TENSORS, Adapter, Factors, read_adapter, split
from workbench.weights.imports.recovering import TOLERANCE, NotAnAblation, Part, Removal, recover

METHOD = "peft adapter"


@dataclass(frozen=True)
class _Place:
    """One matrix of a writer: its only one, or one expert's."""

    writer: Writer
    index: int


@importers.register("peft-adapter")
@dataclass(frozen=True)
class PeftAdapter(Importer):
    """The folder that peft saves."""

    def recognises(self, source: Path) -> bool:
        return (_folder(source) / CONFIG).is_file()

    def read(self, subject: Subject, source: Path, site: str | None) -> Imported:
        adapter = read_adapter(_folder(source))
        with subject.lock, torch.no_grad():
            found = dict(_removals(subject, adapter))
        recipe = _recipe(subject, adapter, found)
        return Imported(f"a LoRA adapter of {len(adapter.modules)} modules, made for {adapter.base}", recipe)


def _folder(source: Path) -> Path:
    """The adapter's folder, also where its tensors are named."""
    return source.parent if source.name == TENSORS else source


def _removals(subject: Subject, adapter: Adapter) -> Iterator[tuple[_Place, Removal]]:
    """What the adapter does in each matrix."""
    known = _modules(subject)
    strange = [name for name in adapter.modules if name not in known]
    if len(strange) == len(adapter.modules):
        raise RecipeError(
            f"None of the adapter's modules ({strange[0]}, ...) writes to the stream of {subject.name}: it was made "
            f"for another base ({adapter.base}), or was trained; if it was trained, {MERGE}."
        )
    if strange:
        raise RecipeError(
            f"The adapter changes {strange[0]}, and nothing of that name writes to the stream of {subject.name}: it is "
            f"no edit of what is written, or of another base ({adapter.base}); {MERGE}."
        )
    for name, factors in adapter.modules.items():
        yield from _of_module(subject, adapter, factors, known[name])


def _modules(subject: Subject) -> dict[str, list[_Place]]:
    """By the names of modules, as peft has them, the matrices that they hold."""
    live = {id(module): name for name, module in subject.bridge.original_model.named_modules()}
    found: dict[str, list[_Place]] = {}
    for writer in writers(subject):
        places = [_Place(writer, index) for index, _ in enumerate(matrices(writer.matrix(subject), writer.axis))]
        if writer.matrix(subject).ndim == 3:
            found[live[id(writer.module(subject))].replace("._original_component", "")] = places
        for name, place in zip(writer.names, places, strict=True):
            found[name.removesuffix(".weight")] = [place]
    return found


def _of_module(
    subject: Subject, adapter: Adapter, factors: Factors, places: Sequence[_Place]
) -> Iterator[tuple[_Place, Removal]]:
    """What the adapter does in the matrices of one module."""
    writer = places[0].writer
    _require_plain(subject, writer, factors)
    known = list(matrices(writer.matrix(subject).detach(), writer.live_axis(subject)))
    scaling = adapter.config.scaling(factors.module, len(factors.tensors["A"]) // len(places))
    pairs = split(factors, len(places))
    for place, (left, right) in zip(places, pairs, strict=True):
        matrix = known[place.index]
        if (left.shape[0], right.shape[1]) != tuple(matrix.shape):
            raise RecipeError(
                f"The adapter's {factors.module} is {left.shape[0]} x {right.shape[1]} and that of {subject.name} is "
                f"{matrix.shape[0]} x {matrix.shape[1]}: it was made for another base ({adapter.base})."
            )
        try:
            found = recover(matrix.float(), left, right, scaling, adds=writer.component == "embed")
        except NotAnAblation as error:
            raise RecipeError(_refusal(subject, adapter, factors.module, error.foreign)) from None
        yield place, _with_bias(subject, writer, found, factors, scaling)


def _require_plain(subject: Subject, writer: Writer, factors: Factors) -> None:
    """Raise where the module's change says nothing of the stream, or the module is another's."""
    if not writer.matrix(subject).is_floating_point():
        raise ModelError(f"{subject.name} is quantised, so that its matrices are not at hand; open it unquantised.")
    if writer.norm_follows:
        raise RecipeError(
            f"What {writer} writes in {subject.name} is normalised before it reaches the stream, so that no recipe "
            f"does what an adapter of its matrix does; {MERGE}."
        )
    base, own = factors.tensors.get("base"), writer.matrix(subject).detach().float().cpu()
    if base is not None and (base.shape != own.shape or (base.float() - own).norm() > TOLERANCE * own.norm()):
        raise RecipeError(f"The adapter holds another {factors.module} than {subject.name}: it is of another base.")


def _refusal(subject: Subject, adapter: Adapter, module: str, foreign: bool) -> str:
    if foreign:
        return (
            f"What the adapter's {module} reads is not what that of {subject.name} writes: it was trained, or made for "
            f"another base ({adapter.base}); {MERGE}."
        )
    return (
        f"The adapter changes what {module} of {subject.name} writes, and more than by taking directions away: it was "
        f"trained, or is another edit; {MERGE}."
    )


def _with_bias(subject: Subject, writer: Writer, found: Removal, factors: Factors, scaling: float) -> Removal:
    """With what is added: beyond what the removal makes of the module's own bias, in the stream's units."""
    bias = getattr(writer.module(subject), "bias", None) if writer.bias else None
    given, taken = factors.tensors.get("bias"), torch.zeros_like(found.shift)
    if isinstance(bias, Tensor):
        for part in found.parts:
            taken = taken + part(bias.detach().cpu().double())
    added = scaling * given.double() if given is not None else torch.zeros_like(taken)
    rest = added - taken
    if rest.norm() <= TOLERANCE / 2 * (added.norm() + taken.norm()):
        rest = torch.zeros_like(rest)
    if writer.component == "embed":
        return Removal(found.parts, found.shift * writer.scale)
    return Removal(found.parts, rest * writer.scale)


def _recipe(subject: Subject, adapter: Adapter, found: Mapping[_Place, Removal]) -> Recipe:
    """One placement for each removal, on all places where it is made; then what is added."""
    groups: list[list[tuple[Part, _Place]]] = []
    for place, removal in found.items():
        for part in removal.parts:
            mates = next((group for group in groups if group[0][0].is_like(part)), None)
            if mates is None:
                groups.append([(part, place)])
            else:
                mates.append((part, place))
    recipe, together = Recipe(), False
    for group in groups:
        sites = _sites(subject, adapter, [place for _, place in group])
        together = together or "0.resid_pre" in sites
        recipe += _ablation(subject, Part.mean([part for part, _ in group]), sites)
    for writer, shift in {place.writer: removal.shift for place, removal in found.items()}.items():
        if float(shift.norm()) > 0:
            at = (
                Site(0, "resid_pre")
                if together and writer.component == "embed"
                else Site(writer.layer, writer.component)
            )
            recipe += Add(as_direction(subject, shift, at, METHOD)).at(at)
    if not recipe.placements:
        raise RecipeError(f"The adapter in {adapter.folder} changes nothing.")
    return recipe


def _ablation(subject: Subject, part: Part, sites: Sequence[str]) -> Recipe:
    """The removal as an edit; a direction has no length here, and its sign is free."""
    first = Site.parse(sites[0]) if "." in sites[0] else Site(0, sites[0])
    span = tuple(_unit(subject, row, first) for row in part.basis)
    edit = Ablate(span[0], part.strength) if len(span) == 1 else AblateSubspace(span, part.strength)
    return edit.at(list(sites))


def _unit(subject: Subject, row: Tensor, site: Site) -> Direction:
    return Direction(row.float(), 0.0, 1.0, site, None, METHOD, subject.name, subject.digest)


def _sites(subject: Subject, adapter: Adapter, places: Sequence[_Place]) -> list[str]:
    """Where hooks do the same: a stream of every layer by its name; both embeddings where they come together."""
    found = {place.writer for place in places}
    for writer in found:
        experts = len(writer.names) if writer.matrix(subject).ndim == 3 else 1
        if sum(place.writer == writer for place in places) < experts:
            raise RecipeError(
                f"The adapter edits some experts of {writer} and not others, which no recipe does; {MERGE}."
            )
    kinds = {writer.component for writer in found}
    if "pos_embed" in kinds and "embed" not in kinds:
        raise RecipeError(f"The adapter edits the position embedding alone, which no recipe does; {MERGE}.")
    sites = ["0.resid_pre"] if "pos_embed" in kinds else ["embed"] if "embed" in kinds else []
    for stream in ("attn_out", "mlp_out"):
        layers = sorted(writer.layer for writer in found if writer.component == stream)
        sites += [stream] if len(layers) == subject.n_layers else [f"{layer}.{stream}" for layer in layers]
    return sites
