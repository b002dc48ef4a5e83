"""The JSON of a recipe: edits by name, assets by digest.

{"schema_version": 1, "placements": [{"edit": "add", "arguments": {"direction": {"direction": DIGEST}, "strength": 2},
 "sites": ["12"], "tokens": "generated", "gate": {...}, "schedule": [[0, 1], [32, 0]]}]}
"""

from collections.abc import Callable
from dataclasses import fields
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, RootModel, ValidationError, field_validator

from workbench.directions import Asset, Direction
from workbench.directions import assets as kinds
from workbench.directions.readout import readouts
from workbench.errors import RecipeError, UsageError, first_fault
from workbench.interventions.building import build
from workbench.interventions.edit import Edit, edits
from workbench.interventions.gate import Gate
from workbench.interventions.placement import Placement
from workbench.interventions.schedule import Schedule
from workbench.interventions.tuning import Tuned
from workbench.models import Site

SCHEMA = 1
Assets = Callable[[str], Asset]


class _Form(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)


class _Reference(RootModel[dict[str, str]]):
    """{KIND: DIGEST}"""

    @field_validator("root")
    @classmethod
    def _is_one_of_a_kind(cls, value: dict[str, str]) -> dict[str, str]:
        if len(value) != 1 or next(iter(value)) not in kinds:
            raise ValueError("not one reference to an asset")
        return value


class _EditForm(_Form):
    edit: str
    arguments: "dict[str, _Argument]"


_Argument = bool | int | float | _Reference | _EditForm | list[_Reference]


class _GateForm(_Form):
    readout: str
    direction: str
    threshold: float
    bias: float = 0.0
    site: str
    decided: str = "token"
    below: bool = False


class _PlacementForm(_EditForm):
    sites: list[str]
    tokens: str = "all"
    gate: _GateForm | None = None
    schedule: list[list[float]] | None = Field(None, min_length=1)


class _RecipeForm(_Form):
    schema_version: int
    placements: list[_PlacementForm]
    tuned: Tuned | None = None


def to_json(placements: tuple[Placement, ...], tuned: Tuned | None = None) -> dict[str, Any]:
    """Placements as a JSON value that refers to assets by digest, and what chose them."""
    found = {"schema_version": SCHEMA, "placements": [_placement_json(placement) for placement in placements]}
    return found if tuned is None else found | {"tuned": tuned.model_dump(mode="json")}


def from_json(value: Any, assets: Assets) -> tuple[tuple[Placement, ...], Tuned | None]:
    """What `to_json` was given; `assets` finds an asset by its digest. Raises RecipeError where it is not a recipe."""
    newest = value.get("schema_version") if isinstance(value, dict) else None
    if isinstance(newest, int) and newest > SCHEMA:
        raise RecipeError("The recipe was written by a newer workbench; update to read it.")
    try:
        form = _RecipeForm.model_validate(value)
    except (ValidationError, RecursionError) as error:
        raise RecipeError(f"This is not a recipe ({_fault(error)}); write it again.") from None
    placements = tuple(_placement(number, row, assets) for number, row in enumerate(form.placements, start=1))
    return placements, form.tuned


def _fault(error: ValidationError | RecursionError) -> str:
    if isinstance(error, RecursionError):
        return "it is too deep"
    place = error.errors(include_url=False, include_context=False)[0]["loc"]
    if "arguments" in place[:-1]:  # of many kinds, each of which has its own complaint
        upto = place[: place.index("arguments") + 2]
        return f"{'.'.join(map(str, upto))} is no finite number, true, false, reference or edit"
    return first_fault(error)


def _placement_json(placement: Placement) -> dict[str, Any]:
    found = _edit_json(placement.edit) | {"sites": list(placement.sites), "tokens": placement.tokens}
    if gate := placement.gate:
        found["gate"] = {
            "readout": readouts.name_of(gate.readout), "direction": gate.readout.direction.digest,
            "threshold": gate.readout.threshold, "bias": gate.readout.bias, "site": str(gate.site),
            "decided": gate.decided, "below": gate.below,
        }  # fmt: skip
    if placement.schedule:
        found["schedule"] = [list(point) for point in placement.schedule.points]
    return found


def _edit_json(edit: Edit) -> dict[str, Any]:
    return {
        "edit": edits.name_of(edit),
        "arguments": {item.name: _value_json(getattr(edit, item.name)) for item in fields(edit)},
    }


def _value_json(value: Any) -> Any:
    if isinstance(value, Edit):
        return _edit_json(value)
    if isinstance(value, tuple):
        return [_value_json(each) for each in value]
    return {kinds.name_of(value): value.digest} if isinstance(value, Asset) else value


def _placement(number: int, row: _PlacementForm, assets: Assets) -> Placement:
    try:
        edit = _edit(row, assets)
        gate = None if row.gate is None else _gate(row.gate, assets)
        schedule = None if row.schedule is None else Schedule(tuple(_point(point) for point in row.schedule))
        return Placement(edit, tuple(row.sites), row.tokens, gate, schedule)
    except RecipeError as error:
        raise RecipeError(f"Part {number} of the recipe: {error}") from None


def _edit(form: _EditForm, assets: Assets) -> Edit:
    return build(edits[form.edit], {key: _value(value, assets) for key, value in form.arguments.items()})


def _value(value: Any, assets: Assets) -> Any:
    if isinstance(value, _EditForm):
        return _edit(value, assets)
    if isinstance(value, list):
        return tuple(_value(each, assets) for each in value)
    if isinstance(value, BaseModel):
        return assets(next(iter(value.model_dump().values())))
    return value


def _gate(form: _GateForm, assets: Assets) -> Gate:
    direction = assets(form.direction)
    if not isinstance(direction, Direction):
        raise RecipeError("the gate's direction is no direction.")
    try:
        site = Site.parse(form.site)
    except UsageError as error:
        raise RecipeError(str(error)) from None
    return Gate(readouts[form.readout](direction, form.threshold, form.bias), site, form.decided, form.below)


def _point(point: list[float]) -> tuple[int, float]:
    if len(point) != 2 or point[0] != int(point[0]):
        raise RecipeError(f"the schedule's point {point} is not a token and a share.")
    return int(point[0]), point[1]
